package raftnode_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// corrupt has a fault change a member's memory.
func corrupt(m *raftnodetest.Member) {
	m.Node.Read(func() { m.Machine.(*journal).corrupt = "a bit has flipped" })
}

// A node whose state has gone its own way is found by the digests: it stops serving, gives leadership away if it has it, and says what to
// do; the others go on.
func TestDigests_MinorityNodeParks(t *testing.T) {
	for _, leads := range []bool{false, true} {
		t.Run(fmt.Sprintf("leader %v", leads), func(t *testing.T) {
			inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
				write(t, c, "sound")
				wrong := c.Leader()
				if !leads {
					for _, m := range c.Members {
						if m != c.Leader() {
							wrong = m
						}
					}
				}
				never(t, 3*raftnode.CompareInterval, "a sound node has a problem", func() bool {
					return wrong.Node.Status().Problem != ""
				})
				corrupt(wrong)
				write(t, c, "behind the fault")
				c.Eventually("the wrong node to park", func() bool { return !wrong.Node.Status().Serving })
				require.Regexp(t, `behind the entry at index \d+ .* majority .*`+"`muster cluster rejoin "+wrong.Name+"`", wrong.Node.Status().Problem)
				c.Eventually("another leader", func() bool { return c.Leader() != wrong })
				write(t, c, "without it")
				c.Eventually("the others to say so", func() bool {
					s := c.Leader().Node.Status()
					return s.Serving && s.Problem != ""
				})
				require.Contains(t, c.Leader().Node.Status().Problem, wrong.Name)
				require.NotContains(t, lines(wrong), "without it")
			})
		})
	}
}

// Of two nodes that differ nobody can say which is wrong: both go on, and tell the operator.
func TestDigests_TwoAloneOnlyTell(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		var down, wrong *raftnodetest.Member
		for _, m := range c.Members {
			if m != leader {
				down, wrong = wrong, m
			}
		}
		c.Kill(down.Name)
		corrupt(wrong)
		write(t, c, "behind the fault")
		c.Eventually("both to tell", func() bool {
			return leader.Node.Status().Problem != "" && wrong.Node.Status().Problem != ""
		})
		require.Contains(t, leader.Node.Status().Problem, "without a third")
		require.True(t, leader.Node.Status().Serving && wrong.Node.Status().Serving)
		c.Restart(down.Name)
		c.Eventually("the wrong node to park", func() bool { return !wrong.Node.Status().Serving })
		write(t, c, fmt.Sprint("at ", time.Now()))
	})
}
