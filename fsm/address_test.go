package fsm_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

func worker(world string, rank uint32) *musterv1.ProcRef {
	return &musterv1.ProcRef{World: world, Role: musterv1.Role_ROLE_WORKER, Rank: rank}
}

func joinAt(t *testing.T, m *fsmtest.Machine, p *musterv1.ProcRef, mode musterv1.Mode, address string) *musterv1.ProcRef {
	t.Helper()
	out := m.Apply(&musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
		World: p.World, Role: p.Role, Rank: p.Rank, Key: "k", Machine: "m", Mode: mode, Address: address,
		Nonce: []byte(fmt.Sprintf("nonce-%10d", m.State.Number())), Issued: m.State.Number(),
	}}})
	require.NotNil(t, out[0].GetJoin(), "%v", out[0])
	return out[0].GetJoin().Proc
}

// A worker is found at its own address, else at its world's, whatever other bindings there are; a host's is nobody's business.
func TestLocate_OwnThenWorlds(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Start(nil)
	own := joinAt(t, m, worker("w", 0), 0, "tcp:own:1")
	none := joinAt(t, m, worker("w", 2), 0, "")
	require.Equal(t, "", m.State.Locate(none).Address)
	m.Apply(&musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldRequest{
		Meta: &musterv1.RequestMeta{Id: []byte("0123456789abcdef"), Issued: m.State.Number()},
		Spec: &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{4}}, ProcsPerHost: 4, Address: "tcp:gate:1"},
	}}})
	apart := joinAt(t, m, worker("x", 3), musterv1.Mode_MODE_DETACHED, "tcp:apart:1")
	for _, test := range []struct {
		asked, proc *musterv1.ProcRef
		address     string
	}{
		{worker("w", 0), own, "tcp:own:1"},
		{worker("w", 2), none, "tcp:gate:1"},
		{worker("w", 1), worker("w", 1), "tcp:gate:1"},
		{worker("x", 3), apart, "tcp:apart:1"},
		{worker("x", 0), worker("x", 0), ""},
	} {
		at := m.State.Locate(test.asked)
		require.Equal(t, test.proc.String(), at.Proc.String())
		require.Equal(t, test.address, at.Address)
	}
}
