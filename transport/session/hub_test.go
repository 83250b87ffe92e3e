package session

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

func newTestHub() *Hub {
	return NewHub("n1", func() *musterv1.LeaderHint { return nil }, hclog.NewNullLogger())
}

func members(ranks ...uint32) []*musterv1.HelloMember {
	var out []*musterv1.HelloMember
	for _, rank := range ranks {
		out = append(out, &musterv1.HelloMember{Proc: &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Incarnation: 7}})
	}
	return out
}

func enter(t *testing.T, h *Hub) *stream {
	t.Helper()
	s := &stream{hub: h, out: newOutbox(&share{}), end: func() {}}
	require.True(t, h.enter(s))
	return s
}

// TestHub_LatestStreamSpeaks: a member's latest stream gets what is for it; when an earlier one ends, nobody becomes silent.
func TestHub_LatestStreamSpeaks(t *testing.T) {
	h := newTestHub()
	first, second := enter(t, h), enter(t, h)
	h.speakFor(first, members(0, 1))
	h.speakFor(second, members(1))
	h.Deliver(&musterv1.Order{Id: 1, Proc: members(1)[0].Proc})
	queued, _ := first.out.take()
	require.Empty(t, queued)
	queued, _ = second.out.take()
	require.Len(t, queued, 1)
	h.Deliver(&musterv1.Order{Id: 1, Proc: members(1)[0].Proc})
	queued, _ = second.out.take()
	require.Empty(t, queued, "sent already")
	second.out.forgetOrders()
	h.Deliver(&musterv1.Order{Id: 1, Proc: members(1)[0].Proc})
	queued, _ = second.out.take()
	require.Len(t, queued, 1, "it has said hello anew")

	require.Equal(t, members(0)[0].Proc.Rank, h.leave(first)[0].Proc.Rank)
	require.True(t, h.Attached(members(1)[0].Proc))
	require.False(t, h.Attached(members(0)[0].Proc))
	require.Len(t, h.leave(second), 1)
	require.Zero(t, h.Open())
}

// TestHub_HelloReplaces: a second hello on a stream replaces whom it speaks for.
func TestHub_HelloReplaces(t *testing.T) {
	h := newTestHub()
	s := enter(t, h)
	h.speakFor(s, members(0, 1))
	h.speakFor(s, members(2))
	require.False(t, h.Attached(members(0)[0].Proc))
	require.True(t, h.Attached(members(2)[0].Proc))
	h.leave(s)
}

// TestHub_EndedStreamSpeaksForNobody: a hello that is applied when its stream has ended leaves nothing behind.
func TestHub_EndedStreamSpeaksForNobody(t *testing.T) {
	h := newTestHub()
	s := enter(t, h)
	h.leave(s)
	h.speakFor(s, members(0))
	require.False(t, h.Attached(members(0)[0].Proc))
}

// TestHub_CloseRefusesLaterStreams and ends those that are open.
func TestHub_CloseRefusesLaterStreams(t *testing.T) {
	h := newTestHub()
	ended := make(chan struct{})
	s := &stream{hub: h, out: newOutbox(&share{}), end: func() { close(ended) }}
	require.True(t, h.enter(s))
	go func() {
		<-ended
		h.leave(s)
	}()
	h.Close(t.Context())
	require.False(t, h.enter(&stream{hub: h, out: newOutbox(&share{})}))
}

// TestOutbox: acknowledgements are cumulative, what is queued keeps its order, and a reader that does not read is found out.
func TestOutbox(t *testing.T) {
	o := newOutbox(&share{})
	o.ack(3)
	o.ack(5)
	o.ack(4)
	o.applied(2)
	o.applied(4)
	o.order(&musterv1.Order{Id: 1})
	o.order(&musterv1.Order{Id: 1})
	o.tell([]*musterv1.Verdict{{Kind: musterv1.Verdict_KIND_EXPIRED}})
	out, overflow := o.take()
	require.False(t, overflow)
	require.Len(t, out, 4)
	require.Equal(t, uint64(1), out[0].GetOrder().GetId())
	require.NotNil(t, out[1].GetVerdicts())
	require.Equal(t, uint64(5), out[2].GetAckedSeq())
	require.Equal(t, uint64(4), out[3].GetAppliedAnswers())
	out, _ = o.take()
	require.Empty(t, out, "the same acknowledgement is not sent twice")
	for range maxQueued + 1 {
		o.put(&musterv1.SessionResponse{})
	}
	_, overflow = o.take()
	require.True(t, overflow)
}
