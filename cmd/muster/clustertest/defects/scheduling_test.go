package defects

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// D50: a host beyond those that a world needs was given as many ranks as the others, outside the world, and they counted. Here it is a
// spare with nothing to run.
func TestDefect_D50_SurplusHostIsASpare(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		var agents []*clustertest.Agent
		for _, key := range []string{"a", "b", "c"} {
			agents = append(agents, clustertest.NewAgent().Join(t, c, "w", key))
		}
		clustertest.CreateGang(t, cl, "w", 3, 2, nil)
		c.AwaitStatus(cl, "w", live)
		time.Sleep(3 * time.Second)
		for i, want := range []map[uint32]int{{0: 1, 1: 1}, {2: 1}, {}} {
			spawned, _, _ := agents[i].Counts()
			require.Equal(t, want, spawned)
		}
		w := clustertest.WorldOf(c, cl, "w")
		require.Equal(t, []uint32{3, 3}, []uint32{w.Wanted, w.Joined})
	})
}

// D51: no procs per host divided by zero, and a host beyond an even number of them got an order to spawn nothing, if it came late. Here
// the one is refused, and a spare gets no order whenever it comes.
func TestDefect_D51_NothingPerHost(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		_, err := upsert(t, cl, "w", 2, func(u *musterv1.UpsertWorldRequest) { u.Spec.ProcsPerHost = 0 })
		require.Equal(t, musterv1.Reason_REASON_INVALID, reasonOf(err))
		require.Equal(t, "spec.procs_per_host", client.RefusalOf(err).Field)
		clustertest.CreateGang(t, cl, "w", 2, 2, nil)
		clustertest.NewAgent().Join(t, c, "w", "a")
		c.AwaitStatus(cl, "w", live)
		late := clustertest.NewAgent().Join(t, c, "w", "b")
		time.Sleep(3 * time.Second)
		e, err := cl.Cluster().Explain(soon(t), &musterv1.ExplainRequest{World: "w"})
		require.NoError(t, err)
		require.Zero(t, e.OrderCount)
		spawned, _, _ := late.Counts()
		require.Empty(t, spawned)
	})
}

// D52: a world of whoever joins could be asked for, and ended the system. Here it is Live while somebody is there and all are healthy.
func TestDefect_D52_OpenShape(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		_, err := upsert(t, cl, "w", 0, func(u *musterv1.UpsertWorldRequest) { u.Spec.Shape = &musterv1.Shape{Open: true} })
		require.NoError(t, err)
		require.Equal(t, unhealthy, clustertest.StatusOf(c, cl, "w"))
		first, second := clustertest.Join(t, cl, "w", 4711), clustertest.Join(t, cl, "w", 3)
		require.Equal(t, live, clustertest.StatusOf(c, cl, "w"))
		fails(t, second, "loader", "disk gone")
		c.AwaitStatus(cl, "w", unhealthy)
		require.NoError(t, second.Leave(soon(t)))
		require.Equal(t, live, clustertest.StatusOf(c, cl, "w"))
		require.NoError(t, first.Leave(soon(t)))
		require.Equal(t, unhealthy, clustertest.StatusOf(c, cl, "w"))
	})
}

// D53: a host was told once what to run, and nobody looked whether it did. Here it says what it runs whenever it comes back: what should run
// goes on, whose world has ended is told so, and only the program that a host has started may join as that.
func TestDefect_D53_HostsSayWhatRuns(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		a := clustertest.NewAgent().Join(t, c, "w", "a")
		clustertest.CreateGang(t, cl, "w", 1, 1, nil)
		c.AwaitStatus(cl, "w", live)
		_, err := cl.Join(soon(t), client.MemberConfig{World: "w", Key: "stranger", Machine: "m"})
		require.Equal(t, musterv1.Reason_REASON_ALREADY_EXISTS, reasonOf(err))

		c.Network.Isolate("a")
		awaitExpiry(c, cl, "w", worker, 0)
		c.Network.Heal()
		c.AwaitStatus(cl, "w", live)
		spawned, ended, killed := a.Counts()
		require.Equal(t, map[uint32]int{0: 1}, spawned)
		require.Empty(t, ended)
		require.Empty(t, killed)

		c.Network.Isolate("a")
		clustertest.StopWorld(t, cl, "w")
		time.Sleep(10 * time.Second)
		c.AwaitStatus(cl, "w", stopped)
		c.Network.Heal()
		<-a.Member.Done()
		var told *client.Ended
		require.ErrorAs(t, a.Member.Err(), &told)
		require.Equal(t, stopped, told.Status)
	})
}

// D54: a world was called unhealthy before it had begun, which surprised its own authors. Here it says that it is starting: it has not
// been Live, and the reason is that.
func TestDefect_D54_StartingIsNotIll(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		created := clustertest.CreateWorld(t, cl, "w", 1).Condition
		require.Equal(t, "starting", created.Reason)
		require.False(t, created.WasLive)
		m := clustertest.Join(t, cl, "w", 0)
		fails(t, m, "loader", "disk gone")
		c.AwaitStatus(cl, "w", unhealthy)
		require.True(t, clustertest.Condition(c, cl, "w").WasLive)
	})
}

// D55: a host process served one world, as its name said. Here one agent is a host of as many as it likes.
func TestDefect_D55_OneAgentManyWorlds(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl, machine := c.Client(), c.Client()
		for _, world := range []string{"v", "w"} {
			a := clustertest.NewAgent()
			joinAs(t, machine, world, 0, func(m *client.MemberConfig) { m.Role, m.Host = host, a })
			clustertest.CreateGang(t, cl, world, 1, 1, nil)
			c.AwaitStatus(cl, world, live)
			spawned, _, _ := a.Counts()
			require.Equal(t, map[uint32]int{0: 1}, spawned)
		}
	})
}

// D56: great ranks overflowed the arithmetic of ranks. Here a rank is below 2^24, and what is computed of the greatest numbers that a
// request may hold is right.
func TestDefect_D56_GreatRanks(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		for _, rank := range []uint32{id.MaxRank + 1, math.MaxUint32} {
			_, err := cl.Join(soon(t), client.MemberConfig{World: "v", Rank: rank, Key: "key", Machine: "machine"})
			require.NotNil(t, client.RefusalOf(err))
		}
		clustertest.Join(t, cl, "v", id.MaxRank)
		clustertest.CreateGang(t, cl, "w", 2, math.MaxUint32, nil)
		for _, rank := range []uint32{id.MaxRank, 0} {
			joinAs(t, cl, "w", rank, func(m *client.MemberConfig) {
				m.Role, m.Host, m.Key = host, clustertest.NewAgent(), string(rune('a'+rank%26))
			})
		}
		c.AwaitStatus(cl, "w", live)
		require.Equal(t, uint32(2), clustertest.WorldOf(c, cl, "w").Joined)
	})
}
