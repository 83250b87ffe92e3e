package session

import (
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

const (
	// maxRelayed messages, and bytes of them, may wait for one stream, and maxRelayedHere bytes on one node. What finds no room is not
	// taken, and its sender tries again.
	maxRelayed      = 1024
	maxRelayedBytes = 4 << 20
	maxRelayedHere  = 256 << 20
	// relayedAtOnce is how much of it is written before the writer looks for anything else.
	relayedAtOnce = 128 << 10
)

// share counts the bytes of relayed messages that wait on one node.
type share struct{ bytes atomic.Int64 }

// relayed is what waits to be written of messages between members. It has room of its own, so that nothing else waits for it.
type relayed struct {
	of     *share
	queue  []*musterv1.SessionResponse
	bytes  int64
	closed bool
}

func (r *relayed) add(m *musterv1.SessionResponse) bool {
	n := int64(proto.Size(m))
	if r.closed || len(r.queue) >= maxRelayed || r.bytes+n > maxRelayedBytes {
		return false
	}
	if r.of.bytes.Add(n) > maxRelayedHere {
		r.of.bytes.Add(-n)
		return false
	}
	r.queue, r.bytes = append(r.queue, m), r.bytes+n
	return true
}

// take takes some off the front, and tells whether there is more.
func (r *relayed) take() (some []*musterv1.SessionResponse, more bool) {
	n, taken := 0, int64(0)
	for n < len(r.queue) && taken < relayedAtOnce {
		taken += int64(proto.Size(r.queue[n]))
		n++
	}
	some, r.queue = r.queue[:n:n], r.queue[n:]
	r.bytes -= taken
	r.of.bytes.Add(-taken)
	return some, len(r.queue) > 0
}

func (r *relayed) close() {
	r.of.bytes.Add(-r.bytes)
	r.queue, r.bytes, r.closed = nil, 0, true
}

// relay takes what members say to each other, and tells whether m is of that kind. It does not wait.
func (s *stream) relay(m *musterv1.SessionRequest) bool {
	switch body := m.Body.(type) {
	case *musterv1.SessionRequest_Post:
		s.post(body.Post)
	case *musterv1.SessionRequest_Receipt:
		if s.hub.speaker(body.Receipt.By) == s {
			s.session.Receipt(body.Receipt)
		}
	case *musterv1.SessionRequest_Interest:
		if s.hub.speaker(body.Interest.Who) == s {
			s.session.Interest(body.Interest)
		}
	default:
		return false
	}
	return true
}

func (s *stream) post(p *musterv1.Post) {
	refused := &musterv1.Receipt{
		From: p.From.Proc, Stream: p.Stream, Seq: p.Seq, Delivery: musterv1.Delivery_DELIVERY_NOT_SENDER,
		Why: "the session it was posted in does not speak for its sender",
	}
	if s.hub.speaker(p.From.Proc) == s {
		refused = s.session.Post(p)
	}
	if refused != nil {
		s.out.relay(receipt(refused)) // without room for it the sender hears nothing, and posts again
	}
}

func receipt(r *musterv1.Receipt) *musterv1.SessionResponse {
	return &musterv1.SessionResponse{Body: &musterv1.SessionResponse_Receipt{Receipt: r}}
}

// Pass hands a posted message to the stream that speaks for its addressee.
func (h *Hub) Pass(p *musterv1.Post) musterv1.Delivery {
	s := h.speaker(p.To.Proc)
	switch {
	case s == nil:
		return musterv1.Delivery_DELIVERY_AWAY
	case !s.out.relay(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Post{Post: p}}):
		return musterv1.Delivery_DELIVERY_BUSY
	}
	return musterv1.Delivery_DELIVERY_UNSPECIFIED
}

// Settle hands a receipt to the stream that speaks for the message's sender.
func (h *Hub) Settle(r *musterv1.Receipt) {
	if s := h.speaker(r.From); s != nil {
		s.out.relay(receipt(r))
	}
}

// Locate hands an address to the stream that speaks for whom it is told. None is left out: a stream that has no room for it ends, and the
// next one begins with what its member knows.
func (h *Hub) Locate(u *musterv1.AddressUpdate) {
	if s := h.speaker(u.Who); s != nil {
		s.out.put(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Address{Address: u}})
	}
}
