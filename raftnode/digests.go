package raftnode

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// State machines that were fed the same entries are equal. Nodes check that they still are, by the digests that stood behind the
// latest entries: one whose state has gone its own way, through a fault of its memory or of a rule, must not be asked any more.

const (
	// maxDigests is how many of the latest digests a node keeps.
	maxDigests = 1024
	// digestBytes is how much of a digest is kept and compared.
	digestBytes = 16
	// compareInterval is how often a node asks the others for theirs.
	compareInterval = 2 * time.Second
)

type digest [digestBytes]byte

// digestRing is the latest digests. Safe for concurrent use.
type digestRing struct {
	mu   sync.Mutex
	ring [maxDigests]struct {
		index  uint64 // 0: empty
		digest digest
	}
	next int
}

func (r *digestRing) add(index uint64, d [32]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.next].index, r.ring[r.next].digest = index, digest(d[:digestBytes])
	r.next = (r.next + 1) % maxDigests
}

// clear forgets all: what a snapshot has replaced is nothing to compare.
func (r *digestRing) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.ring[:])
	r.next = 0
}

// tell is what other nodes are answered.
func (r *digestRing) tell() *musterv1.PeerDigests {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &musterv1.PeerDigests{}
	for i := range r.ring {
		if at := r.ring[(r.next+i)%maxDigests]; at.index != 0 {
			out.Indexes = append(out.Indexes, at.index)
			out.Digests = append(out.Digests, at.digest[:]...)
		}
	}
	return out
}

// byIndex reads what a node has told; nil where it is malformed.
func byIndex(d *musterv1.PeerDigests) map[uint64]digest {
	if len(d.GetIndexes()) > maxDigests || len(d.GetDigests()) != len(d.GetIndexes())*digestBytes {
		return nil
	}
	out := make(map[uint64]digest, len(d.Indexes))
	for i, index := range d.Indexes {
		out[index] = digest(d.Digests[i*digestBytes:])
	}
	return out
}

// divergence is the first entry behind which voters do not agree.
type divergence struct {
	index    uint64
	others   []string // names of the nodes that have another state than this one, ascending
	minority bool     // a majority of the voters agrees on another state than this one's
	majority bool     // a majority of the voters agrees with this one
}

// diverged compares this node's digests with those of other voters, by name. It is nil where all agree on what they share.
func diverged(own map[uint64]digest, others map[string]map[uint64]digest, voters int) *divergence {
	var first *divergence
	for index, mine := range own {
		if first != nil && first.index < index {
			continue
		}
		d := &divergence{index: index}
		agree := map[digest]int{mine: 1}
		for name, theirs := range others {
			theirDigest, known := theirs[index]
			if !known {
				continue
			}
			agree[theirDigest]++
			if theirDigest != mine {
				d.others = append(d.others, name)
				d.minority = d.minority || agree[theirDigest] > voters/2
			}
		}
		d.majority = agree[mine] > voters/2
		if len(d.others) > 0 {
			slices.Sort(d.others)
			first = d
		}
	}
	return first
}

// compareDigests compares this node's state with that of the others until the node stops.
func (n *Node) compareDigests() {
	t := time.NewTicker(compareInterval)
	defer t.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-t.C:
			n.judge(n.compare())
		}
	}
}

// compare asks the other voters, all at once. Who does not answer has nothing to say.
func (n *Node) compare() *divergence {
	ctx, cancel := context.WithTimeout(n.ctx, helloTimeout)
	defer cancel()
	self := n.storage.who().ServerID
	var mu sync.Mutex
	var asked sync.WaitGroup
	others := map[string]map[uint64]digest{}
	voters := 0
	for _, s := range n.servers() {
		if s.Voter {
			voters++
		}
		if !s.Voter || s.ID == self {
			continue
		}
		asked.Go(func() {
			if told, err := n.layer.askDigests(ctx, s.Address); err == nil {
				mu.Lock()
				defer mu.Unlock()
				others[s.Name] = byIndex(told)
			}
		})
	}
	asked.Wait()
	return diverged(byIndex(n.applier.digests.tell()), others, voters)
}

// judge parks a node that a majority contradicts, and tells operators of any other contradiction.
func (n *Node) judge(d *divergence) {
	text := ""
	switch {
	case d == nil:
	case d.minority:
		if n.applier.problem() == "" {
			n.applier.parkFor(fmt.Sprintf("parked: behind the entry at index %d the state of this node is not what a majority has (%v). It serves "+
				"and applies nothing more, and keeps its files; save them for a report, then start it with an empty data directory and run "+
				"`muster cluster rejoin %s`", d.index, d.others, n.cfg.Name))
		}
	case d.majority:
		text = fmt.Sprintf("behind the entry at index %d the state of %v is not what a majority has: it should have parked by itself", d.index, d.others)
	default:
		text = fmt.Sprintf("behind the entry at index %d the state of %v is not what this node has, and without a third nobody can say which "+
			"is right: bring the other nodes up, and keep the files of all for a report", d.index, d.others)
	}
	if old := n.difference.Swap(&text); text != "" && (old == nil || *old != text) {
		n.logger.Error("nodes differ", "index", d.index, "others", d.others)
	}
}

// differs says, in words for the operator, which other node's state is not this node's; "" if all agree.
func (n *Node) differs() string {
	if text := n.difference.Load(); text != nil {
		return *text
	}
	return ""
}
