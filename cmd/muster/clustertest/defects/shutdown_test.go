package defects

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// D34: who joined, and what was created, while everything was being stopped was accepted, was never told to stop, and was lost with the
// rest. Here it is refused with the reason.
func TestDefect_D34_NobodyJoinsWhatStops(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 2)
		joinAs(t, cl, "w", 0, func(m *client.MemberConfig) { m.Handler = slow(make(chan struct{}, 8), 10*time.Second) })
		refused := func(want musterv1.Reason) {
			t.Helper()
			_, err := cl.Join(soon(t), client.MemberConfig{World: "w", Rank: 1, Key: "key", Machine: "machine"})
			require.Equal(t, want, reasonOf(err))
			_, err = upsert(t, cl, "w", 2, func(*musterv1.UpsertWorldRequest) {})
			require.Equal(t, want, reasonOf(err))
		}
		clustertest.StopWorld(t, cl, "w")
		refused(musterv1.Reason_REASON_WORLD_STOPPING)
		stop(t, cl, 0)
		refused(musterv1.Reason_REASON_SYSTEM_STOPPING)
		time.Sleep(15 * time.Second)
		require.Equal(t, systemStopped, phase(t, c, cl))
	})
}

// D35: once everything had been stopped, each later stop of one world ended the system, and nothing could take that back. Here a start
// does, and a stop of a world is one of that world.
func TestDefect_D35_StoppedSystemStartsAgain(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		stop(t, cl, 0)
		require.Equal(t, systemStopped, phase(t, c, cl))
		execution := c.View(cl).ExecutionId
		_, err := cl.Cluster().Start(soon(t), &musterv1.StartRequest{})
		require.NoError(t, err)
		require.NotEqual(t, execution, c.View(cl).ExecutionId)
		clustertest.CreateWorld(t, cl, "w", 1)
		clustertest.CreateWorld(t, cl, "v", 1)
		stop(t, cl, 0, "w")
		time.Sleep(15 * time.Second)
		require.Equal(t, running, phase(t, c, cl))
		require.Equal(t, unhealthy, clustertest.StatusOf(c, cl, "v"))
	})
}

// D36: at the end of everything nobody told detached procs and those that manage the system, and hosts were stopped beside their workers.
// Here all are told, and a host when its workers have ended.
func TestDefect_D36_WorkersThenHosts(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		var mu sync.Mutex
		var steps []string
		note := func(step string) { mu.Lock(); steps = append(steps, step); mu.Unlock() }
		a := clustertest.NewAgent()
		a.At = note
		a.Join(t, c, "w", "a")
		clustertest.CreateGang(t, cl, "w", 2, 2, nil)
		c.AwaitStatus(cl, "w", live)
		told := make(chan struct{}, 8)
		for world, mode := range map[string]musterv1.Mode{"tool": musterv1.Mode_MODE_DETACHED, "boss": musterv1.Mode_MODE_MANAGING_SYSTEM} {
			joinAs(t, cl, world, 0, func(m *client.MemberConfig) { m.Mode, m.Handler = mode, slow(told, time.Second) })
		}
		stop(t, cl, 0)
		c.Eventually("the end of the system", func() bool { return phase(t, c, cl) == systemStopped })
		require.Len(t, told, 2)
		mu.Lock()
		defer mu.Unlock()
		ends := slices.DeleteFunc(steps, func(s string) bool { return s != "stop rank" && s != "exited" && s != "stop host" })
		require.Equal(t, []string{"stop rank", "exited", "stop rank", "exited", "stop host"}, ends)
	})
}

// D37: one proc that could not be told kept the rest from being told, and ended the system. Here the others are told and end, and who
// cannot be told is given up when his time is over.
func TestDefect_D37_OneThatCannotBeTold(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 3)
		far := joinAs(t, c.ClientAt("far"), "w", 0, asIs)
		near := []*client.Member{clustertest.Join(t, cl, "w", 1), clustertest.Join(t, cl, "w", 2)}
		c.Network.Isolate("far")
		operation := stop(t, cl, time.Second, "w").Operation
		v, err := cl.Cluster().WaitStop(soon(t), operation)
		require.NoError(t, err)
		var outcomes []string
		for _, target := range v.Targets {
			outcomes = append(outcomes, target.Outcome)
		}
		require.Equal(t, []string{"did not answer in time", "stopped", "stopped"}, outcomes)
		for _, m := range near {
			<-m.Done()
		}
		c.Network.Heal()
		<-far.Done()
	})
}

// D38: the addresses of hosts, of clients and of those who had been told them outlived their world. Here nothing of a world is left but
// what can be read about it, and the next world of its name begins with nobody.
func TestDefect_D38_NothingOutlivesItsWorld(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.NewAgent().Join(t, c, "w", "a")
		clustertest.CreateGang(t, cl, "w", 1, 1, nil)
		c.AwaitStatus(cl, "w", live)
		joinAs(t, cl, "v", 0, func(m *client.MemberConfig) { m.Address = "tcp:v:1" })
		for _, world := range []string{"w", "v"} {
			clustertest.StopWorld(t, cl, world)
			c.AwaitStatus(cl, world, stopped)
		}
		s, err := cl.Cluster().Status(soon(t), &musterv1.StatusRequest{})
		require.NoError(t, err)
		require.Zero(t, s.State.Worlds)
		require.Zero(t, s.State.Procs)
		for _, world := range []string{"w", "v"} {
			_, err = upsert(t, cl, world, 1, func(u *musterv1.UpsertWorldRequest) { u.ReplaceEnded = true })
			require.NoError(t, err)
			require.Empty(t, clustertest.WorldOf(c, cl, world).Procs)
		}
		_, err = cl.Cluster().Address(clustertest.Within(t, 3*time.Second), "v", 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
