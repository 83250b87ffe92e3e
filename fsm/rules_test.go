package fsm_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// TestValidateSettings: each pair of timeouts that may collide is named, and the nearest values that do not are taken.
func TestValidateSettings(t *testing.T) {
	seconds := func(n float64) int64 { return int64(n * float64(time.Second)) }
	for _, c := range []struct {
		name    string
		change  func(s *musterv1.Settings, by int64)
		problem string // with a nanosecond too much; without it is taken
	}{
		{"reports and grace", func(s *musterv1.Settings, by int64) { s.Timeouts.ReportIntervalNs = seconds(4) + by },
			"report interval 4.000000001s and lease 10s collide"},
		{"delivery", func(s *musterv1.Settings, by int64) { s.Timeouts.DeliveryNs = seconds(10) - by },
			"lease 10s and delivery timeout 9.999999999s collide"},
		{"disk fence", func(s *musterv1.Settings, by int64) {
			s.Timeouts.ReportIntervalNs, s.GraceNs, s.Timeouts.LeaseNs = seconds(0.1), 0, seconds(3)-by
		}, "lease 2.999999999s is shorter than the disk fence of 2s and a second"},
		{"orphans before the lease", func(s *musterv1.Settings, by int64) { s.OrphanStop, s.OrphanNs = true, seconds(10)+1-by },
			"orphan timeout 10s and lease 10s collide"},
		{"orphans after the eviction", func(s *musterv1.Settings, by int64) { s.OrphanStop, s.OrphanNs = true, seconds(310)+by },
			"orphan timeout 5m10.000000001s and lease 10s collide"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fsm.DefaultSettings()
			c.change(s, 0)
			require.NoError(t, fsm.ValidateSettings(s))
			c.change(s, 1)
			require.ErrorContains(t, fsm.ValidateSettings(s), c.problem)
		})
	}
	s := fsm.DefaultSettings()
	s.OrphanNs = 1
	require.NoError(t, fsm.ValidateSettings(s), "where nobody stops, it does not matter when")
	s.OrphanStop, s.OrphanNs, s.Timeouts.EvictionNs = true, seconds(1e6), fsm.Never
	require.NoError(t, fsm.ValidateSettings(s))
}

// TestSet_ShorterRetention: the leader looks at what has ended when its new, earlier time comes.
func TestSet_ShorterRetention(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Start(nil)
	meta := func(id string) *musterv1.RequestMeta {
		return &musterv1.RequestMeta{Id: []byte(fmt.Sprintf("%16s", id)), Issued: m.State.Number()}
	}
	m.Apply(&musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldRequest{
		Meta: meta("create"), Spec: &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{1}}, ProcsPerHost: 1},
	}}})
	m.Apply(&musterv1.Command{Body: &musterv1.Command_Stop{Stop: &musterv1.StopRequest{Meta: meta("stop"), Worlds: []string{"w"}}}})
	a := m.Append(m.Seal(&musterv1.Command{Body: &musterv1.Command_Set{Set: &musterv1.SetRequest{
		Meta: meta("set"), Changes: []*musterv1.SettingChange{{Name: "retention", Value: int64(time.Minute)}},
	}}}))
	require.Contains(t, a.Effects.Timers, fsm.Timer{Kind: fsm.TimerRetention, ID: 1, AtNs: int64(time.Minute)})
}

// TestSet_ShorterGrace: within the grace of a new leader the leases that it prolongs end earlier when it is made shorter.
func TestSet_ShorterGrace(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Start(nil)
	p := m.Apply(&musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
		World: "w", Key: "k", Nonce: make([]byte, 16), Issued: m.State.Number(),
	}}})[0].GetJoin().GetProc()
	set := func(id string, grace time.Duration) fsm.Applied {
		return m.Append(m.Seal(&musterv1.Command{Body: &musterv1.Command_Set{Set: &musterv1.SetRequest{
			Meta:    &musterv1.RequestMeta{Id: []byte(fmt.Sprintf("%16s", id)), Issued: m.State.Number()},
			Changes: []*musterv1.SettingChange{{Name: "grace", Value: int64(grace)}},
		}}}))
	}
	require.Empty(t, set("before", 1500*time.Millisecond).Effects.Timers, "the lease ends after the first grace")
	m.ClockNs = int64(9 * time.Second)
	m.Apply(&musterv1.Command{Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}})
	m.Start(nil)
	a := set("within", 500*time.Millisecond)
	require.Equal(t, []fsm.Timer{{Kind: fsm.TimerMember, ID: p.GetIncarnation(), AtNs: int64(10*time.Second + 500*time.Millisecond)}}, a.Effects.Timers)
}

// TestFailedActors_AtMost64: the first causes of 64 actors are kept, and that there were more.
func TestFailedActors_AtMost64(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Start(nil)
	p := m.Apply(&musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
		World: "w", Key: "k", Nonce: make([]byte, 16), Issued: m.State.Number(),
	}}})[0].GetJoin().GetProc()
	fail := func(pid uint64, cause string) {
		m.Apply(&musterv1.Command{Body: &musterv1.Command_Report{Report: &musterv1.ReportBatch{Reports: []*musterv1.ProcReport{
			{Proc: p, FailedActors: []*musterv1.FailedActor{{Actor: "trainer", Pid: pid, Cause: cause}}},
		}}}})
	}
	for pid := range uint64(64) {
		fail(pid, "first")
		fail(pid, "second")
	}
	view := func() *musterv1.ProcView { return m.State.Supervision("w", false).Answer().GetProcs()[0] }
	require.Equal(t, uint32(64), view().GetFailedActorCount())
	for range 2 {
		fail(64, "one too many")
		require.Equal(t, uint32(65), view().GetFailedActorCount())
		require.Len(t, view().GetFailedActors(), 64)
	}
	for _, f := range view().GetFailedActors() {
		require.Equal(t, "first", f.GetCause())
	}
}

// termStart begins a term of voters whose leader knows rules of a version.
func termStart(m *fsmtest.Machine, version uint32, voters ...string) error {
	m.Term++
	_, err := m.State.Apply(uint64(1000+m.Term), m.Term, &musterv1.Entry{Format: fsm.EntryFormat, Commands: []*musterv1.Command{{Body: &musterv1.Command_TermStart{
		TermStart: &musterv1.TermStart{UnixMicros: 1, ClusterId: "c", ExecutionId: "x", Voters: voters, MachineVersion: version},
	}}}})
	return err
}

func register(m *fsmtest.Machine, server, name string, version uint32) {
	m.Apply(&musterv1.Command{Body: &musterv1.Command_NodeStart{NodeStart: &musterv1.NodeStart{Node: &musterv1.NodeRecord{
		ServerId: server, Name: name, MachineVersion: version,
	}}}})
}

// TestMachineVersion: the rules are the newest that every voter has said it can follow, and never older than they were.
func TestMachineVersion(t *testing.T) {
	m := fsmtest.NewMachine()
	require.NoError(t, termStart(m, 1, "a-1", "b-1"))
	require.False(t, m.State.HasBrake())
	register(m, "a-1", "a", fsm.MachineVersion)
	require.NoError(t, termStart(m, fsm.MachineVersion, "a-1", "b-1"))
	require.False(t, m.State.HasBrake(), "b has not said")
	register(m, "b-1", "b", 2)
	require.NoError(t, termStart(m, fsm.MachineVersion, "a-1", "b-1"))
	require.False(t, m.State.HasBrake(), "b knows older ones only")
	register(m, "b-2", "b", fsm.MachineVersion)
	require.NoError(t, termStart(m, fsm.MachineVersion, "a-1", "b-1"))
	require.False(t, m.State.HasBrake(), "what b was registered as before is forgotten")
	require.NoError(t, termStart(m, fsm.MachineVersion, "a-1", "b-2"))
	require.True(t, m.State.HasBrake())
	register(m, "b-2", "b", 1)
	require.NoError(t, termStart(m, 1, "a-1", "b-2"))
	require.True(t, m.State.HasBrake(), "never back")
	register(m, "a-1", "a", fsm.MachineVersion+1)
	register(m, "b-2", "b", fsm.MachineVersion+1)
	require.ErrorContains(t, termStart(m, 1, "a-1", "b-2"), "run a newer one")
}

// TestMemberEnds_OldRules: while a node follows older rules, what it does not read of a report changes nothing.
func TestMemberEnds_OldRules(t *testing.T) {
	var digests [2][32]byte
	for i, health := range []musterv1.Health{musterv1.Health_HEALTH_UNSPECIFIED, musterv1.Health_HEALTH_COMPLETED} {
		m := fsmtest.NewMachine()
		require.NoError(t, termStart(m, 2))
		p := m.Apply(&musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
			World: "w", Key: "k", Nonce: make([]byte, 16), Issued: m.State.Number(),
		}}})[0].GetJoin().GetProc()
		report := &musterv1.Command{Body: &musterv1.Command_Report{Report: &musterv1.ReportBatch{Reports: []*musterv1.ProcReport{{Proc: p, Health: health}}}}}
		require.Nil(t, m.Apply(report)[0].Body)
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, m.State.Supervision("w", true).Answer().Procs[0].Health)
		digests[i] = m.State.Digest()
	}
	require.Equal(t, digests[0], digests[1])
}
