package defects

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// D9: only how many had joined was counted, whatever their ranks, so that a world could be Live without its rank 0. Here it is Live when
// each of its ranks is there; a rank outside the shape is refused, and one that was there before the shape is named.
func TestDefect_D9_RanksCountNotHeads(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		_, err := cl.Join(soon(t), client.MemberConfig{World: "w", Rank: 1, Key: "key", Machine: "machine"})
		require.Equal(t, musterv1.Reason_REASON_RANK_OUT_OF_RANGE, reasonOf(err))
		require.Equal(t, unhealthy, clustertest.StatusOf(c, cl, "w"))
		clustertest.Join(t, cl, "w", 0)
		require.Equal(t, live, clustertest.StatusOf(c, cl, "w"))

		clustertest.Join(t, cl, "early", 7)
		_, err = upsert(t, cl, "early", 2, func(*musterv1.UpsertWorldRequest) {})
		require.Equal(t, musterv1.Reason_REASON_CONTRADICTS, reasonOf(err))
		require.ErrorContains(t, err, "ranks 0 to 1: 7")
	})
}

// D10: a proc was never taken out of its world, so that the world looked full when it was not. Here who leaves is gone, and his rank is
// missing.
func TestDefect_D10_LeaversAreGone(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 2)
		clustertest.Join(t, cl, "w", 0)
		require.NoError(t, clustertest.Join(t, cl, "w", 1).Leave(soon(t)))
		w := clustertest.WorldOf(c, cl, "w")
		require.Equal(t, uint32(1), w.Joined)
		require.Len(t, w.Procs, 1)
		require.Equal(t, unhealthy, w.Condition.Status)
		require.Equal(t, "rank 1 left", w.Condition.Reason)
	})
}

// D11: procs and hosts of a world shared one record per rank, so that a host that was not heard took the worker of its number with it. Here
// they are told apart by their role.
func TestDefect_D11_HostAndWorkerOfOneRank(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		clustertest.Join(t, cl, "w", 0)
		clustertest.NewAgent().Join(t, c, "w", "a")
		c.Network.Isolate("a")
		awaitExpiry(c, cl, "w", host, 0)
		require.Equal(t, alive, clustertest.HealthOf(c, cl, "w", 0))
		require.Equal(t, live, clustertest.StatusOf(c, cl, "w"))
	})
}

// D12: a host was never missed, but for the workers that died with it. Here it has a lease as everybody, whether or not it runs anything.
func TestDefect_D12_IdleHostIsMissed(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.NewAgent().Join(t, c, "w", "a")
		spare := clustertest.NewAgent().Join(t, c, "w", "b")
		clustertest.CreateGang(t, cl, "w", 1, 1, nil)
		c.AwaitStatus(cl, "w", live)
		c.Network.Isolate("b")
		awaitExpiry(c, cl, "w", host, spare.Member.Proc().Rank)
		s, err := cl.Cluster().WorldSupervision(soon(t), &musterv1.WorldSupervisionRequest{World: "w"})
		require.NoError(t, err)
		require.Len(t, s.Procs, 1)
		require.Equal(t, "b", s.Procs[0].Machine)
		require.Equal(t, live, clustertest.StatusOf(c, cl, "w"), "nothing of the world was there")
	})
}

// D16: who reported for a world that had been ended, or was never known, was answered as if all were well, and ran on as a ghost. Here he
// is told, and ends.
func TestDefect_D16_GhostsAreTold(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		ghost := joinAs(t, c.ClientAt("far"), "w", 0, asIs)
		c.Network.Isolate("far")
		clustertest.StopWorld(t, cl, "w")
		time.Sleep(10 * time.Second)
		c.AwaitStatus(cl, "w", stopped)
		c.Network.Heal()
		<-ghost.Done()
		var ended *client.Ended
		require.ErrorAs(t, ghost.Err(), &ended)
		require.Equal(t, musterv1.Verdict_KIND_ENDED, ended.Kind)
		require.Equal(t, stopped, ended.Status)

		stranger := session(t, c, &musterv1.ProcRef{World: "nowhere", Rank: 3, Incarnation: c.View(cl).Number})
		require.Equal(t, musterv1.Verdict_KIND_UNKNOWN, verdict(t, stranger).Kind)
	})
}

// D18: a proc was condemned for ever when an answer to it came too late, though it was alive. Here only orders can be undeliverable, and
// only to who is not heard: a host that is slow to accept one, through a change of the leader, stays alive and is told it in the end.
func TestDefect_D18_LateAnswersCondemnNobody(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		a := clustertest.NewAgent()
		hold := make(chan struct{})
		a.At = func(step string) {
			if step == "port" {
				<-hold
			}
		}
		a.Join(t, c, "w", "a")
		clustertest.CreateGang(t, cl, "w", 1, 1, nil)
		incarnation := a.Member.Incarnation()
		time.Sleep(15 * time.Second)
		c.Kill(c.Leader())
		time.Sleep(25 * time.Second) // the delivery timeout is 10 s
		h := clustertest.ProcOf(c, cl, "w", host, 0)
		require.Equal(t, alive, h.Health)
		require.Equal(t, incarnation, h.Proc.Incarnation)
		close(hold)
		c.AwaitStatus(cl, "w", live)
	})
}

// D19: that a joiner was in, and what a host had to spawn, was said once and could get lost unseen. Here a Join may be asked again, and an
// order is told until it is confirmed, and done once.
func TestDefect_D19_LostOrdersAreToldAgain(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		first := bareJoin(t, c, cl, "v", 0, "nonce")
		require.Equal(t, first.Proc.Incarnation, bareJoin(t, c, cl, "v", 0, "nonce").Proc.Incarnation)

		a := clustertest.NewAgent().Join(t, c, "w", "a")
		c.Network.Isolate("a")
		clustertest.CreateGang(t, cl, "w", 2, 2, nil)
		time.Sleep(3 * time.Second)
		c.Kill(c.Leader())
		time.Sleep(3 * time.Second)
		c.Network.Heal()
		c.AwaitStatus(cl, "w", live)
		spawned, _, _ := a.Counts()
		require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
	})
}
