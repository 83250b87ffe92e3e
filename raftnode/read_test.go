package raftnode_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

func TestRead_SeesWhatWasCommittedBefore(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "a")
		leader := c.Leader()
		require.NoError(t, leader.Term().ReadBarrier(context.Background()))
		require.Equal(t, []string{"a"}, lines(leader))
	})
}

// Between the index of a read and the proof of leadership, leadership is lost, another leader commits, and leadership is won
// again: the proof succeeds, but the index is of another time.
func TestRead_LostAndRegained(t *testing.T) {
	var armed atomic.Pointer[func()]
	cfg := raftnodetest.Config{Configure: func(rc *raftnode.Config) {
		raftnode.AfterReadIndex(rc, func() {
			if f := armed.Swap(nil); f != nil {
				(*f)()
			}
		})
	}}
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "before")
		old := c.Leader()
		term := old.Term()
		meanwhile := func() {
			c.Isolate(old.Name)
			write(t, c, "by another leader")
			c.Heal()
			c.RequireConverged()
			c.Eventually("the first leader leads again", func() bool {
				leader := c.Leader()
				if leader == old {
					return true
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_ = leader.Node.TransferLeadership(ctx)
				return false
			})
		}
		armed.Store(&meanwhile)
		require.ErrorIs(t, term.ReadBarrier(context.Background()), raftnode.ErrNotLeader)
		require.NoError(t, old.Term().ReadBarrier(context.Background()), "on the new term it goes")
	})
}

func TestRead_IsolatedLeaderRefuses(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		old := c.Leader()
		term := old.Term()
		c.Isolate(old.Name)
		began := time.Now()
		require.ErrorIs(t, term.ReadBarrier(context.Background()), raftnode.ErrNotLeader)
		require.Less(t, time.Since(began), 4*raftnode.DefaultTimeout)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		require.Error(t, term.ReadBarrier(ctx))
	})
}

// The same where the node has not noticed yet: its Term lasts, Raft is in another.
func TestRead_RaftIsInAnotherTerm(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		number := leader.Term().Number()
		require.NoError(t, leader.Node.TermOf(number).ReadBarrier(context.Background()))
		require.ErrorIs(t, leader.Node.TermOf(number-1).ReadBarrier(context.Background()), raftnode.ErrNotLeader)
	})
}

// A server without a vote answers heartbeats too, and Raft's own check counts it. It is no majority.
func TestRead_NonvoterProvesNothing(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		var others []*raftnodetest.Member
		for _, m := range c.Members {
			if m != leader {
				others = append(others, m)
			}
		}
		id := raftID(others[0].Node.Status().ServerID)
		require.NoError(t, leader.Node.Raft().DemoteVoter(id, 0, 0).Error())
		c.RequireConverged()
		term := leader.Term()
		c.Isolate(others[1].Name)
		require.ErrorIs(t, term.ReadBarrier(context.Background()), raftnode.ErrNotLeader)
	})
}
