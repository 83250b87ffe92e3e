package system

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// fleet is sessions of a fake term, each with as many ranks of one world, that report and have what they said committed.
type fleet struct {
	l         *leadership
	reporters []*Reporter
	messages  []*musterv1.SessionReport
	acked     int
}

// newFleet gives sessions ranks that neighbour, or, interleaved, every so manieth one.
func newFleet(t testing.TB, sessions, ranks int, interleaved bool) *fleet {
	f, _, _ := newFake(t, nil)
	fl := &fleet{l: f.lead()}
	members := make([][]*musterv1.HelloMember, sessions)
	numbers := make([][]uint32, sessions)
	for rank := range sessions * ranks {
		i := rank / ranks
		if interleaved {
			i = rank % sessions
		}
		members[i] = append(members[i], &musterv1.HelloMember{Proc: f.member(t, uint32(rank))})
		numbers[i] = append(numbers[i], uint32(rank))
	}
	for i := range sessions {
		fl.reporters = append(fl.reporters, fl.l.collector.reporter(members[i], nil, func(uint64) { fl.acked++ }, nil))
		fl.messages = append(fl.messages, alive(1, numbers[i]...))
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(sessions, func(i, j int) {
		fl.reporters[i], fl.reporters[j] = fl.reporters[j], fl.reporters[i]
		fl.messages[i], fl.messages[j] = fl.messages[j], fl.messages[i]
	})
	return fl
}

// round is one report of each session, sealed in one entry and settled.
func (fl *fleet) round() *musterv1.Entry {
	for i, r := range fl.reporters {
		if err := r.Report(fl.messages[i]); err != nil {
			panic(err)
		}
	}
	e := &musterv1.Entry{}
	settle := fl.l.Seal(e, 256<<10)
	settle([]*musterv1.Outcome{{}}, nil)
	return e
}

// TestCollector_AllocatesNothingPerRank: what says "alive" again and again costs a few allocations an entry, however many sessions say it
// and for however many ranks.
func TestCollector_AllocatesNothingPerRank(t *testing.T) {
	for _, interleaved := range []bool{false, true} {
		t.Run(fmt.Sprintf("interleaved %t", interleaved), func(t *testing.T) {
			allocations := func(sessions, ranks int) float64 {
				fl := newFleet(t, sessions, ranks, interleaved)
				for range 3 {
					e := fl.round()
					require.Equal(t, []byte(id.AppendRuns(nil, upTo(sessions*ranks))), e.Commands[0].GetReport().Groups[0].Ranks.Runs)
				}
				n := testing.AllocsPerRun(100, func() { fl.round() })
				require.Len(t, fl.l.collector.spare, 1)
				require.LessOrEqual(t, cap(fl.l.collector.spare[0].speakers), 4*sessions*ranks)
				return n
			}
			few, many := allocations(8, 8), allocations(64, 64)
			t.Logf("%.0f allocations an entry of 64 ranks, %.0f of 4096", few, many)
			require.LessOrEqual(t, many, few+1)
			require.Less(t, many, 32.0)
		})
	}
}

func upTo(n int) (ranks []uint32) {
	for rank := range n {
		ranks = append(ranks, uint32(rank))
	}
	return ranks
}

// BenchmarkCollector is reports from when they are received to when they are acknowledged, without the log between.
func BenchmarkCollector(b *testing.B) {
	for _, c := range []struct {
		sessions, ranks int
		interleaved     bool
	}{{4096, 1, false}, {64, 64, false}, {64, 64, true}, {1, 4096, false}} {
		b.Run(fmt.Sprintf("sessions=%d/ranks=%d/interleaved=%t", c.sessions, c.ranks, c.interleaved), func(b *testing.B) {
			fl := newFleet(b, c.sessions, c.ranks, c.interleaved)
			b.ReportAllocs()
			for b.Loop() {
				fl.round()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.sessions*c.ranks), "ns/rank")
		})
	}
}
