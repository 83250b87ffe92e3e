package fsm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// populated has worlds a and b of n members each, every tenth labelled zone=x, all with a label of some length.
func populated(t *testing.T, n uint32, labelBytes int) *fsmtest.Machine {
	m := fsmtest.NewMachine()
	m.Start(nil)
	for _, world := range []string{"b", "a"} {
		for rank := range n {
			labels := []*musterv1.Label{{Key: "long", Value: strings.Repeat("v", labelBytes)}}
			if rank%10 == 9 {
				labels = append(labels, &musterv1.Label{Key: "zone", Value: "x"})
			}
			out := m.Apply(&musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
				World: world, Role: musterv1.Role_ROLE_WORKER, Rank: rank, Key: "k", Nonce: []byte(fmt.Sprintf("%8s%8d", world, rank)),
				Issued: m.State.Number(), Labels: labels,
			}}})
			require.NotNil(t, out[0].GetJoin())
		}
	}
	return m
}

// pages reads a view to its end, and returns how many pages it took and what they held, in order.
func pages(t *testing.T, m *fsmtest.Machine, q *musterv1.ViewRequest) (n int, seen []string) {
	t.Helper()
	for {
		v, err := m.State.View(q)
		require.NoError(t, err)
		require.Less(t, proto.Size(v), 4<<20, "a page must fit in a message")
		n++
		for _, w := range v.Worlds {
			seen = append(seen, w.World)
			for _, p := range w.Procs {
				seen = append(seen, fmt.Sprint(p.Proc.World, p.Proc.Rank))
			}
		}
		if q.PageToken = v.NextPageToken; q.PageToken == "" {
			return n, seen
		}
		require.Less(t, n, 1000, "no end")
	}
}

// TestView_Pages: pages of any size hold every member once and in order, and a world again where its members go on.
func TestView_Pages(t *testing.T) {
	m := populated(t, 25, 1)
	for _, size := range []uint32{1, 2, 3, 7, 26, 1000} {
		_, seen := pages(t, m, &musterv1.ViewRequest{PageSize: size})
		var procs []string
		for _, s := range seen {
			if len(s) > 1 {
				procs = append(procs, s)
			}
		}
		require.Len(t, procs, 50, "size %d", size)
		require.Equal(t, "a0", procs[0])
		require.Equal(t, "b24", procs[49])
	}
}

// TestView_FarRanks: ranks that are far from the others are shown in order, too, and once, also when some of them are gone.
func TestView_FarRanks(t *testing.T) {
	m := populated(t, 3, 1)
	for _, rank := range []uint32{900_000, 5000, 70_000, 4999} {
		out := m.Apply(&musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
			World: "a", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Key: "k", Nonce: []byte(fmt.Sprintf("%16d", rank)), Issued: m.State.Number(),
		}}})
		require.NotNil(t, out[0].GetJoin())
		if rank == 70_000 {
			m.Apply(&musterv1.Command{Body: &musterv1.Command_Leave{Leave: &musterv1.LeaveRequest{Proc: out[0].GetJoin().Proc, Issued: m.State.Number()}}})
		}
	}
	for _, size := range []uint32{1, 2, 5, 1000} {
		_, seen := pages(t, m, &musterv1.ViewRequest{PageSize: size, Worlds: []string{"a"}})
		seen = slices.DeleteFunc(seen, func(s string) bool { return s == "a" })
		require.Equal(t, []string{"a0", "a1", "a2", "a4999", "a5000", "a900000"}, seen, "size %d", size)
	}
}

// TestView_Filters: worlds, labels of members, and worlds without a match.
func TestView_Filters(t *testing.T) {
	m := populated(t, 25, 1)
	zone := []*musterv1.Label{{Key: "zone", Value: "x"}}
	_, seen := pages(t, m, &musterv1.ViewRequest{ProcLabels: zone})
	require.Equal(t, []string{"a", "a9", "a19", "b", "b9", "b19"}, seen)
	_, seen = pages(t, m, &musterv1.ViewRequest{ProcLabels: zone, Worlds: []string{"b", "nobody"}, PageSize: 2})
	require.Equal(t, []string{"b", "b9", "b19"}, seen, "not shown again where nothing follows")
	_, seen = pages(t, m, &musterv1.ViewRequest{ProcLabels: []*musterv1.Label{{Key: "zone", Value: "y"}}, OmitEmpty: true})
	require.Empty(t, seen)
	_, seen = pages(t, m, &musterv1.ViewRequest{OmitProcs: true})
	require.Equal(t, []string{"a", "b"}, seen)
	_, seen = pages(t, m, &musterv1.ViewRequest{OmitProcs: true, OmitEmpty: true, ProcLabels: zone})
	require.Equal(t, []string{"a", "b"}, seen)
	_, err := m.State.View(&musterv1.ViewRequest{PageToken: "made up"})
	require.ErrorContains(t, err, "page_token")
}

// TestView_SpareHosts: a host whose rank is beyond the shape is a member as others are.
func TestView_SpareHosts(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Start(nil)
	for _, key := range []string{"a", "b", "c"} {
		m.Apply(&musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
			World: "w", Role: musterv1.Role_ROLE_HOST, AssignRank: true, Key: key, Nonce: []byte(key), Issued: m.State.Number(),
		}}})
	}
	m.Apply(&musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldRequest{
		Meta: &musterv1.RequestMeta{Id: make([]byte, 16)},
		Spec: &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{1}}, ProcsPerHost: 1},
	}}})
	_, seen := pages(t, m, &musterv1.ViewRequest{})
	require.Equal(t, []string{"w", "w0", "w0", "w1", "w2"}, seen)
	require.Len(t, m.State.Supervision("w", true).Answer().Procs, 3)
}

// TestView_LargeMembers: a page is bounded in bytes, too.
func TestView_LargeMembers(t *testing.T) {
	m := populated(t, 1000, 4000)
	n, seen := pages(t, m, &musterv1.ViewRequest{PageSize: 10000})
	require.Greater(t, n, 2)
	require.GreaterOrEqual(t, len(seen), 2002)
}

// TestView_WorldLabelsAndEnded: worlds are chosen by all labels asked for; ended ones come behind living ones where they are wanted, also
// across pages.
func TestView_WorldLabelsAndEnded(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Start(nil)
	meta := func() *musterv1.RequestMeta {
		return &musterv1.RequestMeta{Id: []byte(fmt.Sprintf("%16d", m.State.Number())), Issued: m.State.Number()}
	}
	for _, w := range []struct{ name, team, stage string }{{"d", "a", "x"}, {"c", "a", "y"}, {"b", "b", "x"}, {"a", "a", "x"}} {
		m.Apply(&musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldRequest{
			Meta: meta(), Spec: &musterv1.WorldSpec{World: w.name, Shape: &musterv1.Shape{Dims: []uint32{1}}, ProcsPerHost: 1},
			Labels: []*musterv1.Label{{Key: "stage", Value: w.stage}, {Key: "team", Value: w.team}},
		}}})
	}
	m.Apply(&musterv1.Command{Body: &musterv1.Command_Stop{Stop: &musterv1.StopRequest{Meta: meta(), Worlds: []string{"a", "b"}}}})
	label := func(pairs ...string) (out []*musterv1.Label) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, &musterv1.Label{Key: pairs[i], Value: pairs[i+1]})
		}
		return out
	}
	for _, c := range []struct {
		q    *musterv1.ViewRequest
		want []string
	}{
		{&musterv1.ViewRequest{}, []string{"c", "d"}},
		{&musterv1.ViewRequest{IncludeEnded: true}, []string{"c", "d", "a", "b"}},
		{&musterv1.ViewRequest{IncludeEnded: true, WorldLabels: label("team", "a")}, []string{"c", "d", "a"}},
		{&musterv1.ViewRequest{IncludeEnded: true, WorldLabels: label("stage", "x", "team", "a")}, []string{"d", "a"}},
		{&musterv1.ViewRequest{WorldLabels: label("team", "")}, nil},
	} {
		_, seen := pages(t, m, c.q)
		require.Equal(t, c.want, seen)
	}
}
