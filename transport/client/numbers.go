package client

import (
	"crypto/rand"
	"sync/atomic"

	musterv1 "muster/proto/muster/v1"
)

// numbers keeps the greatest number of the state seen in any answer.
type numbers struct {
	seen atomic.Uint64
}

func (n *numbers) greatest() uint64 {
	return n.seen.Load()
}

func (n *numbers) observe(number uint64) {
	for {
		seen := n.seen.Load()
		if number <= seen || n.seen.CompareAndSwap(seen, number) {
			return
		}
	}
}

// request is what stays the same over all attempts of one request.
type request struct {
	id     []byte
	issued uint64
}

// newRequest draws what the caller has not given: id and issued of a meta of his own are kept.
func (c *Client) newRequest(meta *musterv1.RequestMeta) *request {
	r := &request{id: meta.GetId(), issued: meta.GetIssued()}
	if len(r.id) == 0 {
		r.id = newID()
	}
	if r.issued == 0 {
		r.issued = c.numbers.greatest()
	}
	return r
}

func (r *request) meta() *musterv1.RequestMeta {
	return &musterv1.RequestMeta{Id: r.id, Issued: r.issued}
}

// newID draws a request id or a nonce: 16 random bytes.
func newID() []byte {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return id
}
