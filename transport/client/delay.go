package client

import (
	"context"
	"math/rand/v2"
	"time"
)

// delay is a growing, jittered pause between attempts.
type delay struct {
	next, least, most time.Duration
}

func newDelay(least, most time.Duration) *delay {
	return &delay{next: least, least: least, most: most}
}

// wait pauses, each time up to twice as long. The error is the context's.
func (d *delay) wait(ctx context.Context) error {
	timer := time.NewTimer(jitter(d.next))
	defer timer.Stop()
	d.next = min(2*d.next, d.most)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *delay) reset() {
	d.next = d.least
}

// jitter is between half and one and a half of the pause, so that clients that lost the same leader do not come back in step.
func jitter(pause time.Duration) time.Duration {
	return pause/2 + rand.N(pause)
}
