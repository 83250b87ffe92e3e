// Package deliver tells members what the state says they have still to be told.
//
// It holds no orders, only *who* may have some: a set that anybody may add to and one goroutine that empties it by reading the
// state again. So nothing is lost when a leader dies, and nothing is told that is not due any more.
package deliver

import (
	"context"
	"sync"

	musterv1 "muster/proto/muster/v1"
)

// Queue of members to look at. Safe for concurrent use.
type Queue struct {
	wake chan struct{} // one place: "look again"

	mu    sync.Mutex
	order []*musterv1.ProcRef
}

// NewQueue returns an empty one.
func NewQueue() *Queue { return &Queue{wake: make(chan struct{}, 1)} }

// Add notes that members may have orders. It never blocks.
func (q *Queue) Add(members ...*musterv1.ProcRef) {
	if len(members) == 0 {
		return
	}
	q.mu.Lock()
	q.order = append(q.order, members...)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Run calls look for each member that was added until ctx ends. A member that is added twice may be looked at twice: its session
// drops what it has seen.
func (q *Queue) Run(ctx context.Context, look func(*musterv1.ProcRef)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		q.mu.Lock()
		members := q.order
		q.order = nil
		q.mu.Unlock()
		for _, m := range members {
			if ctx.Err() != nil {
				return
			}
			look(m)
		}
	}
}
