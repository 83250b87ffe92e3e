package session

import (
	"sync"

	musterv1 "muster/proto/muster/v1"
)

// maxQueued bounds what waits for a stream's writer; a member that does not read that much is cut off and has to come again.
const maxQueued = 1 << 16

// outbox is what waits to be written to one stream. Acknowledgements are cumulative, so only the last waits. Its methods do not
// block; safe for concurrent use.
type outbox struct {
	wake chan struct{} // one place: "look again"

	mu       sync.Mutex
	queue    []*musterv1.SessionResponse
	acked    uint64
	sent     uint64
	overflow bool
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) put(r *musterv1.SessionResponse) {
	o.mu.Lock()
	if len(o.queue) < maxQueued {
		o.queue = append(o.queue, r)
	} else {
		o.overflow = true
	}
	o.mu.Unlock()
	o.poke()
}

func (o *outbox) ack(seq uint64) {
	o.mu.Lock()
	o.acked = max(o.acked, seq)
	o.mu.Unlock()
	o.poke()
}

func (o *outbox) tell(v []*musterv1.Verdict) {
	o.put(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Verdicts{Verdicts: &musterv1.Verdicts{Verdicts: v}}})
}

func (o *outbox) order(order *musterv1.Order) {
	o.put(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Order{Order: order}})
}

// take empties the outbox: verdicts and orders in the order they came, then the acknowledgement.
func (o *outbox) take() (out []*musterv1.SessionResponse, overflow bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	out, o.queue = o.queue, nil
	if o.acked > o.sent {
		o.sent = o.acked
		out = append(out, &musterv1.SessionResponse{Body: &musterv1.SessionResponse_AckedSeq{AckedSeq: o.acked}})
	}
	return out, o.overflow
}
