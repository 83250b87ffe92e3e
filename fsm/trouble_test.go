package fsm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// troubled is a Live world w of two members, whose rank 0 fails again and again and comes back.
func troubled(t *testing.T) (m *fsmtest.Machine, join func(rank uint32), fail func(cause string)) {
	m = fsmtest.NewMachine()
	m.Start(nil)
	out := m.Apply(&musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldRequest{
		Meta: &musterv1.RequestMeta{Id: []byte("0123456789abcdef")}, Spec: &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{2}}},
	}}})
	require.NotNil(t, out[0].GetUpsertWorld())
	present := map[uint32]*musterv1.ProcRef{}
	join = func(rank uint32) {
		out := m.Apply(&musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
			World: "w", Rank: rank, Key: "k", Machine: "m1", Nonce: fmt.Appendf(nil, "nonce %10d", m.State.Number()), Issued: m.State.Number(),
		}}})
		require.NotNil(t, out[0].GetJoin())
		present[rank] = out[0].GetJoin().Proc
	}
	fail = func(cause string) {
		m.ClockNs += int64(time.Second)
		m.Apply(&musterv1.Command{Body: &musterv1.Command_Report{Report: &musterv1.ReportBatch{Reports: []*musterv1.ProcReport{
			{Proc: present[0], FailedActors: []*musterv1.FailedActor{{Actor: "a", Cause: cause}}},
		}}}})
	}
	join(0)
	join(1)
	return m, join, fail
}

func head(m *fsmtest.Machine) *musterv1.WorldView {
	return m.State.History("w").Generations[0].World
}

// TestHistory_KeepsTheFirstCauseOfEachSpell: what began a spell of trouble is kept apart when it is over, however much noise follows, and
// survives a saved state; of very many the latest sixteen.
func TestHistory_KeepsTheFirstCauseOfEachSpell(t *testing.T) {
	m, join, fail := troubled(t)
	require.Empty(t, head(m).EarlierCauses)
	for i := range 20 {
		fail(fmt.Sprint("first ", i))
		require.Contains(t, head(m).FirstCause.Text, fmt.Sprint("first ", i))
		fail("noise") // the same actor again
		require.Len(t, head(m).EarlierCauses, min(i, 16))
		join(0)
		require.Nil(t, head(m).FirstCause)
	}
	// A spell that began with no proc's failure has the reason of the time.
	m.Apply(&musterv1.Command{Body: &musterv1.Command_Leave{Leave: &musterv1.LeaveRequest{Proc: procOf(t, m, 1)}}})
	join(1)
	for range 300 { // more than any ring holds
		fail("noise")
		join(0)
	}
	file, err := fsmtest.Encode(m.State)
	require.NoError(t, err)
	require.Less(t, len(file), 1<<20)

	m, join, fail = troubled(t)
	fail("the one")
	join(0)
	m.Apply(&musterv1.Command{Body: &musterv1.Command_Leave{Leave: &musterv1.LeaveRequest{Proc: procOf(t, m, 1)}}})
	join(1)
	var texts []string
	for _, c := range head(m).EarlierCauses {
		texts = append(texts, c.Text)
	}
	require.Equal(t, []string{"rank 0: actor a[0] failed: the one", "rank 1 left"}, texts)
	require.Equal(t, int64(time.Second), head(m).EarlierCauses[0].AtNs)
}

func procOf(t *testing.T, m *fsmtest.Machine, rank int) *musterv1.ProcRef {
	t.Helper()
	view, err := m.State.View(&musterv1.ViewRequest{})
	require.NoError(t, err)
	return view.Worlds[0].Procs[rank].Proc
}

// TestExplain_SaysThatTheBrakeHolds: while the brake is on, explain says why nothing happens, and nothing is announced for earlier than
// the brake lets go.
func TestExplain_SaysThatTheBrakeHolds(t *testing.T) {
	m, _, _ := troubled(t)
	explain := func() *musterv1.ExplainResponse {
		e, _ := m.State.Explain(&musterv1.ExplainRequest{World: "w", Rank: 1, OneRank: true})
		return e
	}
	require.Empty(t, explain().Notes)
	at := explain().Next[0].AtNs
	m.ClockNs = at - int64(time.Second)
	m.Apply(&musterv1.Command{Body: &musterv1.Command_Brake{Brake: &musterv1.BrakeChange{To: musterv1.Brake_STATE_ON, Silent: 9, Agents: 10}}})
	r := explain()
	require.Contains(t, strings.Join(r.Notes, "\n"), "brake is on: 9 of 10 agents")
	require.Equal(t, m.State.BrakeEnds(), r.Next[0].AtNs)
	require.Greater(t, m.State.BrakeEnds(), at)
}
