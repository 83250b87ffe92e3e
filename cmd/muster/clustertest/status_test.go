package clustertest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
)

// Whoever compares two nodes by what status says holds digests against each other at the same index: a digest must be of the
// index beside it, however much is applied meanwhile.
func TestStatus_DigestIsOfItsIndex(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		c.Leader()
		const enough, most = 20, 2000 // indexes that were seen, writes
		done, seenEnough := make(chan error, 1), atomic.Bool{}
		go func() {
			var err error
			for i := 0; i < most && err == nil && !seenEnough.Load(); i++ {
				_, err = cl.Cluster().UpsertWorld(t.Context(), &musterv1.UpsertWorldRequest{
					Spec: &musterv1.WorldSpec{World: fmt.Sprint("w", i), Shape: &musterv1.Shape{Open: true}},
				})
			}
			done <- err
		}()
		type shown struct {
			number uint64
			digest string
		}
		seen := map[uint64]shown{}
		for more := true; more; {
			select {
			case err := <-done:
				require.NoError(t, err)
				more = false
			default:
			}
			for _, m := range c.Members {
				s, _, _ := m.Node.Status()
				now := shown{s.Number, s.Digest}
				before, known := seen[s.AppliedIndex]
				if known {
					require.Equal(t, before, now, "at index %d", s.AppliedIndex)
				}
				seen[s.AppliedIndex] = now
			}
			seenEnough.Store(len(seen) > enough)
		}
		require.Greater(t, len(seen), enough)
	})
}

// An answer that the leader was not asked for says which node gave it and how long ago that had heard from a leader; any other answer says
// nothing of the kind. Without a leader, explain says why nothing happens.
func TestStaleReads_TellTheirAge(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		leader := c.Leader()
		_, err := c.Client().Cluster().UpsertWorld(t.Context(), &musterv1.UpsertWorldRequest{
			Spec: &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Open: true}},
		})
		require.NoError(t, err)
		c.RequireConverged()
		at := func(m *Member) musterv1grpc.SystemServiceClient {
			return musterv1grpc.NewSystemServiceClient(c.Conn(m))
		}
		var follower *Member
		for _, m := range c.Members {
			view, err := at(m).View(t.Context(), &musterv1.ViewRequest{Stale: true})
			require.NoError(t, err)
			require.Equal(t, m.Name, view.GetStaleness().GetNode())
			require.Less(t, time.Duration(view.Staleness.AgeNs), time.Second)
			if m == leader {
				require.Zero(t, view.Staleness.AgeNs)
			} else {
				follower = m
			}
			view, err = at(m).View(t.Context(), &musterv1.ViewRequest{})
			require.NoError(t, err)
			require.Nil(t, view.Staleness)
		}
		for _, m := range c.Members {
			if m != follower {
				c.Kill(m)
			}
		}
		time.Sleep(10 * time.Second)
		view, err := at(follower).View(t.Context(), &musterv1.ViewRequest{Stale: true})
		require.NoError(t, err)
		require.InDelta(t, 10, time.Duration(view.GetStaleness().GetAgeNs()).Seconds(), 1)
		explained, err := at(follower).Explain(t.Context(), &musterv1.ExplainRequest{World: "w", Stale: true})
		require.NoError(t, err)
		require.Contains(t, strings.Join(explained.Notes, "\n"), "hears of no leader")
	})
}
