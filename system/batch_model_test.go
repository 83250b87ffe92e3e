package system

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// model says with maps, rank by rank, what a batch must come to.
type model struct {
	sessions []*modelSession
	waiting  []*modelSession // in order of their tickets
}

type modelSession struct {
	name     string
	reporter *Reporter
	roster   map[place]map[uint32]uint64
	heard    []string // since the last settle

	queued bool
	seq    uint64
	alive  map[place][]uint32
	odd    []*musterv1.ProcReport
}

// modelBatch is what must be in the entry, and who must hear of what.
type modelBatch struct {
	want      *musterv1.ReportBatch
	known     map[*modelSession][]string
	explicit  map[identity]*modelSession
	winners   map[identity]modelSaid // by place and rank: no number
	acks      map[*modelSession]string
	conflicts int
}

type modelSaid struct {
	s      *modelSession
	number uint64
}

func comparePlaces(a, b place) int {
	held := map[bool]int{true: 1}
	return cmp.Or(cmp.Compare(a.world, b.world), cmp.Compare(a.role, b.role), cmp.Compare(held[a.held], held[b.held]))
}

func modelRef(at place, rank uint32, number uint64) (ref *musterv1.ProcRef, heldOrder uint64) {
	ref = &musterv1.ProcRef{World: at.world, Role: at.role, Rank: rank}
	if at.held {
		return ref, number
	}
	ref.Incarnation = number
	return ref, 0
}

func printVerdict(at place, rank uint32, number uint64, v *musterv1.Verdict) string {
	return fmt.Sprintf("%s %v held %t [%d]#%d: %v %v", at.world, at.role, at.held, rank, number, v.GetKind(), v.GetStatus())
}

func printHeard(v *musterv1.Verdict) string {
	who := judgedBy(v)
	return printVerdict(who.place, who.rank, who.number, v)
}

// take is what the collector must make of all that waits.
func (m *model) take(st *fsm.State) *modelBatch {
	b := &modelBatch{
		want: &musterv1.ReportBatch{}, known: map[*modelSession][]string{}, explicit: map[identity]*modelSession{},
		winners: map[identity]modelSaid{}, acks: map[*modelSession]string{},
	}
	said := map[place]map[uint32]map[uint64]*modelSession{} // the latest who says a number
	for _, s := range m.waiting {
		for named, ranks := range s.alive {
			for _, at := range []place{named, named.byHost()} {
				for _, rank := range ranks {
					number, ok := s.roster[at][rank]
					if !ok {
						continue
					}
					if said[at] == nil {
						said[at] = map[uint32]map[uint64]*modelSession{}
					}
					if said[at][rank] == nil {
						said[at][rank] = map[uint64]*modelSession{}
					}
					said[at][rank][number] = s
				}
			}
		}
	}
	byName := func(at place, rank uint32, number uint64, s *modelSession) {
		ref, order := modelRef(at, rank, number)
		b.want.Reports = append(b.want.Reports, &musterv1.ProcReport{Proc: ref, HeldOrder: order})
		b.explicit[identity{at, rank, number}] = s
	}
	places := slices.SortedFunc(maps.Keys(said), comparePlaces)
	for _, at := range places {
		for _, rank := range slices.Sorted(maps.Keys(said[at])) {
			numbers := slices.Sorted(maps.Keys(said[at][rank]))
			last := len(numbers) - 1
			for _, older := range numbers[:last] {
				byName(at, rank, older, said[at][rank][older])
				b.conflicts++
			}
			b.winners[identity{at, rank, 0}] = modelSaid{said[at][rank][numbers[last]], numbers[last]}
		}
	}
	for _, s := range m.waiting {
		for _, r := range s.odd {
			b.want.Reports = append(b.want.Reports, r)
			b.explicit[reportedBy(r)] = s
		}
	}
	for _, at := range places {
		var present []uint32
		for _, rank := range slices.Sorted(maps.Keys(said[at])) {
			w := b.winners[identity{at, rank, 0}]
			ref, _ := modelRef(at, rank, w.number)
			now := st.Present(ref)
			if at.held {
				now = st.HeldOrder(at.world, rank)
			}
			switch {
			case !at.held && st.IsDetached(ref):
			case now == w.number:
				present = append(present, rank)
			case now > w.number && at.held:
				if v := st.HeldVerdict(ref, w.number); v != nil {
					b.known[w.s] = append(b.known[w.s], printVerdict(at, rank, w.number, v))
				}
			case now > w.number:
				b.known[w.s] = append(b.known[w.s], printVerdict(at, rank, w.number, st.Outlived(ref)))
			default:
				byName(at, rank, w.number, w.s)
			}
		}
		if len(present) > 0 {
			b.want.Groups = append(b.want.Groups, &musterv1.ReportGroup{
				Number: st.Number(), ByHost: at.held, Ranks: &musterv1.RankRuns{World: at.world, Role: at.role, Runs: id.AppendRuns(nil, present)},
			})
		}
	}
	for _, s := range m.waiting {
		b.acks[s] = fmt.Sprint("ack ", s.seq)
		s.queued, s.alive, s.odd = false, map[place][]uint32{}, nil
	}
	m.waiting = nil
	return b
}

// hears is what each session must be told when the entry has come to verdicts.
func (b *modelBatch) hears(verdicts []*musterv1.Verdict) map[*modelSession][]string {
	heard := map[*modelSession][]string{}
	for s, known := range b.known {
		heard[s] = append(heard[s], known...)
	}
	for _, v := range verdicts {
		who := judgedBy(v)
		if s := b.explicit[who]; s != nil {
			heard[s] = append(heard[s], printHeard(v))
		} else if w, ok := b.winners[identity{who.place, who.rank, 0}]; ok {
			heard[w.s] = append(heard[w.s], printVerdict(who.place, who.rank, w.number, v))
		}
	}
	for s, ack := range b.acks {
		heard[s] = append(heard[s], ack)
	}
	return heard
}

// TestBatch_AgainstModel: sessions whose ranks overlap, under equal, older and newer numbers, for members, for what hosts run and for Detached
// members, report in any order. Each entry holds what a model with maps says, in its order, and each session hears what is for it, though
// several entries are under way and some fail.
func TestBatch_AgainstModel(t *testing.T) {
	seen := map[string]int{}
	seeds := uint64(8)
	if os.Getenv("MUSTER_LONG") != "" {
		seeds = 500
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { againstModel(t, rand.New(rand.NewPCG(seed, 7)), seen) })
	}
	t.Log(seen)
	for _, what := range []string{"members", "of hosts", "conflicts", "known", "verdicts by name", "verdicts on packed", "several under way", "failed"} {
		require.NotZero(t, seen[what], "%s: never drawn", what)
	}
}

func againstModel(t *testing.T, rng *rand.Rand, seen map[string]int) {
	f, _, _ := newFake(t, nil)
	l := f.lead()
	own := func(world string, role musterv1.Role) place { return place{world: world, role: role} }
	w, v := own("w", musterv1.Role_ROLE_WORKER), own("v", musterv1.Role_ROLE_WORKER)
	gang, hosts := own("gang", musterv1.Role_ROLE_WORKER), own("gang", musterv1.Role_ROLE_HOST)
	join := func(j *musterv1.JoinRequest) {
		j.Issued, j.Machine = f.machine.State.Number(), "m"
		j.Nonce = []byte(fmt.Sprintf("nonce-%010d", j.Issued))
		out, err := f.Propose(f.ctx, &musterv1.Command{Body: &musterv1.Command_Join{Join: j}})
		require.NoError(t, err)
		require.NotNil(t, out.GetJoin(), "%v", out)
	}
	out, err := f.Propose(f.ctx, &musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldRequest{
		Meta: &musterv1.RequestMeta{Id: []byte("0123456789abcdef"), Issued: 1 << 60},
		Spec: &musterv1.WorldSpec{
			World: "gang", Shape: &musterv1.Shape{Dims: []uint32{12}}, ProcsPerHost: 4, Exec: &musterv1.Exec{Program: "train", MasterPort: 7000},
		},
	}}})
	require.NoError(t, err)
	require.NotNil(t, out.GetUpsertWorld(), "%v", out)
	for rank := range uint32(3) {
		join(&musterv1.JoinRequest{World: "gang", Role: musterv1.Role_ROLE_HOST, Rank: rank, Key: fmt.Sprint("host", rank)})
	}
	for rank := range uint32(24) {
		f.member(t, rank)
		join(&musterv1.JoinRequest{World: "v", Rank: rank / 3, Key: "k"}) // each rank is superseded twice
	}
	join(&musterv1.JoinRequest{World: "v", Rank: 30, Key: "k", Mode: musterv1.Mode_MODE_DETACHED})

	present := func(at place, rank uint32) uint64 {
		if at.held {
			return f.machine.State.HeldOrder(at.world, rank)
		}
		return f.machine.State.Present(&musterv1.ProcRef{World: at.world, Role: at.role, Rank: rank})
	}
	m := &model{}
	for i := range 6 {
		s := &modelSession{name: fmt.Sprint("s", i), roster: map[place]map[uint32]uint64{}, alive: map[place][]uint32{}}
		var members []*musterv1.HelloMember
		var held []*musterv1.HeldRank
		for _, at := range []place{w, v, gang, hosts, w.byHost(), gang.byHost()} {
			if rng.IntN(2) == 0 {
				continue
			}
			s.roster[at] = map[uint32]uint64{}
			step, from, to := 1+rng.Uint32N(3), rng.Uint32N(8), uint32(32)
			if rng.IntN(2) == 0 {
				from = rng.Uint32N(12)
				to = from + 1 + rng.Uint32N(3) // few, that meet others at an end
			}
			for rank := from; rank < to; rank += step {
				number := present(at, rank)
				switch rng.IntN(8) {
				case 0:
					number-- // 0 less one is the greatest
				case 1:
					number++
				case 2:
					number = 1 + rng.Uint64N(3)
				}
				number = max(number, 1) // what is checked for form
				s.roster[at][rank] = number
				ref, order := modelRef(at, rank, number)
				if at.held {
					held = append(held, &musterv1.HeldRank{Proc: ref, Order: order})
				} else {
					members = append(members, &musterv1.HelloMember{Proc: ref})
				}
			}
		}
		s.reporter = l.collector.reporter(members, held,
			func(seq uint64) { s.heard = append(s.heard, fmt.Sprint("ack ", seq)) },
			func(vs []*musterv1.Verdict) {
				for _, v := range vs {
					s.heard = append(s.heard, printHeard(v))
				}
			})
		m.sessions = append(m.sessions, s)
	}

	type flight struct {
		batch    *modelBatch
		settle   func([]*musterv1.Outcome, error)
		outcomes []*musterv1.Outcome
	}
	var flights []flight
	type sealed struct{ entry, copied *musterv1.Entry }
	var entries []sealed
	land := func(i int) {
		fl := flights[i]
		flights = slices.Delete(flights, i, i+1)
		for _, s := range m.sessions {
			s.heard = nil
		}
		want := map[*modelSession][]string{}
		if rng.IntN(5) == 0 {
			seen["failed"]++
			fl.settle(nil, errors.New("on purpose"))
		} else {
			verdicts := fl.outcomes[0].GetVerdicts().GetVerdicts()
			want = fl.batch.hears(verdicts)
			for _, v := range verdicts {
				seen[map[bool]string{false: "verdicts by name", true: "verdicts on packed"}[judgedBy(v).number == 0]]++
			}
			fl.settle(fl.outcomes, nil)
		}
		for _, s := range m.sessions {
			require.Equal(t, want[s], s.heard, "session %s", s.name)
		}
	}
	for range 40 {
		for range rng.IntN(8) {
			m.report(t, m.sessions[rng.IntN(len(m.sessions))], rng, w, v, gang, hosts)
		}
		e := &musterv1.Entry{Format: fsm.EntryFormat, RaftTerm: f.machine.Term}
		settle := l.Seal(e, 256<<10)
		if len(m.waiting) == 0 {
			require.Empty(t, e.Commands)
		} else {
			b := m.take(f.machine.State)
			got := e.Commands[0].GetReport()
			require.Equal(t, printBatch(b.want), printBatch(got))
			require.True(t, proto.Equal(b.want, got))
			for _, g := range got.Groups {
				seen[map[bool]string{false: "members", true: "of hosts"}[g.ByHost]]++
			}
			seen["conflicts"] += b.conflicts
			seen["known"] += len(b.known)
			if rng.IntN(2) == 0 {
				f.member(t, rng.Uint32N(24)) // is applied before: whom it supersedes is packed as present
			}
			entries = append(entries, sealed{e, proto.CloneOf(e)})
			flights = append(flights, flight{b, settle, f.machine.Append(e).Outcomes})
		}
		if len(flights) > 1 {
			seen["several under way"]++
		}
		for len(flights) > 0 && (len(flights) == 4 || rng.IntN(2) == 0) {
			land(rng.IntN(len(flights)))
		}
		if rng.IntN(4) == 0 {
			f.member(t, rng.Uint32N(32)) // supersedes, or comes where nobody was; nothing waits that its entry would carry
		}
	}
	for len(flights) > 0 {
		land(0)
	}
	for _, e := range entries {
		require.True(t, proto.Equal(e.copied, e.entry), "an entry is its own, whatever becomes of the batch")
	}
}

// report has a session say that some are alive and, now and then, that an actor has failed.
func (m *model) report(t *testing.T, s *modelSession, rng *rand.Rand, places ...place) {
	s.seq++
	r := &musterv1.SessionReport{Seq: s.seq}
	for _, at := range places {
		if rng.IntN(3) == 0 {
			continue
		}
		var ranks []uint32
		for rank := rng.Uint32N(8); rank < 40; rank++ {
			if rng.IntN(8) > 0 {
				ranks = append(ranks, rank)
			}
		}
		r.Alive = append(r.Alive, &musterv1.RankRuns{World: at.world, Role: at.role, Runs: id.AppendRuns(nil, ranks)})
		s.alive[at] = ranks
	}
	for _, at := range slices.SortedFunc(maps.Keys(s.roster), comparePlaces) {
		if rng.IntN(6) > 0 {
			continue
		}
		roster := s.roster[at]
		rank := slices.Min(slices.Collect(maps.Keys(roster)))
		ref, order := modelRef(at, rank, roster[rank])
		odd := &musterv1.ProcReport{Proc: ref, HeldOrder: order, FailedActors: []*musterv1.FailedActor{{Actor: fmt.Sprint("a", s.seq), Cause: "x"}}}
		r.Reports, s.odd = append(r.Reports, odd), append(s.odd, odd)
	}
	require.NoError(t, s.reporter.Report(r))
	if !s.queued {
		s.queued = true
		m.waiting = append(m.waiting, s)
	}
}

func printBatch(b *musterv1.ReportBatch) (lines []string) {
	for _, g := range b.Groups {
		lines = append(lines, fmt.Sprintf("%s %v by host %t at %d: %v", g.Ranks.World, g.Ranks.Role, g.ByHost, g.Number, slices.Collect(id.Ranks(g.Ranks.Runs))))
	}
	for _, r := range b.Reports {
		lines = append(lines, fmt.Sprintf("%s %v [%d]#%d by %d, %d actors", r.Proc.World, r.Proc.Role, r.Proc.Rank, r.Proc.Incarnation, r.HeldOrder, len(r.FailedActors)))
	}
	return lines
}
