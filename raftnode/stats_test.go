package raftnode_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// counting is an Observer that counts.
type counting struct {
	sealed, commands, bytes, committed, stored atomic.Int64
}

func (c *counting) Sealed(commands, bytes int) {
	c.sealed.Add(1)
	c.commands.Add(int64(commands))
	c.bytes.Add(int64(bytes))
}
func (c *counting) Committed(time.Duration) { c.committed.Add(1) }
func (c *counting) Stored(time.Duration)    { c.stored.Add(1) }

func TestStats_ElectionsAndFollowers(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		first := c.Leader()
		write(t, c, "one")
		time.Sleep(time.Second)
		s := first.Node.Stats()
		require.EqualValues(t, 1, s.Elections)
		require.Len(t, s.Followers, 2)
		for name, since := range s.Followers {
			require.Less(t, since, 500*time.Millisecond, name)
		}
		for _, m := range c.Members {
			require.EqualValues(t, 2, m.Node.Stats().Entries, "TermStart and a line")
			if m != first {
				require.Zero(t, m.Node.Stats().Elections)
				require.Empty(t, m.Node.Stats().Followers, "it does not lead")
			}
		}

		c.Isolate(first.Name)
		second := c.Leader()
		require.EqualValues(t, 1, second.Node.Stats().Elections)
		time.Sleep(10 * time.Second)
		_, heard := second.Node.Stats().Followers[first.Name]
		require.False(t, heard, "it has not agreed to anything that the new leader said")
		c.Heal()
		c.RequireConverged()
		require.Less(t, c.Leader().Node.Stats().Followers[first.Name], time.Second)
	})
}

func TestStats_ObserverIsToldOfEveryEntry(t *testing.T) {
	seen := map[string]*counting{}
	cfg := raftnodetest.Config{Configure: func(rc *raftnode.Config) {
		seen[rc.Name] = &counting{}
		rc.Observer = seen[rc.Name]
	}}
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		for range 5 {
			write(t, c, "a line")
		}
		c.RequireConverged()
		for name, o := range seen {
			require.Positive(t, o.stored.Load(), name)
			if name != leader.Name { // one that lags stores several entries at once
				require.Zero(t, o.sealed.Load()+o.committed.Load(), name)
			}
		}
		o := seen[leader.Name]
		require.Greater(t, o.stored.Load(), int64(5))
		require.EqualValues(t, 5, o.sealed.Load())
		require.EqualValues(t, 5, o.commands.Load())
		require.EqualValues(t, 5, o.committed.Load())
		require.Greater(t, o.bytes.Load(), int64(5*len("a line")))
	})
}

func TestStats_Sizes(t *testing.T) {
	dirs := newDirs(t)
	dirs.snapshotBytes = 32 << 10
	c := dirs.cluster(t, 1)
	defer c.Close()
	write(t, c, "first")
	before := c.Leader().Node.Stats()
	require.Positive(t, before.LogBytes)
	require.Positive(t, before.FreshLogBytes)
	require.Zero(t, before.SnapshotBytes, "there is none")
	fill(t, c, 0)
	after := c.Leader().Node.Stats()
	require.Greater(t, after.SnapshotBytes, int64(4<<10))
	c.Kill("n1")
	c.Restart("n1")
	require.GreaterOrEqual(t, c.Leader().Node.Stats().SnapshotBytes, after.SnapshotBytes, "a node knows the snapshot that it finds")
}

func TestStats_Parked(t *testing.T) {
	cfg := raftnodetest.Config{Nodes: 1, Machine: func(string) raftnode.StateMachine { return &journal{old: true, refuses: "new"} }}
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		m := c.Leader()
		require.False(t, m.Node.Stats().Parked)
		_, err := m.Term().Propose(t.Context(), line("new"))
		require.Error(t, err)
		require.True(t, m.Node.Stats().Parked)
	})
}
