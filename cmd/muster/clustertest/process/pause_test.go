package process

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// TestPausedLeader_ExpiresNobody: a leader that hangs for longer than a lease is replaced, requests go on, members report to the new one, and
// when the old one wakes up it follows, and nothing that it still believes or has in hand expires anybody. Then all three hang for as long:
// nobody could have been heard, and nobody is charged for it.
func TestPausedLeader_ExpiresNobody(t *testing.T) {
	c := New(t, "--report-interval", "250ms", "--lease", "3s", "--grace", "1s")
	const longer = 3500 * time.Millisecond // than a lease
	l := newLoad(0, c.Client(), new(atomic.Int64), rand.Uint64())
	require.NoError(t, l.createCrew())
	var members []*client.Member // fewer than the brake would hold back
	for rank := range uint32(4) {
		m, err := l.join(rank)
		require.NoError(t, err)
		require.Less(t, time.Duration(m.Timeouts().GetLeaseNs()), longer)
		members = append(members, m)
	}
	requireNobodyExpired := func() {
		t.Helper()
		for rank, m := range members {
			require.NoError(t, m.Err())
			require.Equal(t, l.procs[place(l, rank)], m.Incarnation(), "rank %d was taken for dead, and came back", rank)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		view, err := l.client.Cluster().ViewAll(ctx, &musterv1.ViewRequest{IncludeEnded: true})
		require.NoError(t, err)
		require.NoError(t, compare(view, []*load{l})) // all Alive as the incarnations that they were
	}
	clock := func() time.Duration {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		view, err := l.client.Cluster().View(ctx, &musterv1.ViewRequest{})
		require.NoError(t, err)
		return time.Duration(view.GetClockNs())
	}
	require.NoError(t, l.world(1))

	old := c.Leader()
	before := clock()
	old.Pause()
	require.NoError(t, l.world(2))
	require.NotEqual(t, old.Name, c.Leader().Name)
	require.NoError(t, l.world(3))
	c.Eventually("whoever had stayed with it to expire", func() bool { return clock() > before+longer })
	requireNobodyExpired()
	old.Continue()
	c.WaitReady()
	c.Eventually("the old leader to follow", func() bool {
		for i, node := range c.Status().GetNodes() {
			if c.Servers[i] == old {
				return node.GetRole() == musterv1.NodeStatus_NODE_ROLE_FOLLOWER
			}
		}
		return false
	})
	require.NoError(t, l.world(4))
	requireNobodyExpired()

	before = clock()
	began := time.Now()
	for _, s := range c.Servers {
		s.Pause()
	}
	time.Sleep(longer)
	for _, s := range c.Servers {
		s.Continue()
	}
	c.WaitReady()
	require.NoError(t, l.world(5))
	charged := clock() - before
	require.Less(t, charged, time.Since(began)-longer/2, "the pause was charged")
	c.Eventually("a report of each behind it", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		view, err := l.client.Cluster().View(ctx, &musterv1.ViewRequest{Worlds: []string{l.crew()}})
		if err != nil || len(view.GetWorlds()) != 1 {
			return false
		}
		for _, p := range view.Worlds[0].Procs {
			if time.Duration(view.ClockNs-p.ReportAgeNs) < before+charged {
				return false
			}
		}
		return true
	})
	requireNobodyExpired()
	c.RequireConverged()
}
