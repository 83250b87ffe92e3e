package session

import (
	"sync"

	musterv1 "muster/proto/muster/v1"
)

// maxQueued bounds what waits for a stream's writer; a member that does not read that much is cut off and has to come again.
const maxQueued = 1 << 16

// outbox is what waits to be written to one stream. Acknowledgements are cumulative, so only the last of each kind waits. Its
// methods do not block; safe for concurrent use.
type outbox struct {
	wake chan struct{} // one place: "look again"

	mu       sync.Mutex
	queue    []*musterv1.SessionResponse
	reports  count
	answers  count
	ordered  map[member]uint64 // the greatest order that each addressee was sent
	showing  bool              // that the leader is there
	overflow bool
	relayed  relayed
}

// count is something that is acknowledged cumulatively.
type count struct {
	reached, sent uint64
}

func (c *count) reach(n uint64) { c.reached = max(c.reached, n) }

// take tells whether there is something to acknowledge, and up to where.
func (c *count) take() (uint64, bool) {
	news := c.reached > c.sent
	c.sent = c.reached
	return c.reached, news
}

// newOutbox returns an empty one. of is what all outboxes of the node may hold together of relayed messages.
func newOutbox(of *share) *outbox {
	return &outbox{wake: make(chan struct{}, 1), ordered: map[member]uint64{}, relayed: relayed{of: of}}
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) put(r *musterv1.SessionResponse) {
	o.mu.Lock()
	o.append(r)
	o.mu.Unlock()
	o.poke()
}

// append is called with mu held.
func (o *outbox) append(r *musterv1.SessionResponse) {
	if len(o.queue) < maxQueued {
		o.queue = append(o.queue, r)
	} else {
		o.overflow = true
	}
}

// ack: every report up to seq is in the state.
func (o *outbox) ack(seq uint64) {
	o.mu.Lock()
	o.reports.reach(seq)
	o.mu.Unlock()
	o.poke()
}

// applied: the stream's first n answers are in the state.
func (o *outbox) applied(n uint64) {
	o.mu.Lock()
	o.answers.reach(n)
	o.mu.Unlock()
	o.poke()
}

// frame: if nothing else is to be written, something is.
func (o *outbox) frame() {
	o.mu.Lock()
	o.showing = true
	o.mu.Unlock()
	o.poke()
}

// frameDue tells whether one was asked for since the last time.
func (o *outbox) frameDue() (due bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	due, o.showing = o.showing, false
	return due
}

func (o *outbox) tell(v []*musterv1.Verdict) {
	o.put(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Verdicts{Verdicts: &musterv1.Verdicts{Verdicts: v}}})
}

// order queues what its addressee has not been sent by this stream. Orders come ascending per addressee, and may come again.
func (o *outbox) order(order *musterv1.Order) {
	o.mu.Lock()
	addressee := memberOf(order.Proc)
	news := order.Id > o.ordered[addressee]
	if news {
		o.ordered[addressee] = order.Id
		o.append(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Order{Order: order}})
	}
	o.mu.Unlock()
	if news {
		o.poke()
	}
}

// forgetOrders has every order sent again: the stream's members have said hello anew.
func (o *outbox) forgetOrders() {
	o.mu.Lock()
	o.ordered = map[member]uint64{}
	o.mu.Unlock()
}

// take empties the outbox: verdicts and orders in the order they came, then the acknowledgements, and some of what is relayed. What is
// left of that wakes the writer again, so that whatever has come meanwhile goes first.
func (o *outbox) take() (out []*musterv1.SessionResponse, overflow bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	out, o.queue = o.queue, nil
	if seq, news := o.reports.take(); news {
		out = append(out, &musterv1.SessionResponse{Body: &musterv1.SessionResponse_AckedSeq{AckedSeq: seq}})
	}
	if n, news := o.answers.take(); news {
		out = append(out, &musterv1.SessionResponse{Body: &musterv1.SessionResponse_AppliedAnswers{AppliedAnswers: n}})
	}
	some, more := o.relayed.take()
	if more {
		o.poke()
	}
	return append(out, some...), o.overflow
}

// relay queues what is relayed; false if there is no room for it.
func (o *outbox) relay(r *musterv1.SessionResponse) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.relayed.add(r) {
		return false
	}
	o.poke()
	return true
}

// discard gives back what the outbox has of the node's share, for good.
func (o *outbox) discard() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.relayed.close()
}
