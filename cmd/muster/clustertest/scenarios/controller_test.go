package scenarios

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// A worker never reports. Whoever watches the world hears that its rank has expired, which one and why, as soon as its lease is over, and
// not before; nobody had to ask. It holds of a lease of a minute as of one of a thousand seconds, which the original simulated.
func TestScenario_SupervisionFailure(t *testing.T) {
	for _, expiry := range []time.Duration{6 * time.Second, 100 * time.Second} {
		t.Run(expiry.String(), func(t *testing.T) {
			tenfold(t, expiry, 0, func(t *testing.T, c *clustertest.Cluster) {
				cl := c.Client()
				upsert(t, cl, "worker_world", 1, 1)
				joinMute(t, c, &musterv1.JoinRequest{World: "worker_world"})
				time.Sleep(10*expiry - 2*time.Second)
				events := clustertest.Watch(t, c.Client(), &musterv1.WatchRequest{Worlds: []string{"worker_world"}})
				require.Empty(t, supervision(t, cl, "worker_world").Procs)
				time.Sleep(time.Second)
				require.Nil(t, heard(events, musterv1.Event_KIND_PROC_EXPIRED))
				time.Sleep(3 * time.Second)
				e := heard(events, musterv1.Event_KIND_PROC_EXPIRED)
				require.NotNil(t, e)
				require.Equal(t, musterv1.Role_ROLE_WORKER, e.Role)
				require.Equal(t, []byte{0, 1}, e.Ranks, "rank 0")
				require.Contains(t, e.Text, fmt.Sprintf("rank 0 expired on mute: silent for longer than its lease of %v", 10*expiry))
				require.NotNil(t, heard(events, musterv1.Event_KIND_WORLD_STATUS))
			})
		})
	}
}

// An actor of a worker panics. Its text comes to whoever watches, and stays the first cause of the world's trouble when another fails, too.
func TestScenario_SupervisionFault(t *testing.T) {
	tenfold(t, 6*time.Second, 6*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		upsert(t, cl, "worker_world", 1, 2)
		events := clustertest.Watch(t, c.Client(), &musterv1.WatchRequest{Kinds: []musterv1.Event_Kind{musterv1.Event_KIND_ACTOR_FAILED}})
		first := joinWith(t, c, "first", client.MemberConfig{World: "worker_world", Rank: 0})
		second := joinWith(t, c, "second", client.MemberConfig{World: "worker_world", Rank: 1})
		require.NoError(t, second.ReportFailure("worker[1]", errors.New("panicked: some random failure\nat worker.rs:1")))
		c.Eventually("the failure to be told", func() bool { return heard(events, musterv1.Event_KIND_ACTOR_FAILED) != nil })
		e := heard(events, musterv1.Event_KIND_ACTOR_FAILED)
		require.Equal(t, "worker_world", e.World)
		require.Equal(t, []byte{1, 1}, e.Ranks, "rank 1")
		require.Contains(t, e.Text, "actor worker[1] failed: panicked: some random failure")

		require.NoError(t, first.ReportFailure("worker", errors.New("lost its peer")))
		c.Eventually("both to be unhealthy", func() bool { return len(supervision(t, cl, "worker_world").Procs) == 2 })
		w := clustertest.WorldOf(c, cl, "worker_world")
		require.Equal(t, uint32(1), w.FirstCause.Rank)
		require.Equal(t, "second", w.FirstCause.Machine)
		require.Contains(t, w.FirstCause.Text, "some random failure")
		require.Contains(t, w.Condition.Reason, "some random failure")
	})
}

// A worker is killed. One that reports by itself is missed when its lease is over; one that a host runs is known to be dead at once, with
// the signal that ended it.
func TestScenario_SupervisionHeartbeatFailure(t *testing.T) {
	tenfold(t, 10*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		upsert(t, cl, "mesh", 1, 2)
		joinWith(t, c, "survivor", client.MemberConfig{World: "mesh", Rank: 0})
		joinWith(t, c, "victim", client.MemberConfig{World: "mesh", Rank: 1})
		hosted := joinHost(t, c, "hosted", 0)
		clustertest.CreateGang(t, cl, "hosted", 2, 2, func(u *musterv1.UpsertWorldRequest) {
			u.Spec.OnFailure = musterv1.FailurePolicy_FAILURE_POLICY_KEEP
		})
		c.AwaitStatus(cl, "hosted", musterv1.Status_STATUS_LIVE)

		c.Network.Kill("victim")
		hosted.Run(1).Exited(&musterv1.Exit{Signal: 9, LastLines: "step 17\n"})
		killed := time.Now()
		c.Eventually("the signal to be known", func() bool { return clustertest.HealthOf(c, cl, "hosted", 1) == musterv1.Health_HEALTH_FAILED })
		require.Less(t, time.Since(killed), time.Second)
		w := clustertest.WorldOf(c, cl, "hosted")
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, w.Condition.Status)
		require.Equal(t, uint32(1), w.FirstCause.Rank)
		require.Equal(t, uint32(9), w.FirstCause.Exit.Signal)
		require.Equal(t, "step 17\n", w.FirstCause.Exit.LastLines)

		for len(supervision(t, cl, "mesh").Procs) == 0 { // as the controller asked
			time.Sleep(10 * time.Second)
			require.Less(t, time.Since(killed), 600*time.Second)
		}
		require.Less(t, time.Since(killed), 112*time.Second, "its lease, and a look each ten seconds")
		r := supervision(t, cl, "mesh")
		require.Len(t, r.Procs, 1)
		require.Equal(t, uint32(1), r.Procs[0].Proc.Rank)
		require.Equal(t, "victim", r.Procs[0].Machine)
		require.Equal(t, musterv1.Health_HEALTH_EXPIRED, r.Procs[0].Health)
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, clustertest.HealthOf(c, cl, "mesh", 0))
	})
}

// The machine of a coordinator dies: a follower's, or the leader's. Where the original took every client with it, nothing happens here:
// nobody expires, joins anew or is asked to do anything, the worlds stay Live, and requests are answered.
func TestScenario_SupervisionSystemActorDown(t *testing.T) {
	for _, leads := range []bool{false, true} {
		t.Run(fmt.Sprintf("the leader %t", leads), func(t *testing.T) {
			tenfold(t, 10*time.Second, 10*time.Second, func(t *testing.T, c *clustertest.Cluster) { systemDown(t, c, leads) })
		})
	}
}

func systemDown(t *testing.T, c *clustertest.Cluster, leads bool) {
	cl := c.Client()
	upsert(t, cl, "mesh", 1, 2)
	members := [2]*client.Member{}
	before := [2]uint64{}
	for rank := range members {
		members[rank] = joinWith(t, c, fmt.Sprint("proc", rank), client.MemberConfig{World: "mesh", Rank: uint32(rank)})
		before[rank] = members[rank].Incarnation()
	}
	a := joinHost(t, c, "hosted", 0)
	clustertest.CreateGang(t, cl, "hosted", 2, 2, nil)
	c.AwaitStatus(cl, "hosted", musterv1.Status_STATUS_LIVE)
	events := clustertest.Watch(t, c.Client(), &musterv1.WatchRequest{})

	victim := c.Leader()
	for _, m := range c.Members {
		if !leads && m != c.Leader() {
			victim = m
		}
	}
	c.Kill(victim)
	time.Sleep(120 * time.Second)
	for rank, m := range members {
		require.NoError(t, m.Err())
		require.Equal(t, before[rank], m.Incarnation())
		require.Positive(t, time.Until(m.Lease()))
	}
	spawned, stopped, killed := a.Counts()
	require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
	require.Empty(t, stopped)
	require.Empty(t, killed)
	require.Equal(t, musterv1.Status_STATUS_LIVE, clustertest.StatusOf(c, cl, "mesh"))
	require.Equal(t, musterv1.Status_STATUS_LIVE, clustertest.StatusOf(c, cl, "hosted"))
	told, _ := events.End()
	require.Empty(t, told, "nothing has happened")
	upsert(t, cl, "another", 1, 1)
	c.Start(victim)
	c.RequireConverged()
}

// The controller of a mesh is killed; it is a proc of a world of its own. Whoever watches that world hears that it is gone, by its name,
// and the mesh goes on without it.
func TestScenario_SupervisionControllerActorDown(t *testing.T) {
	tenfold(t, 2*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		upsert(t, cl, "mesh_0", 1, 1)
		upsert(t, cl, "mesh_0_controller", 1, 1)
		worker := joinWith(t, c, "worker", client.MemberConfig{World: "mesh_0"})
		controller := joinWith(t, c, "controller", client.MemberConfig{
			World: "mesh_0_controller", Labels: map[string]string{"role": "controller", "workers": "mesh_0"},
		})
		events := clustertest.Watch(t, c.Client(), &musterv1.WatchRequest{Worlds: []string{"mesh_0_controller"}})
		c.Network.Kill("controller")
		c.InTheEnd(time.Second, "the controller to be missed", func() bool { return heard(events, musterv1.Event_KIND_PROC_EXPIRED) != nil })
		e := heard(events, musterv1.Event_KIND_PROC_EXPIRED)
		require.Equal(t, "mesh_0_controller", e.World)
		require.Contains(t, e.Text, "rank 0 expired on controller")
		r := supervision(t, cl, "mesh_0_controller")
		require.Len(t, r.Procs, 1)
		require.Equal(t, controller.Proc().String(), r.Procs[0].Proc.String())
		require.Equal(t, "role", r.Procs[0].Labels[0].Key)
		require.NoError(t, worker.Err())
		require.Equal(t, musterv1.Status_STATUS_LIVE, clustertest.StatusOf(c, cl, "mesh_0"))
	})
}
