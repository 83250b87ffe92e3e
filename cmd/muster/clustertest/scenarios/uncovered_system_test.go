package scenarios

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	"muster/cmd/muster/node"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// A world whose proc is silent is evicted without anybody's asking, when it has been unhealthy for the eviction timeout and not before,
// once, and says why. What of it can be heard is told to end.
func TestScenario_Uncovered_EvictionWithoutStop(t *testing.T) {
	tenfold(t, time.Second, time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		upsert(t, cl, "world", 1, 2)
		events := clustertest.Watch(t, c.Client(), &musterv1.WatchRequest{})
		healthy := joinWith(t, c, "healthy", client.MemberConfig{World: "world", Rank: 0})
		joinMute(t, c, &musterv1.JoinRequest{World: "world", Rank: 1})
		time.Sleep(19 * time.Second) // a lease, and not quite the eviction timeout
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, clustertest.StatusOf(c, cl, "world"))
		require.NoError(t, healthy.Err())
		time.Sleep(3 * time.Second)
		w := clustertest.WorldOf(c, cl, "world")
		require.Equal(t, musterv1.Status_STATUS_FAILED, w.Condition.Status)
		require.Equal(t, "evicted: unhealthy for 10s: rank 1 expired on mute: silent for longer than its lease of 10s", w.Condition.Reason)
		require.Equal(t, uint32(1), w.FirstCause.Rank)
		<-healthy.Done()
		var stopped *client.Stopped
		require.ErrorAs(t, healthy.Err(), &stopped)
		require.Contains(t, stopped.Reason, "evicted")
		require.Empty(t, living(t, cl, &musterv1.ViewRequest{}))

		time.Sleep(20 * time.Second)
		told, _ := events.End()
		begun := 0
		for _, e := range told {
			if e.Kind == musterv1.Event_KIND_STOP_BEGUN {
				begun++
			}
		}
		require.Equal(t, 1, begun)
	})
}

// After an eviction nothing goes round in circles, as the original did for ever: with one world evicted and another that must not be, the
// log grows by no more than the clock's ten entries a second, the number of the state stands still, and no event is made. (That
// the test ends shows the rest: where somebody spins, virtual time does not move.)
func TestScenario_Uncovered_QuietAfterEviction(t *testing.T) {
	tenfold(t, time.Second, time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		upsert(t, cl, "evicted", 1, 1)
		joinMute(t, c, &musterv1.JoinRequest{World: "evicted"})
		stays := specOf("stays", 1, 1)
		stays.Spec.Timeouts = &musterv1.Timeouts{EvictionNs: -1}
		_, err := cl.Cluster().UpsertWorld(soon(t), stays)
		require.NoError(t, err)
		joinMute(t, c, &musterv1.JoinRequest{World: "stays"})
		time.Sleep(25 * time.Second)
		require.Equal(t, musterv1.Status_STATUS_FAILED, clustertest.StatusOf(c, cl, "evicted"))
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, clustertest.StatusOf(c, cl, "stays"))
		look := func() (index, number uint64, events int) {
			c.Leader().Node.Read(func(s node.StateAt) {
				index, number, events = s.Index, s.State.Number(), len(s.State.Events(0, 0))
			})
			return index, number, events
		}
		index, number, events := look()
		time.Sleep(60 * time.Second)
		indexThen, numberThen, eventsThen := look()
		require.LessOrEqual(t, indexThen-index, uint64(61*10))
		require.Equal(t, number, numberThen)
		require.Equal(t, events, eventsThen)
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, clustertest.StatusOf(c, cl, "stays"))
	})
}

// A proc whose world was evicted while nobody could hear it reports again. It is told that its world has ended and how, and ends itself,
// instead of living on as a ghost; the world does not come back by that, nor is a new one of that name touched.
func TestScenario_Uncovered_HeartbeatAfterEviction(t *testing.T) {
	for _, created := range []bool{false, true} {
		t.Run(fmt.Sprintf("created again %t", created), func(t *testing.T) {
			tenfold(t, time.Second, time.Second, func(t *testing.T, c *clustertest.Cluster) { heartbeatAfterEviction(t, c, created) })
		})
	}
}

func heartbeatAfterEviction(t *testing.T, c *clustertest.Cluster, created bool) {
	cl := c.Client()
	upsert(t, cl, "world", 1, 1)
	ghost := joinWith(t, c, "ghost", client.MemberConfig{World: "world"})
	c.Network.Isolate("ghost")
	becomes(c, cl, "world", musterv1.Status_STATUS_FAILED)
	if created {
		again := specOf("world", 1, 1)
		again.ReplaceEnded = true
		_, err := cl.Cluster().UpsertWorld(soon(t), again)
		require.NoError(t, err)
	}
	time.Sleep(5 * time.Second)
	require.NoError(t, ghost.Err())
	c.Heal()
	<-ghost.Done()
	var ended *client.Ended
	require.ErrorAs(t, ghost.Err(), &ended)
	require.Equal(t, musterv1.Verdict_KIND_ENDED, ended.Kind)
	require.Equal(t, musterv1.Status_STATUS_FAILED, ended.Status)
	worlds := living(t, cl, &musterv1.ViewRequest{})
	if !created {
		require.Empty(t, worlds)
		return
	}
	require.Len(t, worlds, 1)
	require.Empty(t, worlds[0].Procs)
	require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, worlds[0].Condition.Status)
}

// The system is started again: a follower, the leader, all three nodes at once. It knows everything it knew; who reports goes on under the
// incarnation that it has, who was silent before expires after it, and an ended world stays what it was.
func TestScenario_Uncovered_SystemRestart(t *testing.T) {
	for _, which := range []string{"a follower", "the leader", "all nodes"} {
		t.Run(which, func(t *testing.T) {
			tenfold(t, 2*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) { restartSystem(t, c, which) })
		})
	}
}

func restartSystem(t *testing.T, c *clustertest.Cluster, which string) {
	cl := c.Client()
	upsert(t, cl, "ended", 1, 1)
	clustertest.StopWorld(t, cl, "ended")
	upsert(t, cl, "world", 1, 2)
	m := joinWith(t, c, "proc", client.MemberConfig{World: "world", Rank: 0, Address: "tcp:proc:1"})
	silent := joinMute(t, c, &musterv1.JoinRequest{World: "world", Rank: 1})
	a := joinHost(t, c, "hosted", 0)
	upsert(t, cl, "hosted", 2, 2)
	c.AwaitStatus(cl, "hosted", musterv1.Status_STATUS_LIVE)
	time.Sleep(3 * time.Second)
	before, incarnation := c.View(cl), m.Incarnation()

	leader := c.Leader()
	var down []*clustertest.Member
	for _, one := range c.Members {
		if which == "all nodes" || (one == leader) == (which == "the leader") && len(down) == 0 {
			down = append(down, one)
		}
	}
	for _, one := range down {
		c.Kill(one)
	}
	time.Sleep(7 * time.Second)
	for _, one := range down {
		c.Start(one)
	}
	c.Leader()
	after := c.View(cl)
	require.Equal(t, before.ExecutionId, after.ExecutionId)
	require.Equal(t, worldNames(before.Worlds), worldNames(after.Worlds))
	require.GreaterOrEqual(t, after.Number, before.Number)
	for i, w := range after.Worlds {
		require.Equal(t, before.Worlds[i].Generation, w.Generation)
		require.Equal(t, before.Worlds[i].Condition.Status, w.Condition.Status, w.World)
		require.Equal(t, len(before.Worlds[i].Procs), len(w.Procs))
	}
	c.InTheEnd(250*time.Millisecond, "the silent one to expire", func() bool { return clustertest.HealthOf(c, cl, "world", 1) == musterv1.Health_HEALTH_EXPIRED })
	require.Equal(t, silent.Proc.Incarnation, clustertest.ProcOf(c, cl, "world", musterv1.Role_ROLE_WORKER, 1).Proc.Incarnation)
	time.Sleep(30 * time.Second)
	require.NoError(t, m.Err())
	require.Equal(t, incarnation, m.Incarnation())
	require.Equal(t, musterv1.Health_HEALTH_ALIVE, clustertest.HealthOf(c, cl, "world", 0))
	require.Equal(t, musterv1.Status_STATUS_LIVE, clustertest.StatusOf(c, cl, "hosted"))
	spawned, stopped, killed := a.Counts()
	require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
	require.Empty(t, stopped)
	require.Empty(t, killed)
	c.RequireConverged()
}
