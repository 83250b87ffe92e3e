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
	return sleep(ctx, d.take())
}

// take is the next pause, each time up to twice as long.
func (d *delay) take() time.Duration {
	pause := jitter(d.next)
	d.next = min(2*d.next, d.most)
	return pause
}

// sleep pauses. The error is the context's.
func sleep(ctx context.Context, pause time.Duration) error {
	if pause <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
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
