package raftnode_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

func TestTerm_Renew(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		old := leader.Term()
		old.Renew()
		require.Error(t, old.Context().Err())
		c.Eventually("another term", func() bool { return leader.Term() != nil })
		require.NotSame(t, old, leader.Term())
		require.Equal(t, old.Number(), leader.Term().Number(), "leadership was kept")
		leader.Node.Read(func() { require.Equal(t, 2, leader.Machine.(*journal).starts) })
		write(t, c, "on it goes")
	})
}

func TestTransferLeadership_LosesNothing(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		for range 3 {
			old := c.Leader()
			term := old.Term()
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					_, err := term.Propose(context.Background(), line(fmt.Sprint(old.Name, i)))
					if err != nil {
						require.ErrorIs(t, err, raftnode.ErrNotApplied, "certainly, never perhaps")
					}
				})
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			require.NoError(t, old.Node.TransferLeadership(ctx))
			cancel()
			wg.Wait()
			require.NotEqual(t, old.Name, c.Leader().Name)
			require.ErrorIs(t, old.Node.TransferLeadership(context.Background()), raftnode.ErrNotLeader)
		}
		c.RequireConverged()
	})
}

func TestTransferLeadership_FailsAndGoesOn(t *testing.T) {
	inCluster(t, raftnodetest.Config{Nodes: 1}, func(t *testing.T, c *raftnodetest.Cluster) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.Error(t, c.Leader().Node.TransferLeadership(ctx), "there is nobody to take it")
		write(t, c, "still here")
	})
}
