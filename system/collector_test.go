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

// TestCollector_Gathers: reports wait 10 ms for company, and 25 ms where the batch before was a crowd; never more than a hundredth of the
// shortest lease.
func TestCollector_Gathers(t *testing.T) {
	for _, c := range []struct {
		name     string
		sessions uint32
		lease    time.Duration
		want     time.Duration
	}{
		{"few", crowd - 1, 10 * time.Second, maxGather},
		{"a crowd", crowd, 10 * time.Second, crowdGather},
		{"a short lease", 1, 600 * time.Millisecond, 6 * time.Millisecond},
		{"a crowd with a short lease", crowd, 1800 * time.Millisecond, 18 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				settings := fsm.DefaultSettings()
				settings.Timeouts.LeaseNs, settings.Timeouts.ReportIntervalNs = int64(c.lease), int64(c.lease)/10
				settings.GraceNs = int64(c.lease) / 10
				f, _, _ := newFake(t, settings)
				l := f.lead()
				var sessions []*Session
				for rank := range c.sessions {
					s, _, _ := open(t, f, f.member(t, rank))
					sessions = append(sessions, s)
				}
				for seq := uint64(1); seq <= 2; seq++ {
					for rank, s := range sessions {
						require.NoError(t, s.Report(alive(seq, uint32(rank))))
					}
					if seq == 1 {
						f.seal()
					}
				}
				pokes := f.poked()
				time.Sleep(c.want - 1)
				synctest.Wait()
				require.Equal(t, pokes, f.poked())
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				require.Equal(t, pokes+1, f.poked())
				require.NotNil(t, l.collector.timer)
				f.seal()
			})
		})
	}
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

// said lists whom the explicit reports of an entry name.
func said(e *musterv1.Entry) (out []string) {
	for _, r := range e.Commands[0].GetReport().Reports {
		out = append(out, fmt.Sprintf("%s[%d]#%d by %d", r.Proc.World, r.Proc.Rank, r.Proc.Incarnation, r.HeldOrder))
	}
	return out
}

// TestCollector_HeldRanks: one "alive" of a session counts for its members and for the ranks that its hosts hold, each for itself. A rank
// is held from its start to its end; what is held under an order that the state does not know goes by name.
func TestCollector_HeldRanks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		f.lead()
		own := f.member(t, 0)
		rank := func(n uint32) *musterv1.ProcRef { return &musterv1.ProcRef{World: "w", Rank: n} }
		s, _, _ := open(t, f, own)
		held := []*musterv1.HeldRank{{Proc: rank(0), Order: 1 << 60}, {Proc: rank(9), Order: 1 << 60}}
		s.reporter = s.l.collector.reporter([]*musterv1.HelloMember{{Proc: own}}, held, s.acked, s.verdicts)

		require.NoError(t, s.Report(alive(1, 0)))
		e, _ := f.seal()
		require.Len(t, e.Commands[0].GetReport().Groups, 1)
		require.False(t, e.Commands[0].GetReport().Groups[0].ByHost)
		require.Equal(t, []string{"w[0]#0 by 1152921504606846976"}, said(e))

		require.NoError(t, s.Report(alive(2, 7, 9)))
		s.Hold(rank(7), 1<<60+2) // one report may still wait: it is for the ranks of when it is taken
		s.Release(rank(9), 1<<60-1)
		e, _ = f.seal()
		require.Empty(t, e.Commands[0].GetReport().Groups)
		require.ElementsMatch(t, []string{"w[7]#0 by 1152921504606846978", "w[9]#0 by 1152921504606846976"}, said(e))

		s.Hold(rank(7), 1<<60+1) // an older run, late
		s.Release(rank(9), 1<<60)
		require.NoError(t, s.Report(alive(3, 7, 9)))
		e, _ = f.seal()
		require.Equal(t, []string{"w[7]#0 by 1152921504606846978"}, said(e))
		s.Release(rank(7), 1<<60+2)
		require.NoError(t, s.Report(alive(4, 7, 9)))
		e, _ = f.seal()
		require.Empty(t, said(e))
		require.Zero(t, s.l.collector.ranks)
	})
}

// TestBatch_VerdictsOfHostsAndPrograms: a program that speaks for itself and the host that holds its rank each hear what is for them, though
// both reported in the same batch.
func TestBatch_VerdictsOfHostsAndPrograms(t *testing.T) {
	type heard struct{ r, v string }
	var out []heard
	reporter := func(name string) *Reporter {
		return &Reporter{verdicts: func(vs []*musterv1.Verdict) {
			for _, v := range vs {
				out = append(out, heard{name, fmt.Sprintf("%d#%d by %d %v", v.Proc.Rank, v.Proc.Incarnation, v.HeldOrder, v.Kind)})
			}
		}}
	}
	program, host := reporter("program"), reporter("host")
	own := place{world: "w", role: musterv1.Role_ROLE_WORKER}
	b := &batch{
		report: &musterv1.ReportBatch{}, parts: []part{{r: program}, {r: host}},
		speakers: []speaker{{3, 0, 50}, {3, 1, 40}}, spans: []span{{own, 0, 1}, {own.byHost(), 1, 2}},
	}
	b.addExplicit(&musterv1.ProcReport{Proc: &musterv1.ProcRef{World: "w", Rank: 3}, HeldOrder: 30}, host)
	at := func(incarnation uint64) *musterv1.ProcRef {
		return &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: 3, Incarnation: incarnation}
	}
	b.settle(&musterv1.Outcome{Body: &musterv1.Outcome_Verdicts{Verdicts: &musterv1.Verdicts{Verdicts: []*musterv1.Verdict{
		{Proc: at(0), Kind: musterv1.Verdict_KIND_EXPIRED},                         // a packed group of members
		{Proc: at(0), Kind: musterv1.Verdict_KIND_UNKNOWN, HeldOrder: 99},          // a packed group of hosts: its number
		{Proc: at(0), Kind: musterv1.Verdict_KIND_SUPERSEDED, HeldOrder: 30},       // by name
		{Proc: &musterv1.ProcRef{World: "x"}, Kind: musterv1.Verdict_KIND_UNKNOWN}, // of nobody here
	}}}})
	require.ElementsMatch(t, []heard{
		{"program", "3#50 by 0 KIND_EXPIRED"}, {"host", "3#0 by 40 KIND_UNKNOWN"}, {"host", "3#0 by 30 KIND_SUPERSEDED"},
	}, out)
}
