package raftnode

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// ReadBarrier returns when the state on this node contains everything that was committed before the call; what Node.Read then
// sees is linearizable. Errors: ErrNotLeader, ErrNotServing, or the end of ctx.
func (t *Term) ReadBarrier(ctx context.Context) error {
	if t.ctx.Err() != nil {
		return context.Cause(t.ctx)
	}
	// The index first, the proof of leadership second: proven first, another leader could commit between the two.
	index := t.node.raft.Load().CommitIndex()
	if hook := t.node.cfg.afterReadIndex; hook != nil {
		hook()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) })()

	if err := t.check.join(ctx, t.node); err != nil {
		return err
	}
	// Leadership lost and won again between the two would be proven as well: then the index is of another's time.
	if t.node.raft.Load().CurrentTerm() != t.number {
		return fmt.Errorf("%w: the term has changed", ErrNotLeader)
	}
	if err := t.node.applier.index.wait(ctx, index); err != nil {
		return err
	}
	if t.ctx.Err() != nil {
		return context.Cause(t.ctx)
	}
	return nil
}

// verify proves that this node leads: a majority agrees to a heartbeat that was sent after verify began. Raft's own check alone
// is content with the answer to a heartbeat that was under way already, and with that of a server without a vote.
func (n *Node) verify() error {
	e := n.raft.Load()
	contacts := &e.transport.contacts
	since := contacts.clock.Add(1)
	for first := true; ; first = false {
		if err := e.VerifyLeader().Error(); err != nil {
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
		if contacts.majority(n.servers(), n.storage.who().ServerID, since) {
			return nil
		}
		if !first { // those who answer have no vote; the lease will end this
			select {
			case <-time.After(time.Millisecond):
			case <-n.ctx.Done():
				return ErrNotServing
			}
		}
	}
}

// contacts remembers which followers agreed to what was asked when, by a clock that counts the rounds of verification.
type contacts struct {
	clock atomic.Uint64
	mu    sync.Mutex
	asked map[raft.ServerID]uint64
	last  map[raft.ServerID]time.Time
}

func (c *contacts) agreed(id raft.ServerID, asked uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked == nil {
		c.asked, c.last = map[raft.ServerID]uint64{}, map[raft.ServerID]time.Time{}
	}
	c.asked[id], c.last[id] = max(c.asked[id], asked), time.Now()
}

// lastAgreed is when those of some servers that ever agreed did so last, by server id.
func (c *contacts) lastAgreed(servers []Server) map[string]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]time.Time{}
	for _, s := range servers {
		if at, ok := c.last[raft.ServerID(s.ID)]; ok {
			out[s.ID] = at
		}
	}
	return out
}

// majority says whether most voters, self among them, agreed to something that was asked since a round began.
func (c *contacts) majority(servers []Server, self string, since uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	voters, agreed := 0, 0
	for _, s := range servers {
		if !s.Voter {
			continue
		}
		voters++
		if s.ID == self || c.asked[raft.ServerID(s.ID)] >= since {
			agreed++
		}
	}
	return agreed > voters/2
}

// verifier lets those who arrive while a round runs share the next one; a round that had begun before one's index was taken
// proves nothing for it.
type verifier struct {
	verify func() error

	mu      sync.Mutex
	running bool
	next    *round
}

type round struct {
	done chan struct{}
	err  error
}

func (v *verifier) join(ctx context.Context, n *Node) error {
	v.mu.Lock()
	if v.next == nil {
		v.next = &round{done: make(chan struct{})}
	}
	mine := v.next
	if !v.running {
		v.running = n.spawn(v.run)
	}
	running := v.running
	v.mu.Unlock()
	if !running {
		return ErrNotServing
	}
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (v *verifier) run() {
	for {
		v.mu.Lock()
		r := v.next
		v.next = nil
		if r == nil {
			v.running = false
			v.mu.Unlock()
			return
		}
		v.mu.Unlock()
		r.err = v.verify()
		close(r.done)
	}
}
