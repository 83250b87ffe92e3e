package fsm_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// TestPlacement: which ranks a host has follows from its rank and the world's shape alone, whatever the order of joins.
func TestPlacement(t *testing.T) {
	for _, c := range []struct {
		procs, perHost uint32
		hosts          int
		want           [][2]uint32 // [from, to) by host rank
	}{
		{31, 8, 4, [][2]uint32{{0, 8}, {8, 16}, {16, 24}, {24, 31}}},
		{12, 8, 2, [][2]uint32{{0, 8}, {8, 12}}},
		{6, 3, 2, [][2]uint32{{0, 3}, {3, 6}}},
		{4, 8, 1, [][2]uint32{{0, 4}}},
		{1, 1, 3, [][2]uint32{{0, 1}, {}, {}}},
		{6, 3, 5, [][2]uint32{{0, 3}, {3, 6}, {}, {}, {}}},
	} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%d procs, %d a host, order %d", c.procs, c.perHost, seed), func(t *testing.T) {
				order := rand.New(rand.NewPCG(seed, 0)).Perm(c.hosts + 1) // the last is the creation itself
				m := fsmtest.NewMachine()
				m.Start(nil)
				hosts := map[uint32]*musterv1.ProcRef{}
				for _, what := range order {
					if what == c.hosts {
						createGang(t, m, c.procs, c.perHost)
						continue
					}
					j := joinAsHost(t, m, fmt.Sprint("agent-", what), uint32(what), false)
					hosts[uint32(what)] = j.Proc
				}
				for rank, want := range c.want {
					orders := m.State.Orders(hosts[uint32(rank)])
					require.Len(t, orders, int(want[1]-want[0]), "host rank %d", rank)
					for i, o := range orders {
						s := o.GetSpawn()
						require.Equal(t, want[0]+uint32(i), s.Proc.Rank)
						require.Equal(t, uint32(i), s.LocalRank)
						require.Equal(t, want[1]-want[0], s.LocalWorldSize)
						require.Equal(t, c.procs, s.WorldSize)
						require.Equal(t, uint32(rank), s.HostRank)
					}
				}
			})
		}
	}
}

// TestPlacement_NoProcsPerHost: nothing can be placed with none.
func TestPlacement_NoProcsPerHost(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Start(nil)
	joinAsHost(t, m, "a", 0, false)
	createGang(t, m, 4, 0)
	require.Zero(t, m.State.PendingOrders())
}

// TestPlacement_TooManyForAHost: what one join costs is bounded.
func TestPlacement_TooManyForAHost(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Start(nil)
	out := m.Apply(upsertGang(1<<20, 1<<20))[0]
	require.Equal(t, musterv1.Reason_REASON_INVALID, out.GetRefusal().GetReason())
	require.Equal(t, "spec.procs_per_host", out.GetRefusal().GetField())
}

// TestHosts_OldRules: a cluster with a node of older rules refuses what that node does not know.
func TestHosts_OldRules(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Term = 1
	m.Append(&musterv1.Entry{Format: fsm.EntryFormat, Commands: []*musterv1.Command{{Body: &musterv1.Command_TermStart{TermStart: &musterv1.TermStart{
		UnixMicros: fsmtest.SeedMicros, ClusterId: "c", ExecutionId: "x",
	}}}}})
	for _, c := range []*musterv1.Command{hostJoin("a", 0, true), upsertGang(1, 1)} {
		require.Equal(t, musterv1.Reason_REASON_UNSUPPORTED, m.Apply(c)[0].GetRefusal().GetReason())
	}
}

func hostJoin(key string, rank uint32, assign bool) *musterv1.Command {
	return &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
		World: "w", Role: musterv1.Role_ROLE_HOST, Rank: rank, AssignRank: assign, Key: key, Machine: key,
		Nonce: []byte(fmt.Sprintf("nonce-of-%-7s", key)), Issued: 1 << 60,
	}}}
}

func joinAsHost(t *testing.T, m *fsmtest.Machine, key string, rank uint32, assign bool) *musterv1.JoinResponse {
	t.Helper()
	out := m.Apply(hostJoin(key, rank, assign))[0]
	require.NotNil(t, out.GetJoin(), "%v", out)
	require.NoError(t, m.State.Check())
	return out.GetJoin()
}

func upsertGang(procs, perHost uint32) *musterv1.Command {
	return &musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldRequest{
		Meta: &musterv1.RequestMeta{Id: []byte("0123456789abcdef"), Issued: 1 << 60},
		Spec: &musterv1.WorldSpec{
			World: "w", Shape: &musterv1.Shape{Dims: []uint32{procs}}, ProcsPerHost: perHost,
			Exec: &musterv1.Exec{Program: "train", MasterPort: 7000},
		},
	}}}
}

func createGang(t *testing.T, m *fsmtest.Machine, procs, perHost uint32) {
	t.Helper()
	out := m.Apply(upsertGang(procs, perHost))[0]
	require.NotNil(t, out.GetUpsertWorld(), "%v", out)
	require.NoError(t, m.State.Check())
}
