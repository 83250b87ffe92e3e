package raftnode_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

func TestCluster_FoundsItselfAndReplicates(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		for i := range 10 {
			write(t, c, fmt.Sprint(i))
		}
		c.RequireConverged()
		id := c.Members[0].Node.Status().ClusterID
		require.Len(t, id, 16)
		for _, m := range c.Members {
			s := m.Node.Status()
			require.Equal(t, id, s.ClusterID)
			require.Len(t, s.Servers, 3)
			require.Empty(t, s.Problem)
			require.Regexp(t, `^`+m.Name+`-[0-9a-f]{8}$`, s.ServerID)
			require.Equal(t, 10, len(lines(m)))
			leader, ok := m.Node.Leader()
			require.True(t, ok)
			require.Equal(t, c.Leader().Name, leader.Name)
			require.Equal(t, c.Leader().Address, leader.Address)
		}
	})
}

func TestCluster_OfOneFoundsItself(t *testing.T) {
	inCluster(t, raftnodetest.Config{Nodes: 1}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "alone")
		c.Kill("n1")
		c.Restart("n1")
		write(t, c, "again")
		require.Equal(t, []string{"alone", "again"}, lines(c.Leader()))
	})
}

func TestCluster_SurvivesItsLeader(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "before")
		old := c.Leader()
		c.Isolate(old.Name)
		began := time.Now()
		next := c.Leader()
		require.NotEqual(t, old.Name, next.Name)
		require.Less(t, time.Since(began), 8*raftnode.DefaultTimeout)
		write(t, c, "after")
		require.Nil(t, old.Term(), "the isolated leader has given up")
		c.Heal()
		c.RequireConverged()
		c.Kill(next.Name)
		write(t, c, "without the second")
		c.Restart(next.Name)
		c.RequireConverged()
	})
}
