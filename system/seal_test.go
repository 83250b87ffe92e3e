package system

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

func hello(refs ...*musterv1.ProcRef) *musterv1.Hello {
	h := &musterv1.Hello{Owner: "test"}
	for _, p := range refs {
		h.Members = append(h.Members, &musterv1.HelloMember{Proc: p})
	}
	return h
}

func alive(seq uint64, ranks ...uint32) *musterv1.SessionReport {
	return &musterv1.SessionReport{Seq: seq, Alive: []*musterv1.RankRuns{{World: "w", Role: musterv1.Role_ROLE_WORKER, Runs: id.AppendRuns(nil, ranks)}}}
}

// open attaches a session; what it is told goes into the returned slices.
func open(t *testing.T, f *fakeTerm, refs ...*musterv1.ProcRef) (s *Session, acked *uint64, told *[]*musterv1.Verdict) {
	t.Helper()
	acked, told = new(uint64), new([]*musterv1.Verdict)
	s, err := f.sys.Attach(func(seq uint64) { *acked = seq }, func(v []*musterv1.Verdict) { *told = append(*told, v...) })
	require.NoError(t, err)
	h := hello(refs...)
	h.Epoch = f.machine.State.Epoch()
	_, _, _, err = s.Hello(t.Context(), h)
	require.NoError(t, err)
	return s, acked, told
}

// TestExpire_BehindReceivedReports: a report that was received before a deadline was judged is applied before the judgement, though it
// was still waiting for company: the proc lives. A proc that did not report is expired by the same entry.
func TestExpire_BehindReceivedReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		l := f.lead()
		saved, lost := f.member(t, 0), f.member(t, 1)
		s, acked, _ := open(t, f, saved, lost)

		lease := time.Duration(fsm.DefaultSettings().Timeouts.LeaseNs + fsm.DefaultSettings().GraceNs)
		for l.clock.NowNs() <= int64(lease) {
			time.Sleep(25 * time.Millisecond)
			l.clock.Step()
		}
		_ = s.Report(alive(7, 0)) // received,
		require.Equal(t, 2, l.observe(), "both deadlines have come")
		e, _ := f.seal() // then judged, then sealed
		require.Len(t, e.Commands, 2)
		require.NotNil(t, e.Commands[0].GetReport(), "reports first")
		require.Len(t, e.Commands[1].GetExpire().GetProcs(), 2, "the judgement names both")
		require.Equal(t, uint64(7), *acked)

		v := f.machine.State.Supervision("w", true).Answer()
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, v.Procs[0].Health)
		require.Equal(t, musterv1.Health_HEALTH_EXPIRED, v.Procs[1].Health)
	})
}

// TestSeal_JudgementWaitsForAllReports: when the reports that were received do not fit in one entry, the judgement goes with the last,
// though there would be room for it before.
func TestSeal_JudgementWaitsForAllReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		l := f.lead()
		const sessions, ranks = 3, 64
		var reports []func() // behind all joins and hellos, whose entries would carry them
		for i := range uint32(sessions) {
			var members []*musterv1.ProcRef
			var numbers []uint32
			for r := range uint32(ranks) {
				members, numbers = append(members, f.member(t, i*ranks+r)), append(numbers, i*ranks+r)
			}
			s, _, _ := open(t, f, members...)
			reports = append(reports, func() { _ = s.Report(alive(1, numbers...)) })
		}
		for _, report := range reports {
			report()
		}
		l.propose(judgement(&musterv1.Expire{Procs: []*musterv1.ProcRef{{World: "w", Incarnation: 1}}}, nil, nil))
		const room = 36 // one session's report and the judgement fit, three sessions' reports do not
		for i := range sessions {
			e := &musterv1.Entry{}
			l.Seal(e, room)
			require.NotNil(t, e.Commands[0].GetReport(), "entry %d", i)
			if i < sessions-1 {
				require.Len(t, e.Commands, 1, "reports wait behind entry %d: no judgement yet", i)
			} else {
				require.NotNil(t, e.Commands[1].GetExpire())
			}
		}
	})
}

// TestSeal_JudgementIsNotStarved: reports that come after the leader looked do not hold its judgement up, however many come.
func TestSeal_JudgementIsNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		l := f.lead()
		p := f.member(t, 0)
		s, _, _ := open(t, f, p)
		f.duringRead = func() { require.NoError(t, s.Report(alive(1, 0))) } // a report arrives while the entry is made
		require.NoError(t, s.Report(alive(1, 0)))
		l.propose(judgement(&musterv1.Expire{Procs: []*musterv1.ProcRef{p}}, nil, nil))
		e := &musterv1.Entry{}
		l.Seal(e, 256<<10)
		require.Len(t, e.Commands, 2)
		require.NotNil(t, e.Commands[1].GetExpire())
	})
}

// TestObserve_ManyAtOnceFit: a round of expiries of procs with the longest names is cut into parts that an entry has room for.
func TestObserve_ManyAtOnceFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := fsm.DefaultSettings()
		settings.BrakePercent = 100 // nothing is held back
		f, _, _ := newFake(t, settings)
		l := f.lead()
		name := strings.Repeat("\U00020000", 63)
		const n = 1000
		for rank := range uint32(n) {
			out, err := f.Propose(f.ctx, &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
				World: name, Role: musterv1.Role_ROLE_WORKER, Rank: rank, Key: "k", Nonce: []byte(fmt.Sprintf("%16d", rank)), Issued: f.machine.State.Number(),
			}}})
			require.NoError(t, err)
			require.NotNil(t, out.GetJoin())
		}
		for l.clock.NowNs() <= fsm.DefaultSettings().Timeouts.LeaseNs+fsm.DefaultSettings().GraceNs {
			time.Sleep(25 * time.Millisecond)
			l.clock.Step()
		}
		l.observe()
		for range 2 * n / maxJudged {
			e := &musterv1.Entry{Format: fsm.EntryFormat, RaftTerm: f.machine.Term}
			l.Seal(e, 64<<10) // what requests leave
			require.Less(t, proto.Size(e), 80<<10)
			if len(e.Commands) > 0 {
				f.machine.Append(e)
			}
		}
		require.Equal(t, uint32(n), f.machine.State.Status().Unhealthy)
	})
}

// TestObserve_RoundIsOneEvent: many that expire together are told together, or they would wash away what their world has been through.
func TestObserve_RoundIsOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := fsm.DefaultSettings()
		settings.BrakePercent = 100 // nothing is held back
		f, _, _ := newFake(t, settings)
		l := f.lead()
		const n = 900
		for rank := range uint32(n) {
			f.member(t, rank)
		}
		for l.clock.NowNs() <= settings.Timeouts.LeaseNs+settings.GraceNs {
			time.Sleep(25 * time.Millisecond)
			l.clock.Step()
		}
		l.observe()
		f.seal()
		require.Equal(t, uint32(n), f.machine.State.Status().Unhealthy)
		told := 0
		for _, e := range f.machine.State.Events(0, 0) {
			if e.Kind == musterv1.Event_KIND_PROC_EXPIRED {
				told++
			}
		}
		require.Equal(t, 1, told)
	})
}
