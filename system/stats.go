package system

import (
	"sync"
	"sync/atomic"
	"time"

	"muster/fsm"
	"muster/system/clock"
)

// Stats are numbers for people who watch a node from outside. They begin with the process, and grow only while this node leads: the
// sum over the nodes is the cluster's.
type Stats struct {
	// Expired is how many members have expired.
	Expired uint64
	// Held is how many expiries the mass-expiry brake has held back. A silence counts once, however long the brake was on.
	Held uint64
	// Uncharged is the real time that was charged to nobody: see package clock.
	Uncharged time.Duration
}

// Stats of this node.
func (s *System) Stats() Stats {
	return Stats{Expired: s.counts.expired.Load(), Held: s.counts.held.Load(), Uncharged: s.counts.uncharged()}
}

// counts outlive the terms that they are counted in.
type counts struct {
	expired, held atomic.Uint64

	mu     sync.Mutex
	before time.Duration // uncharged in terms that have ended
	now    *clock.Clock  // of the present term; nil without one
}

// begin counts a term's uncharged time in; end keeps it.
func (c *counts) begin(now *clock.Clock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

func (c *counts) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before += c.now.Uncharged()
	c.now = nil
}

func (c *counts) uncharged() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		return c.before
	}
	return c.before + c.now.Uncharged()
}

// silence is one of a member: a report makes another deadline.
type silence struct {
	slot        fsm.Slot
	incarnation uint64
	deadlineNs  int64
}
