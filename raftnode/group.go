package raftnode

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/wire"
)

// flight is one entry on its way through Raft.
type flight struct {
	term   *Term
	since  time.Time
	group  []*proposal // the first commands of the entry
	settle func([]*musterv1.Outcome, error)
	added  int // commands that the Sealer appended behind them
	once   sync.Once
}

// seal builds entries and hands them to Raft until the term ends. While entries travel the next group grows: a lone request goes at once, a
// crowd goes together, and no timer is needed.
func (t *Term) seal(s Sealer) {
	defer close(t.sealed)
	for {
		select {
		case t.slots <- struct{}{}:
		case <-t.ctx.Done():
			return
		}
		for sent := false; !sent; {
			select {
			case <-t.wake:
			case <-t.ctx.Done():
				return
			}
			sent = t.sealOne(s)
		}
	}
}

// sealOne gathers a group, has it completed, and hands it over; false if there was nothing to send.
func (t *Term) sealOne(s Sealer) bool {
	group, size, ok := t.gather()
	if !ok {
		return false
	}
	e := &musterv1.Entry{Format: entryFormat, RaftTerm: t.number}
	for _, p := range group {
		e.Commands = append(e.Commands, p.command)
	}
	f := &flight{term: t, group: group}
	f.settle = s.Seal(e, max(maxEntry-maxGroup, maxEntry-size))
	f.added = len(e.Commands) - len(group)
	if len(e.Commands) == 0 {
		t.built(nil)
		f.answer(nil, nil)
		return false
	}
	data, err := wire.Append(nil, e)
	if err != nil {
		t.built(nil)
		f.answer(nil, fmt.Errorf("%w: encode the entry: %w", ErrNotApplied, err))
		return false
	}
	f.since = time.Now()
	t.built(f)
	t.node.cfg.Observer.Sealed(len(e.Commands), len(data))
	t.node.fly(f, data)
	return true
}

// gather takes what waits, as much as an entry holds; ok is false if nothing may be sealed.
func (t *Term) gather() (group []*proposal, size int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.paused || t.ended != nil {
		return nil, 0, false
	}
	if t.held = len(t.waiting) < t.travelling() && t.waitingBytes < maxGroup; t.held {
		return nil, 0, false
	}
	n := 0
	for n < len(t.waiting) && (n == 0 || size+t.waiting[n].size <= maxGroup) {
		size += t.waiting[n].size
		n++
	}
	group = t.waiting[:n:n]
	t.waiting = t.waiting[n:]
	t.waitingBytes -= size
	t.building = true
	if len(t.waiting) > 0 {
		t.Poke()
	} else {
		t.waiting = nil
	}
	return group, size, true
}

// travelling is how many requests are in flight. Another entry goes beside them only if as many go with it, or it is full; where fewer wait, more
// join them until an entry lands. An entry costs its nodes 1.4 (WAL) to 3 ms of a processor whatever is in it: with entries that went as soon as a slot
// was free, of 256 callers at once an eighth fewer joined in a second (boltdb). What the Sealer has of its own waits with them, at most until all that
// travels has landed. Called with mu held.
func (t *Term) travelling() (requests int) {
	for _, f := range t.flights {
		requests += len(f.group)
	}
	return requests
}

// built ends the building of a group; f is nil if it came to nothing.
func (t *Term) built(f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.building = false
	if f != nil {
		t.flights = append(t.flights, f)
	}
	t.settleQuiet()
}

// landed frees the slot of an entry.
func (t *Term) landed(f *flight) {
	t.mu.Lock()
	t.flights = slices.DeleteFunc(t.flights, func(g *flight) bool { return g == f })
	t.settleQuiet()
	held := t.held
	t.mu.Unlock()
	<-t.slots
	if held {
		t.Poke()
	}
}

// answer tells everyone who waits for the entry, once.
func (f *flight) answer(outcomes []*musterv1.Outcome, err error) {
	f.once.Do(func() {
		if err == nil && len(outcomes) != len(f.group)+f.added {
			err = fmt.Errorf("%w: applied, but the state machine gave %d outcomes for %d commands", ErrOutcomeUnknown, len(outcomes), len(f.group)+f.added)
		}
		for i, p := range f.group {
			if err != nil {
				p.answer <- answer{err: err}
			} else {
				p.answer <- answer{outcome: outcomes[i]}
			}
		}
		switch {
		case f.settle == nil:
		case err != nil:
			f.settle(nil, err)
		default:
			f.settle(outcomes[len(f.group):], nil)
		}
	})
}

// fly hands an entry to Raft, which keeps the order of the calls, and has its answer awaited.
func (n *Node) fly(f *flight, data []byte) {
	n.flightsMu.Lock()
	n.flights[f] = struct{}{}
	n.flightsMu.Unlock()
	future := n.raft.Load().Apply(data, enqueueTimeout)
	n.spawn(func() {
		outcomes, err := outcomesOf(future)
		if err == nil {
			n.cfg.Observer.Committed(time.Since(f.since))
		}
		n.flightsMu.Lock()
		delete(n.flights, f)
		n.flightsMu.Unlock()
		f.term.landed(f)
		f.answer(outcomes, err)
	})
}

// strand answers what Raft has left unanswered, when it has ended or waits for its disk. Raft may still answer; nobody listens.
func (n *Node) strand(why string) {
	n.flightsMu.Lock()
	left := slices.Collect(maps.Keys(n.flights))
	n.flightsMu.Unlock()
	for _, f := range left {
		f.answer(nil, fmt.Errorf("%w: the node gave no answer: %s", ErrOutcomeUnknown, why))
	}
}

// outcomesOf waits for an entry.
func outcomesOf(future raft.ApplyFuture) ([]*musterv1.Outcome, error) {
	if err := future.Error(); err != nil {
		return nil, applyError(err)
	}
	res := future.Response().(*applied)
	switch {
	case res.err != nil:
		// It is in the log: nodes that can apply it do.
		return nil, fmt.Errorf("%w: committed, but this node has parked", ErrOutcomeUnknown)
	case res.dropped:
		return nil, fmt.Errorf("%w: it was sealed in another term or epoch than it reached the log in", ErrNotApplied)
	}
	return res.outcomes, nil
}

// applyError says what an error of raft.Apply means for the entry.
func applyError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader):
		return fmt.Errorf("%w: %w", ErrNotApplied, ErrNotLeader)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: Raft is busy, most likely with its disk: %w", ErrNotApplied, err)
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w: %w", ErrNotApplied, ErrNotLeader, err)
	}
	// Lost leadership, a failed write, a shutdown: the entry may be in this log or in another's.
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}
