package raftnodetest

import (
	"sync/atomic"

	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
)

// terms follows the leadership terms of one node.
type terms struct {
	latest atomic.Pointer[raftnode.Term]
	quit   chan struct{}
	done   chan struct{}
}

// followTerms calls begin with each term, before it can be seen in latest.
func followTerms(n *raftnode.Node, begin func(*raftnode.Term)) *terms {
	f := &terms{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		for {
			select {
			case t := <-n.Terms():
				begin(t)
				f.latest.Store(t)
			case <-f.quit:
				return
			}
		}
	}()
	return f
}

func (f *terms) stop() {
	close(f.quit)
	<-f.done
}

// plain is the Sealer that adds nothing.
type plain struct{}

func (plain) Seal(*musterv1.Entry, int) func([]*musterv1.Outcome, error) { return nil }
