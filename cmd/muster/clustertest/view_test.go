package clustertest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
)

// TestView_LargePage: a page that is read in several parts, so that it does not hold up what is applied, is one page: each proc once, in
// order, each world once, and the next one goes on behind it.
func TestView_LargePage(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		leader := c.Leader()
		const inA, inB = 1500, 700
		joinRanks(t, c, "a", inA, nobody)
		joinRanks(t, c, "b", inB, nobody)

		view := func(token string) *musterv1.ViewResponse {
			v, err := musterv1grpc.NewSystemServiceClient(c.Conn(leader)).View(Within(t, Patience), &musterv1.ViewRequest{PageSize: 2100, PageToken: token})
			require.NoError(t, err)
			return v
		}
		ranks := func(w *musterv1.WorldView, from, to uint32) {
			t.Helper()
			require.Len(t, w.Procs, int(to-from))
			for i, p := range w.Procs {
				require.Equal(t, from+uint32(i), p.Proc.Rank)
			}
		}
		page := view("")
		require.Len(t, page.Worlds, 2)
		require.Equal(t, "a", page.Worlds[0].World)
		ranks(page.Worlds[0], 0, inA)
		ranks(page.Worlds[1], 0, 2100-inA)
		require.Nil(t, page.Staleness)
		rest := view(page.NextPageToken)
		require.Len(t, rest.Worlds, 1)
		ranks(rest.Worlds[0], 2100-inA, inB)
		require.Empty(t, rest.NextPageToken)
	})
}

// TestExplain_LargeWorld: who is missing of a world that is looked at in several parts is named and counted alike; and what is told of the
// health of its members, more than a page of them, agrees with what is told of the world.
func TestExplain_LargeWorld(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		const ranks, missing = 4200, 4150
		cl := c.Client()
		CreateWorld(t, cl, "w", ranks)
		joinRanks(t, c, "w", ranks, missing)

		e, err := cl.Cluster().Explain(Within(t, Patience), &musterv1.ExplainRequest{World: "w"})
		require.NoError(t, err)
		require.EqualValues(t, 1, e.MissingCount)
		require.Equal(t, []uint32{missing}, slices.Collect(id.Ranks(e.Missing)))

		s, err := cl.Cluster().WorldSupervision(Within(t, Patience), &musterv1.WorldSupervisionRequest{World: "w", All: true})
		require.NoError(t, err)
		require.Len(t, s.Procs, ranks-1)
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, s.Condition.Status)
		s, err = cl.Cluster().WorldSupervision(Within(t, Patience), &musterv1.WorldSupervisionRequest{World: "w"})
		require.NoError(t, err)
		require.Empty(t, s.Procs, "all who are there are well")
	})
}

const nobody = -1

// joinRanks has all ranks below n join a world, save one.
func joinRanks(t *testing.T, c *Cluster, world string, n, save int) {
	t.Helper()
	members := musterv1grpc.NewMemberServiceClient(c.Conn(c.Leader()))
	number := c.View(c.Client()).Number
	g, ctx := errgroup.WithContext(Within(t, Patience))
	g.SetLimit(128)
	for rank := range n {
		if rank == save {
			continue
		}
		g.Go(func() error {
			_, err := members.Join(ctx, &musterv1.JoinRequest{
				World: world, Rank: uint32(rank), Key: "k", Machine: "m", Issued: number,
				Nonce: Sixteen(fmt.Sprintf("%s-%d", world, rank)),
			})
			return err
		})
	}
	require.NoError(t, g.Wait())
}
