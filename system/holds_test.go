package system

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/system/health"
)

// Whoever reads the state holds up what is applied: what could be long is read in parts. parts counts them.
func (f *fakeTerm) parts(read func()) (n int) {
	f.duringRead = func() { n++ }
	defer func() { f.duringRead = nil }()
	read()
	return n
}

// joined has so many members join, in one entry.
func (f *fakeTerm) joined(t *testing.T, n int, mode musterv1.Mode) (refs []*musterv1.ProcRef) {
	var joins []*musterv1.Command
	for rank := range uint32(n) {
		joins = append(joins, &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
			World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Key: "k", Mode: mode,
			Nonce: []byte(fmt.Sprintf("nonce-%010d", rank)), Issued: f.machine.State.Number(),
		}}})
	}
	_, outcomes := f.seal(joins...)
	for _, out := range outcomes {
		require.NotNil(t, out.GetJoin(), "%v", out)
		refs = append(refs, out.GetJoin().Proc)
	}
	return refs
}

// TestGone_SweptInParts: those who hold nothing any more are forgotten, the others stay.
func TestGone_SweptInParts(t *testing.T) {
	f, _, _ := newFake(t, nil)
	l := f.lead()
	refs := f.joined(t, 2*sweepAtOnce+5, musterv1.Mode_MODE_MANAGED_BY_SYSTEM)
	var members []*musterv1.HelloMember
	for _, p := range refs {
		members = append(members, &musterv1.HelloMember{Proc: p})
	}
	l.gone.ended(members)
	const left = 100
	for _, p := range refs[:left] {
		f.seal(&musterv1.Command{Body: &musterv1.Command_Leave{Leave: &musterv1.LeaveRequest{Proc: p, Issued: f.machine.State.Number()}}})
	}
	require.Equal(t, 3, f.parts(func() { l.gone.sweep(f) }))
	for i, p := range refs {
		require.Equal(t, i >= left, l.gone.has(p), "%v", p)
	}
}

// TestDetached_ReadInParts: all of a large address book is read, in order, each once.
func TestDetached_ReadInParts(t *testing.T) {
	f, _, _ := newFake(t, nil)
	l := f.lead()
	for _, n := range []int{0, fsm.MaxDetached, 2*fsm.MaxDetached + 5} {
		want := f.joined(t, n, musterv1.Mode_MODE_DETACHED)
		var got []*musterv1.ProcRef
		parts := f.parts(func() { got = slices.Collect(l.detachedMembers()) })
		require.Equal(t, n/fsm.MaxDetached+1, parts)
		require.Len(t, got, n)
		for i := range want {
			require.True(t, proto.Equal(want[i], got[i]), "%v and %v", want[i], got[i])
		}
		f.again()
		l = f.lead()
	}
}

// TestBuild_InParts: a term knows the lease and the oldest order of every member, however many there are.
func TestBuild_InParts(t *testing.T) {
	f, _, _ := newFake(t, nil)
	f.lead()
	f.joined(t, 2*health.MaxRound+5, musterv1.Mode_MODE_MANAGED_BY_SYSTEM)
	f.seal(&musterv1.Command{Body: &musterv1.Command_Stop{Stop: &musterv1.StopRequest{
		Meta: &musterv1.RequestMeta{Id: make([]byte, 16), Issued: f.machine.State.Number()}, Worlds: []string{"w"},
	}}})
	f.again()
	var l *leadership
	require.Equal(t, 1+3, f.parts(func() { l = f.lead() }))
	require.Equal(t, 2*(2*health.MaxRound+5)+1, l.timers.Len(), "and the stop's own deadline")
}

// TestCollector_PacksInParts: a batch of very many ranks holds the state several times, not once for long, and leaves none of them out.
func TestCollector_PacksInParts(t *testing.T) {
	const n = 2*packAtOnce + 5
	f, _, _ := newFake(t, nil)
	l := f.lead()
	members := f.joined(t, n, musterv1.Mode_MODE_MANAGED_BY_SYSTEM)
	s, _, _ := open(t, f, members...)
	all := make([]uint32, n)
	for i := range all {
		all[i] = uint32(i)
	}
	require.NoError(t, s.Report(alive(1, all...)))
	var b *batch
	require.Equal(t, 3, f.parts(func() { b = l.collector.take(1 << 20) }))
	var packed []uint32
	for _, g := range b.report.Groups {
		packed = append(packed, slices.Collect(id.Ranks(g.Ranks.Runs))...)
	}
	require.Equal(t, all, packed)
}
