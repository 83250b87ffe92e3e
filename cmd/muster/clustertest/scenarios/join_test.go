package scenarios

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// A proc joins a world that nobody has created: it is told who it is, under which incarnation and lease, the world waits for its creation,
// and whoever asks finds the proc's address. A message that a client posts to a port of one of its actors arrives there.
func TestScenario_T1_Join(t *testing.T) {
	tenfold(t, 10*time.Second, 10*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		arrived := make(chan client.Message, 2)
		m := joinWith(t, c, "proc", client.MemberConfig{
			World: "test", Address: "tcp:10.0.0.1:4000",
			Actors: map[string]client.MessageHandler{"proc[0][9999]": func(_ context.Context, m client.Message) { arrived <- m }},
		})
		require.Equal(t, "test", m.Proc().World)
		require.Zero(t, m.Proc().Rank)
		require.NotZero(t, m.Incarnation())
		require.Equal(t, int64(100*time.Second), m.Timeouts().LeaseNs)
		require.Equal(t, int64(20*time.Second), m.Timeouts().ReportIntervalNs)

		w := onlyWorld(t, cl)
		require.Equal(t, "test", w.World)
		require.Equal(t, musterv1.Status_STATUS_AWAITING_CREATION, w.Condition.Status)
		require.Nil(t, w.Spec)
		require.Len(t, w.Procs, 1)
		require.Equal(t, m.Incarnation(), w.Procs[0].Proc.Incarnation)
		require.Equal(t, musterv1.Mode_MODE_MANAGED_BY_SYSTEM, w.Procs[0].Mode)
		address, err := cl.Cluster().Address(soon(t), "test", 0)
		require.NoError(t, err)
		require.Equal(t, "tcp:10.0.0.1:4000", address)

		user := joinWith(t, c, "user", client.MemberConfig{World: "user", Rank: 7, Mode: musterv1.Mode_MODE_DETACHED})
		require.NoError(t, user.Post(client.Post{To: "test[0].proc[0][9999]", Payload: []byte("123")}).Wait(soon(t)))
		message := <-arrived
		require.Equal(t, "123", string(message.Payload))
		require.Equal(t, "user[7]", message.From.String())
		require.Equal(t, user.Incarnation(), message.FromIncarnation)
		require.Equal(t, "test[0].proc[0][9999]", message.To.String())
		require.Empty(t, arrived)
	})
}

// Two silent procs join worlds that nobody has created. Each expires, and the record of the failure says exactly who it was: world, rank,
// incarnation, machine, address, and that no actor failed. The worlds go on waiting for their creation.
func TestScenario_T3_SupervisionTimeout(t *testing.T) {
	tenfold(t, time.Second, time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		joinMute(t, c, &musterv1.JoinRequest{World: "client"})
		w := onlyWorld(t, cl)
		require.Equal(t, "client", w.World)
		require.Equal(t, musterv1.Status_STATUS_AWAITING_CREATION, w.Condition.Status)
		joined := joinMute(t, c, &musterv1.JoinRequest{World: "unreachable_proc", Rank: 1, Address: "tcp:10.0.0.2:7"})
		require.Equal(t, musterv1.WorldSupervisionResponse_KNOWN_UNKNOWN, supervision(t, cl, "unknown_world").Known)

		time.Sleep(20 * time.Second)
		r := supervision(t, cl, "unreachable_proc")
		require.Equal(t, musterv1.WorldSupervisionResponse_KNOWN_SUPERVISED, r.Known)
		require.Len(t, r.Procs, 1)
		p := r.Procs[0]
		require.Equal(t, "unreachable_proc", p.Proc.World)
		require.Equal(t, musterv1.Role_ROLE_WORKER, p.Proc.Role)
		require.Equal(t, uint32(1), p.Proc.Rank)
		require.Equal(t, joined.Proc.Incarnation, p.Proc.Incarnation)
		require.Equal(t, musterv1.Health_HEALTH_EXPIRED, p.Health)
		require.Equal(t, "silent for longer than its lease of 10s", p.Cause)
		require.Equal(t, "tcp:10.0.0.2:7", p.Address)
		require.Equal(t, "mute", p.Machine)
		require.Empty(t, p.FailedActors)
		require.Zero(t, p.FailedActorCount)
		require.Greater(t, p.ReportAgeNs, int64(10*time.Second))
		for _, w := range living(t, cl, &musterv1.ViewRequest{}) {
			require.Equal(t, musterv1.Status_STATUS_AWAITING_CREATION, w.Condition.Status)
		}
	})
}

// Two hosts join a world before somebody creates it with two times three procs, three per host. They are told nothing until then, and
// after it exactly their ranks, each once, as procs within the host, of a world of six.
func TestScenario_T6_HostJoinBeforeWorld(t *testing.T) {
	tenfold(t, 10*time.Second, 10*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		agents := [2]*clustertest.Agent{}
		for rank := range agents {
			agents[rank] = joinHost(t, c, "test", uint32(rank))
		}
		time.Sleep(5 * time.Second)
		for _, a := range agents {
			spawned, _, _ := a.Counts()
			require.Empty(t, spawned)
		}
		require.Equal(t, musterv1.Status_STATUS_AWAITING_CREATION, onlyWorld(t, cl).Condition.Status)
		require.Equal(t, []uint32{0, 1}, hosts(onlyWorld(t, cl)))
		upsert(t, cl, "test", 3, 2, 3)
		requireSixRanks(t, c, cl, agents)
	})
}

// The same the other way round, and the hosts in the other order: nothing of it matters.
func TestScenario_T7_HostJoinAfterWorld(t *testing.T) {
	tenfold(t, 10*time.Second, 10*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		upsert(t, cl, "test", 3, 2, 3)
		agents := [2]*clustertest.Agent{}
		for _, rank := range []uint32{1, 0} {
			agents[rank] = joinHost(t, c, "test", rank)
		}
		requireSixRanks(t, c, cl, agents)
	})
}

// joinHost makes an agent the host of a certain rank.
func joinHost(t *testing.T, c *clustertest.Cluster, world string, rank uint32) *clustertest.Agent {
	t.Helper()
	a := clustertest.NewAgent()
	a.Member = joinWith(t, c, string(rune('a'+rank)), client.MemberConfig{
		World: world, Role: musterv1.Role_ROLE_HOST, Rank: rank, Host: a,
	})
	return a
}

// requireSixRanks holds what the hosts of world test were told, and what is seen of it.
func requireSixRanks(t *testing.T, c *clustertest.Cluster, cl *client.Client, agents [2]*clustertest.Agent) {
	t.Helper()
	c.AwaitStatus(cl, "test", musterv1.Status_STATUS_LIVE)
	w := onlyWorld(t, cl)
	for host, a := range agents {
		spawned, stopped, killed := a.Counts()
		require.Len(t, spawned, 3)
		require.Empty(t, stopped)
		require.Empty(t, killed)
		for local := range uint32(3) {
			rank := 3*uint32(host) + local
			require.Equal(t, 1, spawned[rank], "rank %d", rank)
			run := a.Run(rank)
			o := run.Order
			require.Equal(t, "test", o.Proc.World)
			require.Equal(t, w.Generation, o.Generation)
			require.Nil(t, o.Exec, "local")
			require.Equal(t, uint32(6), o.WorldSize)
			require.Equal(t, local, o.LocalRank)
			require.Equal(t, uint32(3), o.LocalWorldSize)
			require.Equal(t, uint32(host), o.HostRank)
			require.Equal(t, uint32(2), o.Hosts)
			require.Greater(t, run.Number, a.Member.Incarnation(), "first it has joined, then it is told")
			p := w.Procs[rank]
			require.Equal(t, rank, p.Proc.Rank)
			require.Equal(t, o.Proc.Incarnation, p.Proc.Incarnation)
			require.Equal(t, run.Number, p.Assignment.Order)
			require.Equal(t, musterv1.Assignment_STATE_STARTED, p.Assignment.State)
			require.Equal(t, string(rune('a'+host)), p.Machine)
		}
	}
	require.Equal(t, []uint32{0, 1, 2, 3, 4, 5}, workers(w))
	require.Equal(t, []uint32{0, 1}, hosts(w))
}
