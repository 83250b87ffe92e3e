package raftnode_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// never fails if a condition comes true within d, in the time of the test.
func never(t *testing.T, d time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if holds() {
			t.Fatal(what)
		}
	}
}

func leads(m *raftnodetest.Member) bool {
	return m.Node != nil && m.Node.Status().Role == raftnode.RoleLeader
}

func TestWipedNode_DoesNotVote(t *testing.T) {
	d := newDirs(t)
	c := d.cluster(t, 3)
	defer c.Close()
	write(t, c, "committed")
	c.RequireConverged()
	leader := c.Leader()
	var wiped, other *raftnodetest.Member
	for _, m := range c.Members {
		switch {
		case m == leader:
		case wiped == nil:
			wiped = m
		default:
			other = m
		}
	}
	before := wiped.Node.Status().ServerID
	c.Kill(wiped.Name)
	d.wipe(t, wiped.Name)
	c.Restart(wiped.Name)
	c.Eventually("the wiped node to wait", func() bool { return wiped.Node.Status().Role == raftnode.RoleWaiting })
	require.Contains(t, wiped.Node.Status().Problem, "muster cluster rejoin "+wiped.Name)
	require.NotEqual(t, before, wiped.Node.Status().ServerID)

	// With the leader gone too, the one that is left has no majority: the wiped node is none.
	c.Kill(leader.Name)
	never(t, 2*time.Second, "a leader by the vote of a wiped node", func() bool { return leads(other) || leads(wiped) })
	require.Zero(t, wiped.Node.Status().Term)
	c.Restart(leader.Name)
	write(t, c, "again")
}

func TestTwoWipedNodes_NoSecondCluster(t *testing.T) {
	d := newDirs(t)
	c := d.cluster(t, 3)
	defer c.Close()
	write(t, c, "committed")
	c.RequireConverged()
	id := c.Members[0].Node.Status().ClusterID
	for _, m := range c.Members {
		c.Kill(m.Name)
	}
	d.wipe(t, "n1")
	d.wipe(t, "n2")
	c.Restart("n1")
	c.Restart("n2")
	n1, n2, n3 := c.Members[0], c.Members[1], c.Members[2]
	second := func() bool {
		return leads(n1) || leads(n2) || leads(n3) || n1.Node.Status().ClusterID != "" || n2.Node.Status().ClusterID != ""
	}
	never(t, time.Second, "two empty nodes founded a cluster without the third", second)
	c.Restart("n3")
	c.Eventually("both to wait", func() bool {
		return n1.Node.Status().Role == raftnode.RoleWaiting && n2.Node.Status().Role == raftnode.RoleWaiting
	})
	never(t, time.Second, "a second cluster, or a leader by empty votes", second)
	require.Contains(t, n1.Node.Status().Problem, id)
	require.Equal(t, id, n3.Node.Status().ClusterID)
}

func TestFounding_GoesOnAfterACrashBeforeBootstrap(t *testing.T) {
	crash := errors.New("crash")
	d := newDirs(t)
	d.configure = func(rc *raftnode.Config) {
		if rc.Name == "n1" && crash != nil {
			raftnode.BeforeBootstrap(rc, func() error { return crash })
		}
	}
	c := d.cluster(t, 3)
	defer c.Close()
	ids := map[string]string{}
	c.Eventually("all to know the cluster", func() bool {
		for _, m := range c.Members {
			ids[m.Name] = m.Node.Status().ServerID
			if m.Node.Status().ClusterID == "" {
				return false
			}
		}
		return true
	})
	id := c.Members[0].Node.Status().ClusterID
	c.Kill("n1")
	crash = nil
	c.Restart("n1")
	write(t, c, "founded")
	c.RequireConverged()
	for _, m := range c.Members {
		require.Equal(t, id, m.Node.Status().ClusterID)
		require.Equal(t, ids[m.Name], m.Node.Status().ServerID)
		require.Len(t, m.Node.Status().Servers, 3)
	}
}

func TestFounding_WaitsForEveryNode(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		// Begun anew with n3 away: two of three are a majority, but n3 might hold a cluster.
		for _, m := range c.Members {
			c.Kill(m.Name)
			c.Wipe(m.Name)
		}
		c.Restart("n1")
		c.Restart("n2")
		time.Sleep(time.Minute) // virtual
		for _, name := range []string{"n1", "n2"} {
			s := c.Member(name).Node.Status()
			require.Empty(t, s.ClusterID)
			require.Equal(t, raftnode.RoleStarting, s.Role)
			require.Contains(t, s.Problem, "n3 at n3:7700")
		}
		c.Restart("n3")
		write(t, c, "all are there")
	})
}

func TestFounding_NamesAWrongPeer(t *testing.T) {
	cfg := raftnodetest.Config{Configure: func(rc *raftnode.Config) {
		if rc.Name == "n1" { // its list has two addresses the wrong way round
			rc.Peers[1].Address, rc.Peers[2].Address = rc.Peers[2].Address, rc.Peers[1].Address
		}
	}}
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		time.Sleep(10 * time.Second) // virtual
		require.Contains(t, c.Member("n1").Node.Status().Problem, "answers as node n3, configured is n2")
		require.Empty(t, c.Member("n1").Node.Status().ClusterID)
	})
}

func TestRestart_OfAllKeepsTheState(t *testing.T) {
	d := newDirs(t)
	d.snapshotBytes = 32 << 10
	c := d.cluster(t, 3)
	defer c.Close()
	fill(t, c, 0)
	write(t, c, "last")
	c.RequireConverged()
	want := digest(c.Leader().Machine)
	ids := map[string]string{}
	for _, m := range c.Members {
		ids[m.Name] = m.Node.Status().ServerID
		c.Kill(m.Name)
	}
	for _, m := range c.Members {
		c.Restart(m.Name)
	}
	c.RequireConverged()
	require.Equal(t, want, digest(c.Leader().Machine))
	for _, m := range c.Members {
		require.Equal(t, ids[m.Name], m.Node.Status().ServerID)
	}
	write(t, c, "after")
}

func TestRejoin_WipedNode(t *testing.T) {
	inCluster(t, compacting, func(t *testing.T, c *raftnodetest.Cluster) {
		fill(t, c, 0)
		leader := c.Leader()
		var wiped *raftnodetest.Member
		for _, m := range c.Members {
			if m != leader {
				wiped = m
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		old := wiped.Node.Status().ServerID
		_, _, err := leader.Node.Rejoin(ctx, wiped.Name)
		require.ErrorContains(t, err, "nothing to do")
		_, _, err = wiped.Node.Rejoin(ctx, leader.Name)
		require.ErrorIs(t, err, raftnode.ErrNotLeader)

		c.Kill(wiped.Name)
		_, _, err = leader.Node.Rejoin(ctx, wiped.Name)
		require.ErrorContains(t, err, "empty data directory")
		c.Wipe(wiped.Name)
		c.Restart(wiped.Name)
		c.Eventually("the wiped node to wait", func() bool { return wiped.Node.Status().Role == raftnode.RoleWaiting })
		removed, added, err := leader.Node.Rejoin(ctx, wiped.Name)
		require.NoError(t, err)
		require.Equal(t, old, removed)
		require.Equal(t, wiped.Node.Status().ServerID, added)
		write(t, c, "three again")
		c.RequireConverged()
		servers := leader.Node.Status().Servers
		require.Len(t, servers, 3)
		for _, s := range servers {
			require.True(t, s.Voter)
			require.NotEqual(t, old, s.ID)
		}
		c.Kill(leader.Name)
		write(t, c, "its vote counts")
	})
}

// The leader dies between the steps; the next one is asked again, and goes on.
func TestRejoin_IsRepeatable(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "committed")
		leader := c.Leader()
		var wiped *raftnodetest.Member
		for _, m := range c.Members {
			if m != leader {
				wiped = m
			}
		}
		c.Kill(wiped.Name)
		c.Wipe(wiped.Name)
		c.Restart(wiped.Name)
		old := wiped.Node.Status().ServerID
		c.Network.Cut(leader.Address, wiped.Address)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _, err := leader.Node.Rejoin(ctx, wiped.Name)
		require.Error(t, err)
		c.Heal()
		r := leader.Node.Raft()
		for _, s := range leader.Node.Status().Servers {
			if s.Name == wiped.Name { // as far as an earlier attempt got
				require.NoError(t, r.RemoveServer(raftID(s.ID), 0, 0).Error())
			}
		}
		require.NoError(t, r.AddNonvoter(raftID(old), raftAddress(wiped.Address), 0, 0).Error())

		// Emptied once more: the server that was added is gone as well.
		c.Kill(wiped.Name)
		c.Wipe(wiped.Name)
		c.Restart(wiped.Name)
		ctx, cancel = context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		removed, added, err := c.Leader().Node.Rejoin(ctx, wiped.Name)
		require.NoError(t, err)
		require.Equal(t, old, removed)
		require.Equal(t, wiped.Node.Status().ServerID, added)
		c.RequireConverged()
	})
}

func TestPeers_RefuseAnotherCluster(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "ours")
		m := c.Leader()
		i := &intruder{c: c, cluster: "feedfeedfeedfeed"}
		conn, w, err := i.greet(context.Background(), m.Address, musterv1.PeerHello_PURPOSE_RAFT)
		require.NoError(t, err)
		require.Contains(t, w.GetError(), "feedfeedfeedfeed")
		require.Contains(t, w.GetError(), m.Node.Status().ClusterID)
		require.True(t, ended(conn))
		conn.Close()

		conn, w, err = i.greet(context.Background(), m.Address, musterv1.PeerHello_PURPOSE_ADOPT)
		require.NoError(t, err)
		require.NotEmpty(t, w.GetError(), "a stranger adopts nobody")
		conn.Close()

		conn, w, err = i.greet(context.Background(), m.Address, musterv1.PeerHello_PURPOSE_PROBE)
		require.NoError(t, err)
		require.Empty(t, w.GetError())
		require.Equal(t, m.Node.Status().AppliedIndex, w.GetAppliedIndex())
		conn.Close()
	})
}

func TestPeers_MuteConnectionIsClosed(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		conn, err := c.Network.Dialer("mute")(context.Background(), c.Members[0].Address)
		require.NoError(t, err)
		began := time.Now()
		require.True(t, ended(conn))
		require.Equal(t, 2*time.Second, time.Since(began))
		conn.Close()
	})
}
