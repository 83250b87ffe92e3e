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

// Two procs of a world; one falls silent, the other reports four times in its lease. After two leases exactly the silent one is unhealthy.
// Then an actor of the other one fails: now both are, and the other is Alive all the same. Who asks for a world that does not exist is
// not told that it is healthy. Status and supervision agree.
func TestScenario_T2_SupervisionState(t *testing.T) {
	tenfold(t, time.Second, time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		require.Equal(t, musterv1.WorldSupervisionResponse_KNOWN_UNKNOWN, supervision(t, cl, "nowhere").Known)
		silent := joinMute(t, c, &musterv1.JoinRequest{World: "world", Rank: 0})
		other := joinMute(t, c, &musterv1.JoinRequest{World: "world", Rank: 1})
		lease := time.Duration(other.Timeouts.LeaseNs)
		require.Equal(t, 10*time.Second, lease)

		r := supervision(t, cl, "world")
		require.Equal(t, musterv1.WorldSupervisionResponse_KNOWN_SUPERVISED, r.Known)
		require.Empty(t, r.Procs, "supervised, and all healthy")

		stream := session(t, c, other.Epoch, other.Proc)
		for seq := uint64(1); seq <= 8; seq++ {
			time.Sleep(lease / 4)
			require.NoError(t, stream.Send(aliveOf(seq, "world", 1)))
		}
		r = supervision(t, cl, "world")
		require.Len(t, r.Procs, 1)
		require.Equal(t, silent.Proc.Incarnation, r.Procs[0].Proc.Incarnation)
		require.Equal(t, musterv1.Health_HEALTH_EXPIRED, r.Procs[0].Health)

		require.NoError(t, stream.Send(failureOf(9, other.Proc, &musterv1.FailedActor{Actor: "trainer", Pid: 1, Cause: "out of memory"})))
		c.Eventually("both to be unhealthy", func() bool { return len(supervision(t, cl, "world").Procs) == 2 })
		r = supervision(t, cl, "world")
		require.Equal(t, []uint32{0, 1}, []uint32{r.Procs[0].Proc.Rank, r.Procs[1].Proc.Rank})
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, r.Procs[1].Health)
		require.Len(t, r.Procs[1].FailedActors, 1)
		require.Equal(t, "trainer", r.Procs[1].FailedActors[0].Actor)
		require.Equal(t, "out of memory", r.Procs[1].FailedActors[0].Cause)
		for _, p := range r.Procs {
			require.Equal(t, p.Health, clustertest.HealthOf(c, cl, "world", p.Proc.Rank), "the view says the same")
		}
	})
}

// A world of one proc is Live as soon as that has joined; a detached client is in no world. The proc is silent: it expires, and the world
// is unhealthy and stays, for its eviction is switched off. A stop then has nobody left who could answer, and takes the world away at
// once, for good.
func TestScenario_T4_WorldEviction(t *testing.T) {
	tenfold(t, 2*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		joinWith(t, c, "watcher", client.MemberConfig{World: "client", Mode: musterv1.Mode_MODE_DETACHED})
		upsert(t, cl, "unreachable", 1, 1)
		proc := joinMute(t, c, &musterv1.JoinRequest{World: "unreachable", Address: "tcp:10.0.0.1:1"})
		w := onlyWorld(t, cl)
		require.Equal(t, "unreachable", w.World)
		require.Equal(t, musterv1.Status_STATUS_LIVE, w.Condition.Status)

		time.Sleep(40 * time.Second)
		r := supervision(t, cl, "unreachable")
		require.Len(t, r.Procs, 1)
		require.Equal(t, proc.Proc.Incarnation, r.Procs[0].Proc.Incarnation)
		require.Equal(t, musterv1.Health_HEALTH_EXPIRED, r.Procs[0].Health)
		w = onlyWorld(t, cl)
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, w.Condition.Status)
		time.Sleep(20 * time.Second)
		require.Equal(t, w.Condition.SinceNs, onlyWorld(t, cl).Condition.SinceNs, "nothing evicts it")

		stopped, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{
			Worlds: []string{"unreachable"}, ProcTimeoutNs: int64(20 * time.Second),
		})
		require.NoError(t, err)
		require.Equal(t, musterv1.WorldStop_RESULT_ENDED, stopped.Worlds[0].Result)
		require.Empty(t, living(t, cl, &musterv1.ViewRequest{}))
		time.Sleep(200 * time.Second)
		require.Empty(t, living(t, cl, &musterv1.ViewRequest{}))
		require.Equal(t, musterv1.Status_STATUS_STOPPED, clustertest.WorldOf(c, cl, "unreachable").Condition.Status)
		require.Equal(t, musterv1.WorldSupervisionResponse_KNOWN_ENDED, supervision(t, cl, "unreachable").Known)
	})
}

// The same, but the proc manages the system: its death ends everything, once and by itself; the stop of its world that somebody asks for
// meanwhile finds it ended.
func TestScenario_T5_ProcManagingSystem(t *testing.T) {
	tenfold(t, 2*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		watcher := joinWith(t, c, "watcher", client.MemberConfig{World: "client", Mode: musterv1.Mode_MODE_DETACHED})
		events := clustertest.Watch(t, c.Client(), &musterv1.WatchRequest{Kinds: []musterv1.Event_Kind{musterv1.Event_KIND_PHASE, musterv1.Event_KIND_STOP_BEGUN}})
		upsert(t, cl, "unreachable", 1, 1)
		joinMute(t, c, &musterv1.JoinRequest{World: "unreachable", Mode: musterv1.Mode_MODE_MANAGING_SYSTEM})
		require.Equal(t, musterv1.Phase_PHASE_RUNNING, phase(t, c, cl))
		require.Equal(t, "unreachable", onlyWorld(t, cl).World)

		time.Sleep(40 * time.Second)
		stopped, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Worlds: []string{"unreachable"}})
		require.NoError(t, err)
		require.Equal(t, musterv1.WorldStop_RESULT_ALREADY_ENDED, stopped.Worlds[0].Result)
		time.Sleep(200 * time.Second)
		require.Equal(t, musterv1.Phase_PHASE_STOPPED, phase(t, c, cl))
		require.Empty(t, living(t, cl, &musterv1.ViewRequest{}))
		<-watcher.Done() // the client was told, too
		var reason *client.Stopped
		require.ErrorAs(t, watcher.Err(), &reason)
		require.Contains(t, reason.Reason, "unreachable[0], which manages the system, has expired")

		told, _ := events.End()
		var kinds []musterv1.Event_Kind
		for _, e := range told {
			kinds = append(kinds, e.Kind)
		}
		require.ElementsMatch(t, []musterv1.Event_Kind{
			musterv1.Event_KIND_PHASE, musterv1.Event_KIND_STOP_BEGUN, musterv1.Event_KIND_PHASE,
		}, kinds, "one stop, and no second one")
	})
}

// A client attaches and makes no world by that. A created world without procs is not Live; with both of its procs it is. Then one of them
// cannot be reached any more, though it runs: the world stays Live until the lease is over, and is unhealthy then, with the proc's name.
// The ball that the other has posted to it comes back to the one who posted it, whom that does not harm. Nobody brings the lost one back:
// as long as that again, and the world is evicted.
func TestScenario_T9_UndeliverableMessageReturn(t *testing.T) {
	tenfold(t, 2*time.Second, 2*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		joinWith(t, c, "watcher", client.MemberConfig{World: "client", Mode: musterv1.Mode_MODE_DETACHED})
		require.Empty(t, living(t, cl, &musterv1.ViewRequest{}))
		upsert(t, cl, "world", 1, 2)
		w := onlyWorld(t, cl)
		require.Equal(t, "world", w.World)
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, w.Condition.Status)
		near := joinWith(t, c, "near", client.MemberConfig{World: "world", Rank: 0})
		far := joinWith(t, c, "far", client.MemberConfig{
			World: "world", Rank: 1, Address: "tcp:far:1",
			Actors: map[string]client.MessageHandler{"pong": func(context.Context, client.Message) { t.Error("the ball has arrived") }},
		})
		require.Equal(t, musterv1.Status_STATUS_LIVE, onlyWorld(t, cl).Condition.Status)

		time.Sleep(10 * time.Second)
		c.Network.Isolate("far")
		cut := time.Now()
		require.Equal(t, musterv1.Status_STATUS_LIVE, onlyWorld(t, cl).Condition.Status, "nobody can know yet")
		ball := near.Post(client.Post{From: "ping", To: "world[1].pong", Payload: []byte{1}})
		becomes(c, cl, "world", musterv1.Status_STATUS_UNHEALTHY)
		require.Less(t, time.Since(cut), 21*time.Second)
		r := supervision(t, cl, "world")
		require.Len(t, r.Procs, 1)
		require.Equal(t, far.Incarnation(), r.Procs[0].Proc.Incarnation)
		require.Equal(t, musterv1.Health_HEALTH_EXPIRED, r.Procs[0].Health)
		require.Equal(t, "tcp:far:1", r.Procs[0].Address)
		<-ball.Done()
		var back *client.Undeliverable
		require.ErrorAs(t, ball.Err(), &back)
		require.Equal(t, "world[1].pong[0]", back.To)
		require.Less(t, time.Since(cut), 21*time.Second)
		require.NoError(t, near.Err())
		require.NoError(t, far.Err(), "it goes on all the while")

		becomes(c, cl, "world", musterv1.Status_STATUS_FAILED)
		require.Less(t, time.Since(cut), 42*time.Second)
		require.Contains(t, clustertest.WorldOf(c, cl, "world").Condition.Reason, "evicted: unhealthy for 20s: rank 1 expired on far")
		<-near.Done()
		c.Heal()
		<-far.Done()
		var ended *client.Ended
		require.ErrorAs(t, far.Err(), &ended)
		require.Equal(t, musterv1.Verdict_KIND_ENDED, ended.Kind)
		require.Equal(t, musterv1.Status_STATUS_FAILED, ended.Status)
	})
}
