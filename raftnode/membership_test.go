package raftnode_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// What nodes and their Rafts log.
const (
	byAgreement = "standing for election: a majority agrees that the leader is gone"
	byTimer     = "heartbeat timeout reached, starting election"
	asking      = "asking whether the leader is gone, too"
)

// logbook is what all nodes log.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(p))
	return len(p), nil
}

// with returns the lines with a text, since the last call of clear.
func (b *logbook) with(text string) (found []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lines {
		if strings.Contains(l, text) {
			found = append(found, l)
		}
	}
	return found
}

func (b *logbook) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = nil
}

func (b *logbook) configure(rc *raftnode.Config) {
	rc.Logger = hclog.New(&hclog.LoggerOptions{Name: rc.Name, Level: hclog.Debug, Output: b})
}

// TestMembership_FastFailoverAfterChange: nodes are wiped and come back as other servers, the leader among them, and each time the leader
// that crashes then is replaced by agreement of the present voters, in one election: not by a timer, and without asking who was replaced.
func TestMembership_FastFailoverAfterChange(t *testing.T) {
	book := &logbook{}
	inCluster(t, raftnodetest.Config{Configure: book.configure}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "before")
		gone := map[string]bool{} // servers that were replaced
		for round := range 4 {
			settle()
			leader, others := followers(c)
			wiped := others[round%2]
			if round%3 == 2 { // the leader is the one whose disk is lost
				wiped = leader
			}
			gone[wiped.Node.Status().ServerID] = true
			c.Kill(wiped.Name)
			c.Wipe(wiped.Name)
			c.Restart(wiped.Name)
			c.Eventually("the wiped node to wait", func() bool { return wiped.Node.Status().Role == raftnode.RoleWaiting })
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			_, added, err := c.Leader().Node.Rejoin(ctx, wiped.Name)
			cancel()
			require.NoError(t, err)
			write(t, c, fmt.Sprint("with a replaced node ", round))
			c.RequireConverged()
			settle()

			leader = c.Leader()
			term := leader.Term().Number()
			book.clear()
			c.Kill(leader.Name)
			next := c.Leader()
			require.Len(t, book.with(byAgreement), 1, "round %d", round)
			require.Empty(t, book.with(byTimer), "round %d", round)
			require.Equal(t, term+1, next.Term().Number())
			asked := book.with(asking)
			require.NotEmpty(t, asked)
			for _, l := range asked {
				for id := range gone {
					require.NotContains(t, l, id)
				}
			}
			if leader != wiped { // the new server took part: there are two of three
				took := strings.Join(append(book.with(byAgreement), asked...), "")
				require.True(t, next == wiped || strings.Contains(took, added), "round %d: %s is not in %s", round, added, took)
			}
			write(t, c, fmt.Sprint("after ", round))
			c.Restart(leader.Name)
			c.RequireConverged()
		}
	})
}

// TestMembership_RemovedNodeIsNotAsked: of two voters one alone is no majority, and a server that was removed cannot make it one, though it
// runs and sees the leader's end as well.
func TestMembership_RemovedNodeIsNotAsked(t *testing.T) {
	book := &logbook{}
	inCluster(t, raftnodetest.Config{Configure: book.configure}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "before")
		settle()
		leader, others := followers(c)
		removed, left := others[0], others[1]
		require.NoError(t, leader.Node.Raft().RemoveServer(raftID(removed.Node.Status().ServerID), 0, 0).Error())
		write(t, c, "with two")
		c.Eventually("the voter that is left to know", func() bool { return len(left.Node.Status().Servers) == 2 })
		term := leader.Term().Number()
		book.clear()
		c.Kill(leader.Name)
		never(t, 10*time.Second, "somebody leads without a majority of the voters", func() bool { return leads(removed) || leads(left) })
		require.Empty(t, book.with(byAgreement))
		require.Empty(t, book.with(asking), "there is nobody to ask")
		c.Restart(leader.Name)
		write(t, c, "with both voters again")
		require.NotEqual(t, removed.Name, c.Leader().Name)
		require.Greater(t, c.Leader().Term().Number(), term)
	})
}
