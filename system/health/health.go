// Package health watches deadlines for the leader: leases, start and eviction timeouts, stops, retentions.
//
// It keeps one btree of timers, filled from the state when a term begins, so that remaining time survives a leader change. A timer is
// only a hint to look: a proc that reports stays at its *old* deadline, and when that comes the state says what its deadline is
// now. So a report costs the tree nothing, and a lease costs it one touch. Whatever makes a deadline earlier adds a timer.
//
// What has really passed becomes an observation for the log. Health decides nothing: Apply checks each observation again.
package health

import (
	"sync"

	"github.com/google/btree"

	"muster/fsm"
)

const (
	// degree of the btree; 64 is where google/btree touches a million entries fastest.
	degree = 64
	// MaxRound bounds how many timers are looked at with the state's read lock held.
	MaxRound = 2048
	// retry is the cluster time after which an observation that had no effect (a restore was staged, say) is made again.
	retry = int64(1e9)
)

// Index holds timers by deadline. Add is safe for concurrent use; the rest belongs to the term's health loop.
type Index struct {
	tree *btree.BTreeG[fsm.Timer]

	mu    sync.Mutex
	added []fsm.Timer // not in the tree yet
}

// NewIndex returns an empty one.
func NewIndex() *Index { return &Index{tree: btree.NewG(degree, less)} }

func less(a, b fsm.Timer) bool {
	switch {
	case a.AtNs != b.AtNs:
		return a.AtNs < b.AtNs
	case a.ID != b.ID:
		return a.ID < b.ID
	case a.Slot != b.Slot:
		return a.Slot < b.Slot
	}
	return a.Kind < b.Kind
}

// Add notes timers that are new or earlier than before. It never blocks for long.
func (x *Index) Add(timers ...fsm.Timer) {
	x.mu.Lock()
	x.added = append(x.added, timers...)
	x.mu.Unlock()
}

// Len is how many timers there are.
func (x *Index) Len() int {
	x.merge()
	return x.tree.Len()
}

func (x *Index) merge() {
	x.mu.Lock()
	added := x.added
	x.added = nil
	x.mu.Unlock()
	for _, t := range added {
		x.tree.ReplaceOrInsert(t)
	}
}

// Passed takes up to MaxRound timers whose deadline is before nowNs out of the tree.
func (x *Index) Passed(nowNs int64) []fsm.Timer {
	x.merge()
	var out []fsm.Timer
	for len(out) < MaxRound {
		t, ok := x.tree.Min()
		if !ok || t.AtNs >= nowNs {
			break
		}
		x.tree.DeleteMin()
		out = append(out, t)
	}
	return out
}

// Deadlines is what Decide asks of the state; *fsm.State has it.
type Deadlines interface {
	Deadline(fsm.Timer) (atNs int64, ok bool)
}

// Decide sorts timers that were due by what the state says now: those that have really passed, and those to go back into the index, at
// their later deadline, or, for what has passed, at the time to look whether the observation took effect. It is pure.
func Decide(nowNs int64, timers []fsm.Timer, state Deadlines) (passed, back []fsm.Timer) {
	for _, t := range timers {
		at, ok := state.Deadline(t)
		if !ok {
			continue
		}
		if at < nowNs {
			passed = append(passed, t)
			at = nowNs + retry
		}
		t.AtNs = at
		back = append(back, t)
	}
	return passed, back
}
