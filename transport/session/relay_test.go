package session

import (
	"testing"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

func postOf(seq uint64, bytes int) *musterv1.SessionResponse {
	return &musterv1.SessionResponse{Body: &musterv1.SessionResponse_Post{Post: &musterv1.Post{Seq: seq, Payload: make([]byte, bytes)}}}
}

// What is relayed has bounded room of its own: in messages, in bytes, and over all streams of a node. Nothing else is refused for it.
func TestOutbox_RelayIsBounded(t *testing.T) {
	node := &share{}
	o := newOutbox(node)
	for i := range uint64(maxRelayed) {
		require.True(t, o.relay(postOf(i, 10)))
	}
	require.False(t, o.relay(postOf(maxRelayed, 10)))
	o.discard()
	require.Zero(t, node.bytes.Load())
	require.False(t, o.relay(postOf(0, 10)), "its stream has ended")

	var streams []*outbox
	for full := false; !full; {
		o := newOutbox(node)
		streams = append(streams, o)
		n := 0
		for o.relay(postOf(1, maxPayload)) {
			n++
		}
		require.LessOrEqual(t, n, maxRelayedBytes/maxPayload)
		full = n == 0
	}
	require.LessOrEqual(t, node.bytes.Load(), int64(maxRelayedHere))
	require.LessOrEqual(t, len(streams), maxRelayedHere/maxRelayedBytes+3)
	for _, o := range streams {
		o.tell([]*musterv1.Verdict{{}})
		out, overflow := o.take()
		require.False(t, overflow)
		require.NotNil(t, out[0].GetVerdicts(), "first what is not relayed")
		o.discard()
	}
	require.Zero(t, node.bytes.Load())
}

// What is relayed is written a little at a time, in order, and what comes meanwhile goes first.
func TestOutbox_RelayWaitsForTheRest(t *testing.T) {
	o := newOutbox(&share{})
	for i := range uint64(5) {
		require.True(t, o.relay(postOf(i, maxPayload)))
	}
	<-o.wake
	var seen []uint64
	for takes := 0; len(seen) < 5; takes++ {
		o.ack(uint64(takes + 1))
		<-o.wake
		out, _ := o.take()
		require.Equal(t, uint64(takes+1), out[0].GetAckedSeq())
		require.LessOrEqual(t, len(out), 1+relayedAtOnce/maxPayload)
		for _, r := range out[1:] {
			seen = append(seen, r.GetPost().GetSeq())
		}
	}
	require.Equal(t, []uint64{0, 1, 2, 3, 4}, seen)
	require.Empty(t, o.wake, "there is nothing left to look at")
}

// A message goes to the stream that speaks for its addressee. Nobody there, or no room: its sender is told so.
func TestHub_Pass(t *testing.T) {
	h := newTestHub()
	s := enter(t, h)
	h.speakFor(s, members(1))
	to := func(rank uint32) *musterv1.Post {
		return &musterv1.Post{From: &musterv1.Endpoint{Proc: members(0)[0].Proc}, To: &musterv1.Endpoint{Proc: members(rank)[0].Proc}}
	}
	require.Equal(t, musterv1.Delivery_DELIVERY_AWAY, h.Pass(to(0)))
	for range maxRelayed {
		require.Equal(t, musterv1.Delivery_DELIVERY_UNSPECIFIED, h.Pass(to(1)))
	}
	require.Equal(t, musterv1.Delivery_DELIVERY_BUSY, h.Pass(to(1)))
	h.Settle(&musterv1.Receipt{From: members(1)[0].Proc}) // no room either: its sender posts again
	h.Settle(&musterv1.Receipt{From: members(0)[0].Proc}) // nobody there
	h.Locate(&musterv1.AddressUpdate{Who: members(0)[0].Proc})
	h.Locate(&musterv1.AddressUpdate{Who: members(1)[0].Proc})
	out, overflow := s.out.take()
	require.False(t, overflow)
	require.NotNil(t, out[0].GetAddress(), "an address has room all the same")
}

// Nobody posts, answers or asks in another's name.
func TestStream_RelaysForItsMembersOnly(t *testing.T) {
	h := newTestHub()
	s := enter(t, h)
	h.speakFor(s, members(1))
	other := members(2)[0].Proc
	require.True(t, s.relay(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Post{Post: &musterv1.Post{
		Stream: 5, Seq: 6, From: &musterv1.Endpoint{Proc: other}, To: &musterv1.Endpoint{Proc: members(1)[0].Proc},
	}}}))
	require.True(t, s.relay(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Receipt{Receipt: &musterv1.Receipt{From: members(1)[0].Proc, By: other}}}))
	require.True(t, s.relay(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Interest{Interest: &musterv1.Interest{Who: other}}}))
	require.False(t, s.relay(&musterv1.SessionRequest{}))
	out, _ := s.out.take()
	require.Len(t, out, 1)
	require.Equal(t, musterv1.Delivery_DELIVERY_NOT_SENDER, out[0].GetReceipt().GetDelivery())
	require.Equal(t, uint64(6), out[0].GetReceipt().GetSeq())
}
