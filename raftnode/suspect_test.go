package raftnode_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// followers of the present leader.
func followers(c *raftnodetest.Cluster) (leader *raftnodetest.Member, others []*raftnodetest.Member) {
	leader = c.Leader()
	for _, m := range c.Running() {
		if m != leader {
			others = append(others, m)
		}
	}
	return leader, others
}

// killLeader ends the leader, whose heir is there within the next term and so long.
func killLeader(t *testing.T, c *raftnodetest.Cluster, limit time.Duration) (heir *raftnodetest.Member) {
	t.Helper()
	old := c.Leader()
	term := old.Term().Number()
	began := time.Now()
	c.Kill(old.Name)
	heir = c.Leader()
	require.Less(t, time.Since(began), limit)
	require.Equal(t, term+1, heir.Term().Number())
	return heir
}

// settle lets what the start left over go by.
func settle() { time.Sleep(5 * time.Second) }

// TestSuspect_CrashedLeaderIsReplacedAtOnce: a leader whose process dies is replaced without waiting for a timer, and after one election:
// the survivors do not duel.
func TestSuspect_CrashedLeaderIsReplacedAtOnce(t *testing.T) {
	for i := range 50 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
				write(t, c, "before")
				settle()
				next := killLeader(t, c, raftnode.DefaultTimeout/2)
				term := next.Term().Number() - 1
				write(t, c, "after")
				never(t, 2*time.Second, "another election", func() bool { return next.Term() == nil || next.Term().Number() != term+1 })
			})
		})
	}
}

// TestSuspect_OneFollowerRejects_NoElection: a node that alone cannot reach the leader, and is even refused by it, changes nothing for a
// minute: nobody agrees with it, and no term is spent.
func TestSuspect_OneFollowerRejects_NoElection(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "before")
		settle()
		leader, others := followers(c)
		term := leader.Term().Number()
		c.Network.Refuse(others[0].Address, leader.Address)
		never(t, time.Minute, "leadership or term changed", func() bool {
			return leader.Term() == nil || leader.Term().Number() != term || leader.Node.Status().Term != term
		})
		write(t, c, "during")
		c.Heal()
		write(t, c, "after")
		c.RequireConverged()
		require.Equal(t, term, leader.Term().Number())
	})
}

// TestSuspect_OnSittingLeader: followers that die, and come back under another process, do not make the leader stand against itself.
func TestSuspect_OnSittingLeader(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "before")
		settle()
		leader, others := followers(c)
		term := leader.Term().Number()
		for range 5 {
			c.Kill(others[0].Name)
			write(t, c, "while it is down")
			c.Restart(others[0].Name)
			write(t, c, "when it is back")
			c.RequireConverged()
		}
		require.Equal(t, term, leader.Term().Number())
	})
}

// TestSuspect_LeaderRestartedAtOnce: a leader that is back before anybody has dialled it is told by its process id, and replaced at once.
func TestSuspect_LeaderRestartedAtOnce(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "before")
		settle()
		old := c.Leader()
		term := old.Term().Number()
		began := time.Now()
		c.Kill(old.Name)
		c.Restart(old.Name)
		c.Eventually("another term", func() bool {
			l := c.Leader()
			return l.Term() != nil && l.Term().Number() > term
		})
		require.Less(t, time.Since(began), raftnode.DefaultTimeout/2)
		require.Equal(t, term+1, c.Leader().Term().Number())
		write(t, c, "after")
		c.RequireConverged()
	})
}

// TestSuspect_ShorterLogAsksFirst: of two survivors the one with the whole log stands, whichever notices first.
func TestSuspect_ShorterLogAsksFirst(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "before")
		settle()
		leader, others := followers(c)
		behind, whole := others[0], others[1] // the lower id would stand with equal logs
		c.Network.Cut(leader.Address, behind.Address)
		for i := range 5 {
			write(t, c, fmt.Sprint("not seen by the one ", i))
		}
		began := time.Now()
		c.Kill(leader.Name)
		c.Network.Heal() // the one that is behind hears of the end of its connections only now
		next := c.Leader()
		require.Equal(t, whole.Name, next.Name)
		require.Less(t, time.Since(began), raftnode.DefaultTimeout/2)
		write(t, c, "after")
		c.Restart(leader.Name)
		c.RequireConverged()
	})
}

// TestSuspect_NonVoter: a node without a vote neither stands nor counts.
func TestSuspect_NonVoter(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "before")
		settle()
		leader, others := followers(c)
		require.NoError(t, leader.Node.Demote(others[0].Node.Status().ServerID))
		write(t, c, "with two voters")
		c.RequireConverged()
		c.Kill(leader.Name)
		never(t, 10*time.Second, "somebody leads without a majority of the voters", func() bool {
			return leads(others[0]) || leads(others[1])
		})
		c.Restart(leader.Name)
		write(t, c, "with both voters again")
		require.NotEqual(t, others[0].Name, c.Leader().Name)
	})
}

// TestSuspect_HeirDiesAtOnce: who has agreed with the heir of a leader stands, or agrees, again when the heir dies right after it was elected.
// The one that was started anew meanwhile is asked over a new connection, whatever Raft has kept from before.
func TestSuspect_HeirDiesAtOnce(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "before")
		settle()
		for range 10 {
			leader, began := c.Leader(), time.Now()
			killLeader(t, c, raftnode.DefaultTimeout/2)
			c.Restart(leader.Name)
			c.RequireConverged()
			require.Less(t, time.Since(began), raftnode.DefaultTimeout, "the heir is to die soon")
		}
	})
}

// TestSuspect_FarNodes: nodes of several regions agree on a crash, too, before a timer decides: a round of asking waits for answers
// that are under way for long.
func TestSuspect_FarNodes(t *testing.T) {
	wan := raftnode.Profiles[1].Timeout
	far := raftnodetest.Config{Configure: func(cfg *raftnode.Config) {
		cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = wan, wan, wan
	}}
	inCluster(t, far, func(t *testing.T, c *raftnodetest.Cluster) {
		c.Network.SetDelay(75 * time.Millisecond)
		write(t, c, "before")
		settle()
		killLeader(t, c, wan)
		write(t, c, "after")
	})
}
