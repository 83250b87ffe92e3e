package clustertest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/node"
	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// TestFailover_ExpiresNobodyHealthy: the leader is killed again and again; nobody who reports is expired or joins anew.
func TestFailover_ExpiresNobodyHealthy(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 4)
		var members []*client.Member
		var before []uint64
		for rank := range uint32(4) {
			m := Join(t, cl, "w", rank)
			members, before = append(members, m), append(before, m.Incarnation())
		}
		for range 10 {
			leader := c.Leader()
			c.Kill(leader)
			time.Sleep(7 * time.Second)
			c.Leader()
			c.Start(leader)
			time.Sleep(5 * time.Second)
		}
		time.Sleep(30 * time.Second)
		for i, m := range members {
			require.Equal(t, before[i], m.Incarnation(), "rank %d joined anew", i)
			require.NoError(t, m.Err())
		}
		require.Equal(t, musterv1.Status_STATUS_LIVE, Condition(c, cl, "w").Status)
		c.RequireConverged()
	})
}

// TestClock_LeaderlessGapIsNotJumped: while no leader leads, cluster time stands still, so that ten minutes without one expire nobody.
func TestClock_LeaderlessGapIsNotJumped(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 1)
		m := Join(t, cl, "w", 0)
		incarnation := m.Incarnation()
		time.Sleep(5 * time.Second)
		before := c.View(cl).ClockNs
		for _, m := range c.Members {
			c.Kill(m)
		}
		time.Sleep(10 * time.Minute)
		for _, m := range c.Members {
			c.Start(m)
		}
		c.Leader()
		after := c.View(cl).ClockNs
		require.Less(t, time.Duration(after-before), 3*time.Second, "the gap was charged")
		time.Sleep(20 * time.Second)
		require.Equal(t, incarnation, m.Incarnation())
		require.Equal(t, musterv1.Status_STATUS_LIVE, Condition(c, cl, "w").Status)
	})
}

// TestClock_QuietClusterHandsOverRemainingTime: in a cluster where nothing happens, the leader's Ticks tell an heir how long a proc has
// been silent: it expires when its lease and one grace are over, not a lease after the election.
func TestClock_QuietClusterHandsOverRemainingTime(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 1)
		owner := c.Client()
		Join(t, owner, "w", 0)
		joined := c.View(cl).ClockNs
		require.NoError(t, owner.Close()) // dies
		time.Sleep(8 * time.Second)
		c.Kill(c.Leader())
		c.Leader()
		silent := time.Duration(c.View(cl).ClockNs - joined)
		require.InDelta(t, 8*time.Second, silent, float64(500*time.Millisecond), "the heir knows how long it has been")
		c.Eventually("the expiry", func() bool { return Condition(c, cl, "w").Status == musterv1.Status_STATUS_UNHEALTHY })
		settings := fsm.DefaultSettings()
		since := time.Duration(Condition(c, cl, "w").SinceNs - joined)
		limit := time.Duration(settings.Timeouts.LeaseNs + settings.GraceNs)
		require.Greater(t, since, time.Duration(settings.Timeouts.LeaseNs))
		require.Less(t, since, limit+500*time.Millisecond)
	})
}

// TestGrace_HundredElections_StillExpires: each leader change gives one grace per silence, however many there are.
func TestGrace_HundredElections_StillExpires(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 1)
		owner := c.Client()
		Join(t, owner, "w", 0)
		require.NoError(t, owner.Close()) // dies
		joined := c.View(cl).ClockNs
		elections := 0
		for elections < 100 {
			leader := c.Leader()
			_, term, _ := leader.Node.System().Leading()
			require.NoError(t, leader.Node.TransferLeadership(Within(t, 10*time.Second), ""))
			c.Eventually("the next leader", func() bool {
				_, next, ok := c.Leader().Node.System().Leading()
				return ok && next > term
			})
			elections++
			time.Sleep(100 * time.Millisecond)
		}
		c.Eventually("the expiry", func() bool { return Condition(c, cl, "w").Status == musterv1.Status_STATUS_UNHEALTHY })
		settings := fsm.DefaultSettings()
		since := time.Duration(Condition(c, cl, "w").SinceNs - joined)
		require.LessOrEqual(t, since, time.Duration(settings.Timeouts.LeaseNs+settings.GraceNs)+time.Second)
	})
}

// TestFlagsDiffer_DigestsEqual: what a node was started with decides nothing once the state has settings; replicas stay equal through
// leaders of different flags, and each says that its flags are not in force.
func TestFlagsDiffer_DigestsEqual(t *testing.T) {
	configure := func(cfg *node.Config) {
		cfg.Settings = fsm.DefaultSettings()
		cfg.Settings.GraceNs += int64(cfg.Name[1]-'0') * int64(100*time.Millisecond)
		cfg.Settings.Timeouts.LeaseNs = int64(10*time.Second) - int64(cfg.Name[1]-'0')*int64(100*time.Millisecond)
	}
	Bubble(t, configure, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 1)
		Join(t, cl, "w", 0)
		for range 6 {
			leader := c.Leader()
			require.NoError(t, leader.Node.TransferLeadership(Within(t, 10*time.Second), ""))
			time.Sleep(3 * time.Second)
		}
		c.RequireConverged()
		differ := 0
		for _, m := range c.Members {
			s, _, alarms := m.Node.Status()
			if len(s.FlagsDiffer) == 2 {
				differ++
				require.Len(t, alarms, 1)
			}
		}
		require.Equal(t, 2, differ, "two nodes were started with other flags than the first leader")
	})
}
