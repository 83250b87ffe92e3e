package clustertest

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
)

// TestView_LargePage: a page that is read in several parts, so that it does not hold up what is applied, is one page: each proc once, in
// order, each world once, and the next one goes on behind it.
func TestView_LargePage(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		leader := c.Leader()
		members := musterv1grpc.NewMemberServiceClient(c.Conn(leader))
		number := c.View(c.Client()).Number
		g, ctx := errgroup.WithContext(Within(t, Patience))
		g.SetLimit(128)
		const inA, inB = 1500, 700
		for i := range inA + inB {
			q := &musterv1.JoinRequest{
				World: "a", Rank: uint32(i), Key: "k", Machine: "m", Nonce: binary.LittleEndian.AppendUint64(make([]byte, 8), uint64(i)), Issued: number,
			}
			if i >= inA {
				q.World, q.Rank = "b", uint32(i-inA)
			}
			g.Go(func() error {
				_, err := members.Join(ctx, q)
				return err
			})
		}
		require.NoError(t, g.Wait())

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
