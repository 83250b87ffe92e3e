package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// A client is all there is. A stop of everything tells it and is over at once, without waiting for any time limit; where nobody at all is
// there, the answer to the request itself finds the system stopped.
func TestScenario_T10_StopFast(t *testing.T) {
	for _, attached := range []bool{true, false} {
		t.Run(fmt.Sprintf("client attached %t", attached), func(t *testing.T) {
			tenfold(t, 2*time.Second, 2*time.Second, func(t *testing.T, c *clustertest.Cluster) { stopFast(t, c, attached) })
		})
	}
}

func stopFast(t *testing.T, c *clustertest.Cluster, attached bool) {
	cl := c.Client()
	var watcher *client.Member
	if attached {
		watcher = joinWith(t, c, "watcher", client.MemberConfig{World: "client", Mode: musterv1.Mode_MODE_DETACHED})
	}
	c.Leader()
	asked := time.Now()
	_, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Everything: true, ProcTimeoutNs: int64(50 * time.Second)})
	require.NoError(t, err)
	if attached {
		<-watcher.Done()
		require.ErrorAs(t, watcher.Err(), new(*client.Stopped))
		c.Eventually("the end", func() bool { return phase(t, c, cl) == musterv1.Phase_PHASE_STOPPED })
	}
	require.Equal(t, musterv1.Phase_PHASE_STOPPED, phase(t, c, cl))
	require.Less(t, time.Since(asked), time.Second)
}

// Sixteen ranks on two hosts, and a world of two procs that have joined by themselves. A stop of everything ends each rank through its
// host, then the hosts, the two procs and at last the system, as soon as the last of them has answered.
func TestScenario_SystemShutdown(t *testing.T) {
	tenfold(t, 10*time.Second, 10*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		agents := [2]*clustertest.Agent{joinHost(t, c, "worker_world", 0), joinHost(t, c, "worker_world", 1)}
		upsert(t, cl, "worker_world", 8, 2, 2, 4)
		upsert(t, cl, "foo_world", 1, 2)
		foo := [2]*client.Member{}
		for rank := range foo {
			foo[rank] = joinWith(t, c, fmt.Sprint("foo", rank), client.MemberConfig{World: "foo_world", Rank: uint32(rank)})
		}
		c.AwaitStatus(cl, "worker_world", musterv1.Status_STATUS_LIVE)
		c.AwaitStatus(cl, "foo_world", musterv1.Status_STATUS_LIVE)

		asked := time.Now()
		r, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Everything: true, ProcTimeoutNs: int64(50 * time.Second)})
		require.NoError(t, err)
		op, err := cl.Cluster().WaitStop(soon(t), r.Operation)
		require.NoError(t, err)
		require.Len(t, op.Targets, 16+2+2)
		for _, target := range op.Targets {
			require.True(t, target.Done)
			require.Contains(t, target.Outcome, "stopped", "%v", target.Proc)
		}
		require.Equal(t, musterv1.Phase_PHASE_STOPPED, phase(t, c, cl))
		require.Less(t, time.Since(asked), 10*time.Second, "nobody waited for the time limit")
		for host, a := range agents {
			<-a.Member.Done()
			spawned, stopped, killed := a.Counts()
			require.Len(t, stopped, 8)
			require.Equal(t, spawned, stopped)
			require.Equal(t, 1, stopped[8*uint32(host)])
			require.Empty(t, killed)
			require.Equal(t, 1, a.Stops())
		}
		for _, m := range foo {
			<-m.Done()
			require.ErrorAs(t, m.Err(), new(*client.Stopped))
		}
		require.Empty(t, living(t, cl, &musterv1.ViewRequest{}))
	})
}

// A stop of one world ends that one: its two procs are told and it is gone, while the other world, its host and its ranks go on and are
// Live, and the system runs. There is no third world by the hosts' doing.
func TestScenario_SingleWorldShutdown(t *testing.T) {
	tenfold(t, 10*time.Second, 10*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		a := joinHost(t, c, "worker_world", 0)
		upsert(t, cl, "worker_world", 8, 4)
		upsert(t, cl, "foo_world", 1, 2)
		foo := [2]*client.Member{}
		for rank := range foo {
			foo[rank] = joinWith(t, c, fmt.Sprint("foo", rank), client.MemberConfig{World: "foo_world", Rank: uint32(rank)})
		}
		c.AwaitStatus(cl, "worker_world", musterv1.Status_STATUS_LIVE)
		asked := time.Now()
		r, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Worlds: []string{"foo_world"}})
		require.NoError(t, err)
		_, err = cl.Cluster().WaitStop(soon(t), r.Operation)
		require.NoError(t, err)
		for _, m := range foo {
			<-m.Done()
		}
		require.Less(t, time.Since(asked), 50*time.Second)

		time.Sleep(50 * time.Second)
		w := onlyWorld(t, cl)
		require.Equal(t, "worker_world", w.World)
		require.Equal(t, musterv1.Status_STATUS_LIVE, w.Condition.Status)
		require.Equal(t, []uint32{0, 1, 2, 3}, workers(w))
		require.Equal(t, []uint32{0}, hosts(w))
		require.NoError(t, a.Member.Err())
		_, stopped, killed := a.Counts()
		require.Empty(t, stopped)
		require.Empty(t, killed)
		require.Equal(t, musterv1.Phase_PHASE_RUNNING, phase(t, c, cl))
	})
}

// A proc with four actors that do what they are told is stopped: whoever asked reads that five ended by themselves, with the one that the
// proc has of its own, and one had to be aborted, the one that did all this.
func TestScenario_Stop(t *testing.T) {
	tenfold(t, 10*time.Second, 10*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		requireStopOf(t, c, answer(5, 1), 10*time.Second, time.Second, 5, 1)
	})
}

// Three of the four actors are busy for longer than the proc is given: it hears when its time is over, aborts them and says so, and the
// world ends then.
func TestScenario_StopTimeout(t *testing.T) {
	tenfold(t, 10*time.Second, 10*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		busy := func(ctx context.Context, order *musterv1.StopOrder) client.StopOutcome {
			select {
			case <-time.After(50 * time.Second):
				return client.StopOutcome{ActorsStopped: 6}
			case <-ctx.Done():
				return client.StopOutcome{ActorsStopped: 2, ActorsAborted: 4}
			}
		}
		requireStopOf(t, c, busy, 10*time.Second, 12*time.Second, 2, 4)
	})
}

func requireStopOf(t *testing.T, c *clustertest.Cluster, handler client.StopFunc, given, atMost time.Duration, stopped, aborted uint32) {
	t.Helper()
	cl := c.Client()
	upsert(t, cl, "world", 1, 1)
	m := joinWith(t, c, "proc", client.MemberConfig{World: "world", Handler: handler})
	asked := time.Now()
	r, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Worlds: []string{"world"}, ProcTimeoutNs: int64(given)})
	require.NoError(t, err)
	require.Equal(t, musterv1.WorldStop_RESULT_STOPPING, r.Worlds[0].Result)
	op, err := cl.Cluster().WaitStop(soon(t), r.Operation)
	require.NoError(t, err)
	require.Less(t, time.Since(asked), atMost)
	require.Len(t, op.Targets, 1)
	require.Equal(t, "stopped", op.Targets[0].Outcome)
	require.Equal(t, m.Incarnation(), op.Targets[0].Proc.Incarnation)
	require.Equal(t, stopped, op.Targets[0].ActorsStopped)
	require.Equal(t, aborted, op.Targets[0].ActorsAborted)
	require.Equal(t, musterv1.Status_STATUS_STOPPED, clustertest.WorldOf(c, cl, "world").Condition.Status)
	<-m.Done()
}
