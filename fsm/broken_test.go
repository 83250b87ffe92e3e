package fsm

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// TestApply_BrokenRule: a rule that panics is an answer, the same on every node, is told in an event, and stops nothing.
func TestApply_BrokenRule(t *testing.T) {
	begin := &musterv1.Entry{Format: EntryFormat, Commands: []*musterv1.Command{{Body: &musterv1.Command_TermStart{TermStart: &musterv1.TermStart{
		UnixMicros: 1, ClusterId: "c", ExecutionId: "x",
	}}}}}
	request := &musterv1.StopRequest{Meta: &musterv1.RequestMeta{Id: []byte("one"), Issued: 99}, Worlds: []string{"w"}}
	entry := &musterv1.Entry{Format: EntryFormat, RaftTerm: 1, Epoch: 1, Commands: []*musterv1.Command{
		{Body: &musterv1.Command_Stop{Stop: request}}, {Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{World: "w", Key: "k"}}},
	}}
	var digests [2][32]byte
	for i := range digests {
		s := New()
		_, err := s.Apply(1, 1, begin)
		require.NoError(t, err)
		s.requests.add(&musterv1.RequestRecord{Id: request.Meta.Id, Body: bodySum(request), Outcome: []byte("no outcome")})
		a, err := s.Apply(2, 1, entry)
		require.NoError(t, err)
		require.Equal(t, musterv1.Reason_REASON_INTERNAL, a.Outcomes[0].GetRefusal().GetReason())
		require.Equal(t, musterv1.Event_KIND_RULE_BROKEN, s.Events(0, 0)[0].Kind)
		require.Contains(t, a.Outcomes[0].GetRefusal().GetMessage(), fmt.Sprintf("at number %d", s.Events(0, 0)[0].Number))
		require.Len(t, a.Broken, 1)
		require.NotNil(t, a.Outcomes[1].GetJoin(), "what stands behind it is applied")
		digests[i] = s.Digest()
	}
	require.Equal(t, digests[0], digests[1])
}
