package fsm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// A reader holds up whoever applies entries, so each looks at a bounded number of members, of worlds and of orders at once, however many
// there are. Here what is behind the bound is taken away: whoever looks at it panics.

// large is a state with a world of so many workers, of which as many from the first on are unhealthy.
func large(t *testing.T, spec *musterv1.WorldSpec, members, unhealthy uint32) *State {
	s := New()
	apply := func(commands ...*musterv1.Command) []*musterv1.Outcome {
		a, err := s.Apply(1, 1, &musterv1.Entry{Format: EntryFormat, RaftTerm: 1, Epoch: s.Epoch(), StampNs: s.ClockNs() + 1e12, Commands: commands})
		require.NoError(t, err)
		return a.Outcomes
	}
	apply(&musterv1.Command{Body: &musterv1.Command_TermStart{TermStart: &musterv1.TermStart{
		ServerId: "n1", UnixMicros: 1000, ClusterId: "c1", ExecutionId: "x1", MachineVersion: MachineVersion,
	}}})
	if spec != nil {
		apply(&musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldRequest{
			Meta: &musterv1.RequestMeta{Id: make([]byte, 16), Issued: s.Number()}, Spec: spec,
		}}})
	}
	var joins []*musterv1.Command
	for rank := range members {
		joins = append(joins, &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
			World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Key: "k", Nonce: []byte(fmt.Sprintf("%16d", rank)), Issued: s.Number(),
		}}})
	}
	expire := &musterv1.Expire{}
	for rank, out := range apply(joins...) {
		require.NotNil(t, out.GetJoin())
		if rank < int(unhealthy) {
			expire.Procs = append(expire.Procs, out.GetJoin().Proc)
		}
	}
	apply(&musterv1.Command{Body: &musterv1.Command_Expire{Expire: expire}})
	require.Equal(t, unhealthy, s.unhealthy)
	return s
}

// onlyFirst takes all records away but those of the first slots.
func onlyFirst(s *State, slots int) {
	clear(s.recs.list[(slots+pageSize-1)/pageSize:])
}

func TestReaders_LookAtFewMembers(t *testing.T) {
	const members = 3 * MaxPage
	spec := &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{members + 1}}, ProcsPerHost: 1}
	nobody := []*musterv1.Label{{Key: "no", Value: "body"}}
	for _, c := range []struct {
		name      string
		unhealthy uint32
		looks     int
		read      func(*State)
	}{
		{"supervision of the healthy", 0, 0, func(s *State) { s.Supervision("w", false) }},
		{"supervision", members - 1, MaxPage, func(s *State) { s.Supervision("w", false) }},
		{"supervision of all", 0, MaxPage, func(s *State) { s.Supervision("w", true) }},
		{"a page", 0, MaxPage, func(s *State) { _, _ = s.View(&musterv1.ViewRequest{PageSize: MaxPage}) }},
		{"a page of nobody", 0, pageLooks, func(s *State) { _, _ = s.View(&musterv1.ViewRequest{ProcLabels: nobody}) }},
		{"explain", members - 1, explainLooks, func(s *State) { s.Explain(&musterv1.ExplainRequest{World: "w"}) }},
		{"status", members - 1, 0, func(s *State) { s.Status() }},
		{"history", members - 1, 0, func(s *State) { s.History("w") }},
		{"watch", members - 1, 0, func(s *State) { s.Watch(&musterv1.WatchRequest{From: s.Epoch()}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := large(t, spec, members, c.unhealthy)
			onlyFirst(s, c.looks)
			require.NotPanics(t, func() { c.read(s) })
		})
	}
}

func TestReaders_LookAtFewWorlds(t *testing.T) {
	for name, q := range map[string]*musterv1.ViewRequest{
		"heads":      {OmitProcs: true},
		"no world":   {WorldLabels: []*musterv1.Label{{Key: "none", Value: "has"}}},
		"no members": {OmitEmpty: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := large(t, nil, 1, 0)
			for i := range 2 * pageLooks {
				name := fmt.Sprintf("x%06d", i)
				if s.names.Insert(name); i < pageLooks {
					s.worlds[name] = &world{rec: &musterv1.WorldRecord{World: name, Condition: &musterv1.Condition{}}}
				}
			}
			v, err := s.View(q)
			require.NoError(t, err)
			require.NotEmpty(t, v.NextPageToken)
			require.LessOrEqual(t, len(v.Worlds), pageLooks/headLooks)
		})
	}
}

// TestView_NamedWorlds: a view that names worlds shows those, in order, each once, and looks at no others.
func TestView_NamedWorlds(t *testing.T) {
	s := large(t, nil, 1, 0)
	for i := range 2 * pageLooks {
		s.names.Insert(fmt.Sprintf("x%06d", i)) // none of which is there: looking at one panics
	}
	v, err := s.View(&musterv1.ViewRequest{Worlds: []string{"w", "nobody", "a", "w"}})
	require.NoError(t, err)
	require.Empty(t, v.NextPageToken)
	require.Len(t, v.Worlds, 1)
	require.Equal(t, "w", v.Worlds[0].World)
}

func TestExplain_LooksAtFewOrders(t *testing.T) {
	s := large(t, nil, 2*explainLooks, 0)
	all := 0
	for rank := range uint32(2 * explainLooks) {
		m := member{"w", musterv1.Role_ROLE_WORKER, rank}
		s.setPending(m, []due{{id: uint64(2 * (1e6 - rank))}, {id: uint64(2*(1e6-rank) + 1)}})
		all += 2
	}
	r, _ := s.Explain(&musterv1.ExplainRequest{World: "w"})
	require.Equal(t, all, s.PendingOrders())
	require.EqualValues(t, 2*explainLooks, r.OrderCount)
	require.Len(t, r.Orders, explainMost)
	for i, o := range r.Orders {
		require.EqualValues(t, 2*(1e6-explainLooks+1)+i, o.Id, "the oldest of those looked at")
	}
	require.Contains(t, fmt.Sprint(r.Notes), "the world is large")
}

// TestExplainMore: whoever is missing of a large world is named, wherever in it, and never more than are counted.
func TestExplainMore(t *testing.T) {
	const ranks = 3*explainLooks + 10
	spec := &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{ranks}}, ProcsPerHost: 2}
	for _, gone := range [][]uint32{{}, {0}, {ranks - 1}, {5, explainLooks - 1, explainLooks, 3 * explainLooks}} {
		t.Run(fmt.Sprint(gone), func(t *testing.T) {
			s := large(t, spec, ranks, 0)
			w := s.worlds["w"]
			leave := func(rank uint32) {
				slot, _ := w.slot(musterv1.Role_ROLE_WORKER, rank)
				s.dropMember(w, slot)
			}
			for _, rank := range gone {
				leave(rank)
			}
			r, next := s.Explain(&musterv1.ExplainRequest{World: "w"})
			leave(ranks - 2) // behind what was counted
			for parts := 0; next != 0; parts++ {
				require.Less(t, parts, 4)
				next = s.ExplainMore(r, next)
			}
			require.EqualValues(t, len(gone), r.MissingCount)
			named := slices.Collect(id.Ranks(r.Missing))
			require.Subset(t, append(gone, ranks-2), named)
			require.Len(t, named, len(gone))
		})
	}
}

// TestWatch_Parts: whatever a watcher wants, and however far behind it is, answer by answer it is told all of it once, and none of them is
// large.
func TestWatch_Parts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	s := large(t, nil, 1, 0)
	from := s.Number()
	var all []*musterv1.Event
	for i := range 3 * maxScanned {
		e := &musterv1.Event{
			Number: s.draw(), World: fmt.Sprint("w-", rng.IntN(2000)), Kind: musterv1.Event_Kind(rng.IntN(4) + 1), Ranks: make([]byte, rng.IntN(100)),
		}
		if i%100 == 0 {
			e.Ranks = make([]byte, maxWatchedBytes/3)
		}
		if i == 1000 {
			e.Ranks = make([]byte, 2*maxWatchedBytes)
		}
		all = append(all, e)
	}
	s.events.cluster = append(s.events.cluster, all...)
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprint("w-", 2*i))
	}
	for name, q := range map[string]*musterv1.WatchRequest{
		"everything": {},
		"a kind":     {Kinds: []musterv1.Event_Kind{2}},
		"many":       {Worlds: many, Kinds: []musterv1.Event_Kind{1, 3}},
		"one world":  {Worlds: []string{"w-7"}},
		"nobody":     {Worlds: []string{"nobody"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := slices.DeleteFunc(slices.Clone(all), func(e *musterv1.Event) bool {
				return len(q.Worlds) > 0 && !slices.Contains(q.Worlds, e.World) || len(q.Kinds) > 0 && !slices.Contains(q.Kinds, e.Kind)
			})
			var told []*musterv1.Event
			for q.From = from; q.From < s.Number(); {
				r := s.Watch(q)
				require.Greater(t, r.Number, q.From)
				require.LessOrEqual(t, len(r.Events), maxWatched)
				if len(r.Events) > 1 {
					require.Less(t, proto.Size(r), maxWatchedBytes+maxWatched*8)
				}
				told, q.From = append(told, r.Events...), r.Number
			}
			require.Len(t, told, len(want))
			for i, e := range want {
				require.Same(t, e, told[i])
			}
		})
	}
}
