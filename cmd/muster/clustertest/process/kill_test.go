package process

import (
	"context"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/transport/client"
)

// TestKillAnyNode_NoAcknowledgedRequestLost kills random nodes at random moments, now and then two at once, while worlds are
// created, labelled, stopped and replaced and members come and go. Whatever was acknowledged is there at the end, nothing is
// there twice, nobody who lived was taken for dead, and all three nodes say the same. Either log store keeps what it said it had. With
// MUSTER_LONG=1 there are more than fifty kills for each.
func TestKillAnyNode_NoAcknowledgedRequestLost(t *testing.T) {
	for store, rounds := range map[raftnode.LogStore]int{raftnode.Bolt: 11, raftnode.WAL: 5} {
		if os.Getenv("MUSTER_LONG") != "" {
			rounds = 45
		}
		t.Run(string(store), func(t *testing.T) { killAnyNode(t, rounds, "--log-store", string(store)) })
	}
}

func killAnyNode(t *testing.T, rounds int, flags ...string) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := New(t, append(flags, "--snapshot-bytes", "50000")...) // small enough that nodes also start from snapshots

	var acked atomic.Int64
	var loads []*load
	var stay [2][]*client.Member
	stop, end := context.WithCancel(context.Background())
	g, stop := errgroup.WithContext(stop)
	t.Cleanup(func() { // behind the closing of the clients, which ends what they wait for
		end()
		_ = g.Wait()
	})
	for id := range 3 {
		l := newLoad(id, c.Client(), &acked, seed)
		loads = append(loads, l)
		g.Go(func() error { return l.until(stop, l.world) })
	}
	for i := range stay {
		l := newLoad(3+i, c.Client(), &acked, seed)
		loads = append(loads, l)
		require.NoError(t, l.createCrew())
		g.Go(func() error { return l.until(stop, l.member(&stay[i])) })
	}

	kills := 0
	for round := 0; round < rounds && stop.Err() == nil; round++ {
		// Only a cluster that does its work again is worth the next kill.
		before := acked.Load()
		c.Eventually("requests to be acknowledged again", func() bool { return acked.Load() > before+20 || stop.Err() != nil })
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond) // the random moment
		victims := random.Perm(len(c.Servers))[:1]
		if round%4 == 3 {
			victims = random.Perm(len(c.Servers))[:2]
		}
		for _, v := range victims {
			c.Servers[v].Kill()
			kills++
		}
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond) // with and without an election in between
		for _, v := range victims {
			c.Servers[v].Start()
		}
	}
	c.WaitReady()
	end()
	require.NoError(t, g.Wait())
	require.GreaterOrEqual(t, kills, rounds)
	t.Logf("%d requests acknowledged over %d kills", acked.Load(), kills)

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	view, err := loads[0].client.Cluster().ViewAll(ctx, &musterv1.ViewRequest{IncludeEnded: true})
	require.NoError(t, err)
	require.NoError(t, compare(view, loads))
	for i, members := range stay {
		require.NotEmpty(t, members)
		for rank, m := range members {
			select {
			case <-m.Done():
				t.Errorf("member %d of load %d ended: %v", rank, i, m.Err())
			default:
				require.Equal(t, loads[3+i].procs[place(loads[3+i], rank)], m.Incarnation(), "it was taken for dead")
			}
		}
	}
	c.RequireConverged()
	nodes := c.Status().GetNodes()
	require.Len(t, nodes, len(c.Servers))
	for _, node := range nodes {
		require.NotZero(t, node.GetSnapshotIndex(), "%s has taken no snapshot", node.GetName())
	}
}
