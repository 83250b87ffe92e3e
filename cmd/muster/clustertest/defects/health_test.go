package defects

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

// D5: a proc that came back under its id inherited the health and the failed actors of its predecessor, so that its world was never
// healthy again. Here it is a new incarnation with a clean record; what became of the old one is in the history.
func TestDefect_D5_RestartedProcIsHealthy(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		m, die := mortal(t, c, "w", 0, asIs)
		fails(t, m, "loader", "disk gone")
		c.Eventually("the failed actor", func() bool { return clustertest.ProcOf(c, cl, "w", worker, 0).FailedActorCount == 1 })
		die()
		awaitExpiry(c, cl, "w", worker, 0)
		joinAs(t, cl, "w", 0, asIs)
		p := clustertest.ProcOf(c, cl, "w", worker, 0)
		require.Equal(t, alive, p.Health)
		require.Empty(t, p.FailedActors)
		time.Sleep(15 * time.Second)
		require.Equal(t, live, clustertest.StatusOf(c, cl, "w"))
		h, err := cl.Cluster().History(soon(t), &musterv1.HistoryRequest{World: "w"})
		require.NoError(t, err)
		superseded := eventsOf(h.Generations[0].Events, musterv1.Event_KIND_PROC_SUPERSEDED)
		require.Len(t, superseded, 1)
		require.Contains(t, superseded[0].Text, "was Expired")
	})
}

// D6: a proc that came back at another address was told of at its old one, in failures too. Here the address is that of the incarnation.
func TestDefect_D6_AddressOfTheIncarnation(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		for i := range 2 {
			address := fmt.Sprintf("tcp:10.0.0.%d:1", i)
			_, die := mortal(t, c, "w", 0, func(m *client.MemberConfig) { m.Address = address })
			got, err := cl.Cluster().Address(soon(t), "w", 0)
			require.NoError(t, err)
			require.Equal(t, address, got)
			die()
			awaitExpiry(c, cl, "w", worker, 0)
			require.Equal(t, address, clustertest.ProcOf(c, cl, "w", worker, 0).Address)
		}
	})
}

// D7: each report of a failed actor was added to those before, the same one too, without an end. Here an actor is kept once, with its
// first cause, and of many actors 64 and that there were more.
func TestDefect_D7_FailedActorsAreBounded(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		m := joinAs(t, cl, "w", 0, asIs)
		report := func(actor, cause string) {
			c.Eventually("room for a failure", func() bool { return m.ReportFailure(actor, errors.New(cause)) == nil })
		}
		report("a", "first")
		report("a", "second")
		c.Eventually("one failed actor", func() bool { return clustertest.ProcOf(c, cl, "w", worker, 0).FailedActorCount == 1 })
		for i := range 100 {
			report(fmt.Sprint("b", i), "third")
		}
		c.Eventually("many failed actors", func() bool { return clustertest.ProcOf(c, cl, "w", worker, 0).FailedActorCount == 65 })
		kept := clustertest.ProcOf(c, cl, "w", worker, 0).FailedActors
		require.Len(t, kept, 64)
		require.Equal(t, "first", kept[0].Cause)
	})
}

// D8: a world turned Live when enough procs had joined, ill ones too, and its time of illness began anew with each such turn. Here it
// is Live when all are there and healthy, and what made it unhealthy keeps its moment until it is.
func TestDefect_D8_LiveMeansHealthy(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 2)
		ill := joinAs(t, cl, "w", 0, asIs)
		fails(t, ill, "loader", "disk gone")
		c.Eventually("the failed actor", func() bool { return clustertest.ProcOf(c, cl, "w", worker, 0).FailedActorCount == 1 })
		joinAs(t, cl, "w", 1, asIs)
		require.Equal(t, unhealthy, clustertest.StatusOf(c, cl, "w"), "all are there")
		well := joinAs(t, cl, "w", 0, asIs)
		require.Equal(t, live, clustertest.StatusOf(c, cl, "w"))

		fails(t, well, "loader", "disk gone")
		c.AwaitStatus(cl, "w", unhealthy)
		began := clustertest.Condition(c, cl, "w").SinceNs
		time.Sleep(3 * time.Second)
		_, die := mortal(t, c, "w", 1, asIs)
		die()
		awaitExpiry(c, cl, "w", worker, 1)
		joinAs(t, cl, "w", 1, asIs)
		require.Equal(t, began, clustertest.Condition(c, cl, "w").SinceNs, "one has recovered, the other has not")
	})
}
