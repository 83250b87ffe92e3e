package fsm_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// supervisionAgrees holds what Supervision tells of each world against a View of everybody.
func supervisionAgrees(s *fsm.State) error {
	v, err := s.View(&musterv1.ViewRequest{PageSize: fsm.MaxPage})
	if err != nil || v.NextPageToken != "" {
		return fmt.Errorf("a view of everybody: %v, more follow: %t", err, v.GetNextPageToken() != "")
	}
	for _, w := range v.Worlds {
		for _, all := range []bool{false, true} {
			want := slices.DeleteFunc(slices.Clone(w.Procs), func(p *musterv1.ProcView) bool {
				begun := p.Health != musterv1.Health_HEALTH_UNSPECIFIED
				healthy := p.Health == musterv1.Health_HEALTH_COMPLETED || p.Health == musterv1.Health_HEALTH_ALIVE && p.FailedActorCount == 0
				return !begun || healthy && !all
			})
			r := s.Supervision(w.World, all).Answer()
			if !slices.EqualFunc(want, r.Procs, func(a, b *musterv1.ProcView) bool { return proto.Equal(a, b) }) {
				return fmt.Errorf("world %s, all %t: supervision tells of %v, the view of %v", w.World, all, r.Procs, want)
			}
			if r.Number != v.Number || !proto.Equal(r.Condition, w.Condition) {
				return fmt.Errorf("world %s is %v as of %d, to the view %v as of %d", w.World, r.Condition, r.Number, w.Condition, v.Number)
			}
		}
	}
	return nil
}

// TestSupervision_Large: of a large world the first MaxPage are told, in order, and an answer stays what it was when the state goes on.
func TestSupervision_Large(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Start(nil)
	const members, well = fsm.MaxPage + 2500, 700
	var joins []*musterv1.Command
	for rank := range uint32(members) {
		joins = append(joins, &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
			World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Key: "k", Nonce: []byte(fmt.Sprintf("%16d", rank)), Issued: m.State.Number(),
		}}})
	}
	var refs []*musterv1.ProcRef
	for _, out := range m.Apply(joins...) {
		refs = append(refs, out.GetJoin().Proc)
	}
	require.Empty(t, m.State.Supervision("w", false).Answer().Procs)
	m.ClockNs += 1e12
	m.Apply(&musterv1.Command{Body: &musterv1.Command_Expire{Expire: &musterv1.Expire{Procs: refs[well:]}}})

	ranks := func(r *musterv1.WorldSupervisionResponse) (out []uint32) {
		for _, p := range r.Procs {
			out = append(out, p.Proc.Rank)
		}
		return out
	}
	from := func(first uint32) (out []uint32) {
		for rank := first; rank < first+fsm.MaxPage; rank++ {
			out = append(out, rank)
		}
		return out
	}
	require.Equal(t, from(0), ranks(m.State.Supervision("w", true).Answer()))
	noted, want := m.State.Supervision("w", false), proto.CloneOf(m.State.Supervision("w", false).Answer())
	require.Equal(t, from(well), ranks(want))
	m.Apply(&musterv1.Command{Body: &musterv1.Command_Leave{Leave: &musterv1.LeaveRequest{Proc: refs[well], Issued: m.State.Number()}}})
	m.Apply(joins[well+1])
	require.True(t, proto.Equal(want, noted.Answer()), "as of the number when it was noted")
	require.NotEqual(t, from(well), ranks(m.State.Supervision("w", false).Answer()))
}
