package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"muster/deploy/fleet"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// observer watches the cluster: who expires, when, and how far its clock lags behind ours. Safe for concurrent use.
type observer struct {
	mu sync.Mutex
	// Victims that were killed, by rank, and what is known of their expiry.
	victims map[uint32]*victim
	// What nobody should have been told.
	falseExpiries, undeliverable int
	// Time minus cluster time at the latest answer.
	lag     time.Duration
	settled chan struct{} // closed and made anew at each expiry of a victim
	err     error
}

// victim is a member that died with the leader.
type victim struct {
	died    time.Time
	lag     time.Duration // when it died
	expired time.Time     // zero while it has not
	late    time.Duration // lag at its expiry
}

func newObserver() *observer {
	return &observer{victims: map[uint32]*victim{}, settled: make(chan struct{})}
}

// run watches until ctx ends.
func (o *observer) run(ctx context.Context, cluster *client.Cluster) {
	began := time.Now()
	kinds := []musterv1.Event_Kind{musterv1.Event_KIND_PROC_EXPIRED, musterv1.Event_KIND_UNDELIVERABLE}
	err := cluster.Watch(ctx, &musterv1.WatchRequest{Kinds: kinds}, func(a *musterv1.WatchResponse) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.lag = time.Since(began) - time.Duration(a.GetClockNs())
		for _, e := range a.GetEvents() {
			o.event(e)
		}
		return nil
	})
	if ctx.Err() == nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.err = fmt.Errorf("watching: %w", err)
	}
}

// event is called with mu held.
func (o *observer) event(e *musterv1.Event) {
	if e.GetKind() == musterv1.Event_KIND_UNDELIVERABLE {
		o.undeliverable++
		return
	}
	for from, to := range id.Intervals(e.GetRanks()) {
		for rank := from; rank < to; rank++ {
			o.expired(e.GetWorld(), rank)
		}
	}
}

// expired is called with mu held.
func (o *observer) expired(world string, rank uint32) {
	v := o.victims[rank]
	if world != victimsWorld || v == nil || !v.expired.IsZero() {
		o.falseExpiries++
		return
	}
	v.expired, v.late = time.Now(), o.lag
	close(o.settled)
	o.settled = make(chan struct{})
}

// died notes that a victim has died now.
func (o *observer) died(rank uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.victims[rank] = &victim{died: time.Now(), lag: o.lag}
}

// await waits until all victims have expired.
func (o *observer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fleet.Patience, fmt.Errorf("not within %v", fleet.Patience))
	defer cancel()
	for {
		o.mu.Lock()
		left, changed := 0, o.settled
		for _, v := range o.victims {
			if v.expired.IsZero() {
				left++
			}
		}
		err := o.err
		o.mu.Unlock()
		if left == 0 || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d dead members have not expired: %w", left, context.Cause(ctx))
		}
	}
}

// excess is how much longer than its lease and the change of leader a dead member was taken for alive, apart from time that was not
// charged beyond that change, which is the second.
func (v *victim) excess(lease, pause time.Duration) (excess, uncharged time.Duration) {
	uncharged = max(0, v.late-v.lag)
	return v.expired.Sub(v.died) - lease - max(pause, uncharged), uncharged
}
