// Package clock is the clock of one leadership term: cluster time as the leader may charge it to procs.
//
// Cluster time is data: entries carry stamps of it and the state keeps the greatest. A term's clock starts where the state's
// stood and then only adds time in which a report could have been heard: real (monotonic) time since the last step, at most
// MaxStep a step, and nothing while a proposal has been waiting for its commit for longer than Stalled. So it never runs
// backward, does not see wall-clock jumps, stands still without a leader, and a paused leader charges its pause to nobody.
package clock

import (
	"context"
	"sync"
	"time"
)

const (
	// Interval between steps: what a stamp and a deadline may each be late by.
	Interval = 10 * time.Millisecond
	// MaxStep is the most that one step adds: a step that comes later than this was a pause of this process.
	MaxStep = 100 * time.Millisecond
	// Stalled is the age of an uncommitted proposal from which on time is not charged.
	Stalled = 500 * time.Millisecond
)

// Clock of one term. Safe for concurrent use.
type Clock struct {
	real           func() time.Time
	oldestInFlight func() (time.Time, bool)

	mu        sync.Mutex
	last      time.Time     // of the last step
	now       int64         // cluster time, nanoseconds
	uncharged time.Duration // real time not added
}

// New returns a clock that shows startNs. real is time.Now, except in tests; only what passes between two of its answers counts, not what
// day they tell. oldestInFlight tells when the oldest uncommitted proposal was made, if there is one.
func New(startNs int64, real func() time.Time, oldestInFlight func() (time.Time, bool)) *Clock {
	return &Clock{real: real, oldestInFlight: oldestInFlight, last: real(), now: startNs}
}

// Run steps the clock until ctx ends.
func (c *Clock) Run(ctx context.Context) {
	t := time.NewTicker(Interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.Step()
		}
	}
}

// Step adds what has passed since the last one. Run calls it.
func (c *Clock) Step() { c.step(c.real()) }

func (c *Clock) step(now time.Time) {
	stalled := c.stalled(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	elapsed := now.Sub(c.last)
	c.last = now
	charged := min(elapsed, MaxStep)
	if stalled {
		charged = 0
	}
	c.now += int64(charged)
	c.uncharged += elapsed - charged
}

func (c *Clock) stalled(now time.Time) bool {
	since, inFlight := c.oldestInFlight()
	return inFlight && now.Sub(since) > Stalled
}

// StandsStill tells whether time is charged to nobody now, since a proposal waits for its commit.
func (c *Clock) StandsStill() bool { return c.stalled(c.real()) }

// NowNs is cluster time in nanoseconds, as of the last step.
func (c *Clock) NowNs() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Uncharged is the real time of this term that was charged to nobody.
func (c *Clock) Uncharged() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uncharged
}
