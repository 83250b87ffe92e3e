package process

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"muster/transport/client"
)

// TestServer_SIGTERM_HandsOver: a leader that is asked to end gives its leadership to another node before it goes, so that nobody
// has to find out by silence; no request fails, no member notices.
func TestServer_SIGTERM_HandsOver(t *testing.T) {
	c := New(t)
	stop, end := context.WithCancel(context.Background())
	g, stop := errgroup.WithContext(stop)
	t.Cleanup(func() {
		end()
		_ = g.Wait()
	})
	var acked atomic.Int64
	seed := rand.Uint64()
	worlds, members := newLoad(0, c.Client(), &acked, seed), newLoad(1, c.Client(), &acked, seed)
	require.NoError(t, members.createCrew())
	var stay []*client.Member
	g.Go(func() error { return worlds.until(stop, worlds.world) })
	g.Go(func() error { return members.until(stop, members.member(&stay)) })
	progress := func() {
		before := acked.Load()
		c.Eventually("requests to be acknowledged", func() bool { return acked.Load() > before+20 || stop.Err() != nil })
	}
	progress()

	for range 2 {
		leader := c.Leader()
		began := map[string]int{} // what the logs said before
		for _, s := range c.Servers {
			began[s.Name] = len(s.Log())
		}
		require.Equal(t, 0, leader.Stop())
		require.Contains(t, leader.Log()[began[leader.Name]:], "stopping: handing over")
		require.NotContains(t, leader.Log()[began[leader.Name]:], "leadership was not handed over")
		heir := c.Leader()
		require.NotEqual(t, leader.Name, heir.Name)
		// Who is handed leadership asks nobody beforehand whether the leader is silent to them, too.
		log := heir.Log()[began[heir.Name]:]
		require.Contains(t, log, "election won")
		require.NotContains(t, log, "pre-vote successful", "%s had to find out by silence", heir.Name)
		progress()
		leader.Start()
		c.WaitReady()
	}
	end()
	require.NoError(t, g.Wait())
	for _, m := range stay {
		require.NoError(t, m.Err())
		require.Equal(t, members.procs[place(members, m.Proc().GetRank())], m.Incarnation())
	}
	c.RequireConverged()
}
