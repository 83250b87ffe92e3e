package system

import (
	"slices"
	"sync"
	"time"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

const (
	// maxGather is how long "alive" may wait for company. The lease begins behind that wait, so it is what the dead are noticed late by; with 25 ms
	// a fleet of 100,000 that report every 10 s needed as much of the processor, since most entries are committed for one session anyway.
	maxGather = 10 * time.Millisecond
	// crowdGather is that time behind a batch of crowd sessions or more: where so many report, fewer entries are worth more than the time, since
	// each costs the nodes about 3 ms of a processor together.
	crowdGather = 25 * time.Millisecond
	crowd       = 128
	// gatherShare of the shortest lease bounds it further.
	gatherShare = 100
	// fullBatch is how many waiting ranks are company enough.
	fullBatch = 4096
)

// collector gathers reports of all sessions until the next entry. It keeps at most one unsealed report per session: a newer one
// replaces it, failures are merged, so that liveness is never refused for lack of room.
type collector struct {
	state    State
	poke     func()
	patience time.Duration // of those who gather: what the leases allow

	mu      sync.Mutex
	waiting []*Reporter // in order of their tickets
	before  int         // sessions in the batch before
	tickets uint64
	ranks   int
	timer   *time.Timer
	spare   []*batch // settled, to be used again: as many as were under way at once
}

func newCollector(s State, poke func()) *collector {
	return &collector{state: s, poke: poke, patience: crowdGather}
}

// gather is how long "alive" that comes now waits for company. Called with mu held.
func (c *collector) gather() time.Duration {
	if c.before < crowd {
		return min(maxGather, c.patience)
	}
	return min(crowdGather, c.patience)
}

// enqueue is called with mu held.
func (c *collector) enqueue(r *Reporter) {
	c.tickets++
	r.queued, r.ticket = r.ranks, c.tickets
	c.waiting = append(c.waiting, r)
	c.ranks += r.queued
}

// mark stands behind every report received so far.
func (c *collector) mark() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tickets
}

// crowded tells whether reports wait that were not taken with the last batch and have nobody to wait for.
func (c *collector) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) > 0 && c.timer == nil
}

// sealed tells whether every report received before a mark has been taken.
func (c *collector) sealed(mark uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) == 0 || c.waiting[0].ticket > mark
}

// take gathers what waits, about room bytes at most, session by session. Who has more odd reports than fit keeps the rest, and is
// acknowledged with those. Who takes a batch gives it back.
func (c *collector) take(room int) *batch {
	b := c.fill(room)
	if b == nil {
		return nil
	}
	b.gather()
	for more := true; more; {
		c.state.Read(func(s *fsm.State) { more = b.pack(s) })
	}
	return b
}

func (c *collector) fill(room int) *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if len(c.waiting) == 0 || room <= 0 {
		return nil
	}
	b := c.empty()
	n := 0
	for n < len(c.waiting) && room > 0 {
		r := c.waiting[n]
		size, whole := r.give(b, room)
		room -= size
		if !whole {
			break
		}
		b.waiting = append(b.waiting, waiting{r, r.seq})
		c.ranks -= r.queued
		r.queued = -1
		n++
	}
	c.waiting = slices.Delete(c.waiting, 0, n)
	c.before = n
	return b
}

// empty is a batch to fill. Called with mu held.
func (c *collector) empty() *batch {
	b := &batch{}
	if n := len(c.spare); n > 0 {
		b, c.spare = c.spare[n-1], c.spare[:n-1]
	}
	b.report = &musterv1.ReportBatch{}
	return b
}

// giveBack takes a batch back, whatever its entry came to. It is not to be used behind that.
func (c *collector) giveBack(b *batch) {
	b.reset()
	if cap(b.speakers) > maxKept {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spare = append(c.spare, b)
}
