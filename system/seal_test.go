package system

import (
	"encoding/binary"
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

		v := f.machine.State.Supervision("w", true)
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
		l.propose(judgement(&musterv1.Expire{Procs: []*musterv1.ProcRef{{World: "w", Incarnation: 1}}}, &musterv1.Due{}))
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

// TestCollector_NewerReplacesOlder: a session has one unsealed report, whose acknowledgement covers those it replaced.
func TestCollector_NewerReplacesOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		f.lead()
		s, acked, told := open(t, f, f.member(t, 0))
		for seq := uint64(1); seq <= 5; seq++ {
			_ = s.Report(alive(seq, 0))
		}
		e, _ := f.seal()
		require.Len(t, e.Commands, 1)
		require.Len(t, e.Commands[0].GetReport().Groups, 1)
		require.Equal(t, uint64(5), *acked)
		require.Empty(t, *told)
		e, _ = f.seal()
		require.Empty(t, e.Commands, "nothing is left")
	})
}

// TestCollector_MergesSessionsByWorld: many sessions of neighbouring ranks cost a few bytes together.
func TestCollector_MergesSessionsByWorld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		f.lead()
		for rank := range uint32(64) {
			s, _, _ := open(t, f, f.member(t, rank))
			_ = s.Report(alive(1, rank))
		}
		e, _ := f.seal()
		groups := e.Commands[0].GetReport().Groups
		require.Len(t, groups, 1)
		require.Len(t, groups[0].Ranks.Runs, 2)
	})
}

// TestCollector_TwoSpeakers: an old process that still speaks for a rank does not keep the new one from being heard, and learns that it
// is superseded.
func TestCollector_TwoSpeakers(t *testing.T) {
	for _, oldFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("old first %t", oldFirst), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, _, _ := newFake(t, nil)
				f.lead()
				old := f.member(t, 0)
				a, _, toldOld := open(t, f, old)
				fresh := f.member(t, 0)
				b, acked, toldFresh := open(t, f, fresh)
				if oldFirst {
					_ = a.Report(alive(1, 0))
					_ = b.Report(alive(1, 0))
				} else {
					_ = b.Report(alive(1, 0))
					_ = a.Report(alive(1, 0))
				}
				f.seal()
				require.Equal(t, uint64(1), *acked)
				require.Empty(t, *toldFresh)
				require.Len(t, *toldOld, 1)
				require.Equal(t, musterv1.Verdict_KIND_SUPERSEDED, (*toldOld)[0].Kind)
				require.Equal(t, old.Incarnation, (*toldOld)[0].Proc.Incarnation)
			})
		})
	}
}

// TestCollector_SpeaksForNobodyElse: a session cannot keep alive whom it did not say hello for.
func TestCollector_SpeaksForNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		f.lead()
		mine, other := f.member(t, 0), f.member(t, 1)
		s, _, _ := open(t, f, mine)
		_ = s.Report(alive(1, 0, 1))
		_ = s.Report(&musterv1.SessionReport{Seq: 2, Reports: []*musterv1.ProcReport{{Proc: other}}})
		e, _ := f.seal()
		b := e.Commands[0].GetReport()
		require.Empty(t, b.Reports)
		require.Equal(t, id.AppendRuns(nil, []uint32{0}), b.Groups[0].Ranks.Runs)
	})
}

// TestTick_OnlyWhileSomethingDependsOnTheClock: a leader with nothing to seal keeps the clock in the log while there are deadlines.
func TestTick_OnlyWhileSomethingDependsOnTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		l := f.lead()
		time.Sleep(time.Second)
		l.tick()
		e, _ := f.seal()
		require.Empty(t, e.Commands)
		f.member(t, 0)
		time.Sleep(quiet)
		l.clock.Step()
		l.tick()
		e, _ = f.seal()
		require.NotNil(t, e.Commands[0].GetTick())
		require.Equal(t, l.clock.NowNs(), f.machine.State.ClockNs())
		l.tick()
		e, _ = f.seal()
		require.Empty(t, e.Commands, "not again so soon")
	})
}

// TestHolderGone: another key may have the rank at once when the leader has seen the holder's session end, and not before.
func TestHolderGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, sessions, sys := newFake(t, nil)
		l := f.lead()
		holder := f.member(t, 0)
		ask := func() *musterv1.Outcome {
			out, err := sys.Join(t.Context(), &musterv1.JoinRequest{
				World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: 0, Key: "other", Machine: "o",
				Nonce: []byte(fmt.Sprintf("other-%010d", f.machine.State.Number())), Issued: f.machine.State.Number(),
				HolderGone: holder.Incarnation, // what a client claims does not count
			})
			require.NoError(t, err)
			return out
		}
		require.Equal(t, musterv1.Reason_REASON_ALREADY_EXISTS, ask().GetRefusal().GetReason(), "it has only just joined")
		for l.clock.NowNs() <= l.graceNs {
			time.Sleep(25 * time.Millisecond)
			l.clock.Step()
		}
		require.Equal(t, musterv1.Reason_REASON_ALREADY_EXISTS, ask().GetRefusal().GetReason(), "it may still say hello")
		s, _, _ := open(t, f, holder)
		sessions.attached[identityOf(holder)] = true
		require.Equal(t, musterv1.Reason_REASON_ALREADY_EXISTS, ask().GetRefusal().GetReason(), "its session is open")
		delete(sessions.attached, identityOf(holder))
		s.Close(s.members)
		require.NotNil(t, ask().GetJoin())
	})
}

// TestHolderGone_NeverCame: whoever is from before this term and has not come within its grace is gone, too.
func TestHolderGone_NeverCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		f.lead()
		holder := f.member(t, 0)
		f.machine.Start(nil)
		l := f.lead()
		j := &musterv1.JoinRequest{World: "w", Role: musterv1.Role_ROLE_WORKER}
		require.Zero(t, l.holderGone(j), "it has the grace to come")
		for l.clock.NowNs() <= l.graceNs {
			time.Sleep(25 * time.Millisecond)
			l.clock.Step()
		}
		require.Equal(t, holder.Incarnation, l.holderGone(j))
	})
}

// TestDeliver_DueOrders: a stop makes orders due, which go to the sessions; a session that comes later gets them with its hello.
func TestDeliver_DueOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, sessions, sys := newFake(t, nil)
		l := f.lead()
		p := f.member(t, 0)
		go l.orders.Run(f.ctx, l.deliver)
		_, err := sys.Stop(t.Context(), &musterv1.StopRequest{Meta: &musterv1.RequestMeta{Id: make([]byte, 16)}, Worlds: []string{"w"}})
		require.NoError(t, err)
		synctest.Wait()
		require.Len(t, sessions.orders, 1)
		s, _, _ := open(t, f, p)
		s.DeliverOrders()
		synctest.Wait()
		require.Len(t, sessions.orders, 2, "not confirmed yet: again")
		_, err = s.Confirm(t.Context(), &musterv1.Confirm{Proc: p, HighestOrder: sessions.orders[0].Id})
		require.NoError(t, err)
		s.DeliverOrders()
		synctest.Wait()
		require.Len(t, sessions.orders, 2, "confirmed")
		f.cancel()
	})
}

// TestHello_LargeIsSplit: an agent with many members says hello in one message and in several entries.
func TestHello_LargeIsSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		f.lead()
		h := &musterv1.Hello{Owner: "agent", Epoch: f.machine.State.Epoch()}
		h.Members = append(h.Members, &musterv1.HelloMember{Proc: f.member(t, 0)})
		for rank := range uint32(20000) {
			h.Members = append(h.Members, &musterv1.HelloMember{Proc: &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank + 1, Incarnation: 7}})
		}
		s, err := f.sys.Attach(func(uint64) {}, func([]*musterv1.Verdict) {})
		require.NoError(t, err)
		before := len(f.machine.Log)
		verdicts, speaksFor, _, err := s.Hello(t.Context(), h)
		require.NoError(t, err)
		require.Len(t, verdicts, 20000)
		require.Len(t, speaksFor, 1)
		require.Greater(t, len(f.machine.Log)-before, 1)
		for _, l := range f.machine.Log {
			require.Less(t, len(l.Entry), 128<<10)
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
		l.propose(judgement(&musterv1.Expire{Procs: []*musterv1.ProcRef{p}}, &musterv1.Due{}))
		e := &musterv1.Entry{}
		l.Seal(e, 256<<10)
		require.Len(t, e.Commands, 2)
		require.NotNil(t, e.Commands[1].GetExpire())
	})
}

// TestObserve_ManyAtOnceFit: a round of expiries of procs with the longest names is cut into parts that an entry has room for.
func TestObserve_ManyAtOnceFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
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

// TestCollector_HostileRuns: a few bytes that name all ranks there can be, of worlds that the session has nothing to do with and of its
// own, cost what the session's members cost.
func TestCollector_HostileRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		f.lead()
		s, _, _ := open(t, f, f.member(t, 5))
		everybody := binary.AppendUvarint([]byte{0}, id.MaxProcs)
		m := &musterv1.SessionReport{Seq: 1}
		for i := range 1000 {
			m.Alive = append(m.Alive, &musterv1.RankRuns{World: fmt.Sprint("x", i), Runs: everybody})
		}
		m.Alive = append(m.Alive, &musterv1.RankRuns{World: "w", Runs: everybody})
		for range 100 {
			require.NoError(t, s.Report(m))
		}
		require.Len(t, s.reporter.alive, 1)
		e, _ := f.seal()
		require.Equal(t, id.AppendRuns(nil, []uint32{5}), e.Commands[0].GetReport().Groups[0].Ranks.Runs)
	})
}

// TestCollector_FailuresAreNeverAckedUnsaid: many reports with more to say are split over entries, each of bounded size, and
// acknowledged with the last; more than a session may have waiting is refused.
func TestCollector_FailuresAreNeverAckedUnsaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		f.lead()
		var members []*musterv1.ProcRef
		m := &musterv1.SessionReport{Seq: 9}
		for rank := range uint32(40) {
			p := f.member(t, rank)
			members = append(members, p)
			r := &musterv1.ProcReport{Proc: p}
			for a := range 20 {
				r.FailedActors = append(r.FailedActors, &musterv1.FailedActor{Actor: fmt.Sprint("a", a), Cause: strings.Repeat("x", 1000)})
			}
			m.Reports = append(m.Reports, r)
		}
		s, acked, _ := open(t, f, members...)
		require.NoError(t, s.Report(m))
		require.ErrorIs(t, s.Report(m), ErrTooMuch)
		said := 0
		for entries := 0; *acked == 0; entries++ {
			require.Less(t, entries, 10)
			e, _ := f.seal()
			require.Less(t, proto.Size(e), 320<<10)
			said += len(e.Commands[0].GetReport().Reports)
		}
		require.Equal(t, 40, said)
		require.Equal(t, uint64(9), *acked)
	})
}
