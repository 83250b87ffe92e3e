package process

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

const (
	// stormPerClient members share a client, and so one connection to each server, as the ranks of one machine might: a process that has a
	// connection to each of three servers for each of 10,000 members runs out of files, of which there may be 20,000.
	stormPerClient = 8
	stormLease     = 20 * time.Second
)

// raced: the race detector watches, with which a session costs many times as much.
var raced bool

// TestReconnectStorm_10000Sessions kills the leader that thousands of members have their sessions with. All come to the next one, none is
// taken for dead, and Raft's own messages get through the crowd: there is no other election than the one. 10,000 come with MUSTER_LONG=1, where the race detector does not watch.
func TestReconnectStorm_10000Sessions(t *testing.T) {
	sessions := 1000
	if os.Getenv("MUSTER_LONG") != "" && !raced {
		sessions = 10000
	}
	// A leader that is dead is found by its broken connections, so the timeout can be so long that a busy machine alone passes it by.
	c := New(t, "--election-timeout", "2s")
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	cluster := c.client.Cluster()
	_, err := cluster.UpsertWorld(ctx, &musterv1.UpsertWorldRequest{Spec: &musterv1.WorldSpec{
		World: "storm", Shape: &musterv1.Shape{Open: true}, OnFailure: musterv1.FailurePolicy_FAILURE_POLICY_KEEP,
		Timeouts: &musterv1.Timeouts{ReportIntervalNs: int64(2 * time.Second), LeaseNs: int64(stormLease), DeliveryNs: int64(stormLease), EvictionNs: -1},
	}})
	require.NoError(t, err)
	members := joinStorm(ctx, t, c, sessions)
	before := make([]uint64, sessions)
	for i, m := range members {
		before[i] = m.Incarnation()
	}
	c.Eventually("all sessions at the leader", func() bool { return attached(c) == sessions })
	term := c.leadingTerm()

	leader := c.Leader()
	leader.Kill()
	killed := time.Now()
	away := members
	c.Eventually("all members back", func() bool {
		var still []*client.Member
		for _, m := range away {
			// A lease from behind the kill is one that the next leader has acknowledged.
			if !m.Lease().After(killed.Add(stormLease)) {
				still = append(still, m)
			}
		}
		away = still
		return len(away) == 0
	})
	t.Logf("all of %d were back %v after the kill", sessions, time.Since(killed).Round(time.Millisecond))
	c.Eventually("all sessions at the next leader", func() bool { return attached(c) == sessions })
	require.Equal(t, term+1, c.leadingTerm(), "there was another election")

	for i, m := range members {
		select {
		case <-m.Done():
			t.Errorf("member %d ended: %v", i, m.Err())
		default:
			require.Equal(t, before[i], m.Incarnation(), "member %d was taken for dead", i)
		}
	}
	view, err := cluster.ViewAll(ctx, &musterv1.ViewRequest{Worlds: []string{"storm"}})
	require.NoError(t, err)
	require.Len(t, view.GetWorlds(), 1)
	require.Len(t, view.Worlds[0].Procs, sessions)
	for _, p := range view.Worlds[0].Procs {
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, p.Health, "%v: %s", p.Proc, p.Cause)
	}
}

// joinStorm has the members join, some at once.
func joinStorm(ctx context.Context, t *testing.T, c *Cluster, n int) []*client.Member {
	t.Helper()
	members := make([]*client.Member, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(128)
	for first := 0; first < n; first += stormPerClient {
		cl := c.Client()
		for i := first; i < min(first+stormPerClient, n); i++ {
			g.Go(func() (err error) {
				members[i], err = cl.Join(ctx, client.MemberConfig{World: "storm", Rank: uint32(i), Key: fmt.Sprintf("storm-%d", i), Machine: "here"})
				return err
			})
		}
	}
	require.NoError(t, g.Wait())
	return members
}

// attached is how many sessions the leader has.
func attached(c *Cluster) int {
	for _, node := range c.Status().GetNodes() {
		if node.GetTermPublished() {
			return int(node.GetSessions())
		}
	}
	return 0
}

// leadingTerm is the leader's.
func (c *Cluster) leadingTerm() (term uint64) {
	c.t.Helper()
	c.Eventually("a leader", func() bool {
		for _, node := range c.Status().GetNodes() {
			if node.GetTermPublished() {
				term = node.GetRaftTerm()
			}
		}
		return term != 0
	})
	return term
}
