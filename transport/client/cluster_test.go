package client

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

func procs(ranks ...uint32) []*musterv1.ProcView {
	var views []*musterv1.ProcView
	for _, rank := range ranks {
		views = append(views, &musterv1.ProcView{
			Proc:   &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank},
			Health: musterv1.Health_HEALTH_ALIVE, Address: "tcp:h:" + string(rune('0'+rank)),
		})
	}
	return views
}

// Three pages, a world over two of them: one answer, each world once.
func TestViewAll_MergesPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		pages := map[string]*musterv1.ViewResponse{
			"":  {Number: 10, NextPageToken: "b", Worlds: []*musterv1.WorldView{{World: "v", Generation: 1}, {World: "w", Generation: 2, Procs: procs(0, 1)}}},
			"b": {Number: 11, NextPageToken: "c", Worlds: []*musterv1.WorldView{{World: "w", Generation: 2, Procs: procs(2)}}},
			"c": {Number: 12, Worlds: []*musterv1.WorldView{{World: "w", Generation: 3, Procs: procs(0)}}},
		}
		f.nodes["n1"].view = func(req *musterv1.ViewRequest) (*musterv1.ViewResponse, error) { return pages[req.GetPageToken()], nil }
		c := f.client(t, "n1")
		all, err := c.Cluster().ViewAll(t.Context(), &musterv1.ViewRequest{})
		require.NoError(t, err)
		require.Equal(t, uint64(10), all.GetNumber())
		require.Empty(t, all.GetNextPageToken())
		require.Len(t, all.GetWorlds(), 3)
		require.Len(t, all.GetWorlds()[1].GetProcs(), 3)
		require.Len(t, all.GetWorlds()[2].GetProcs(), 1)
		require.Equal(t, uint64(12), c.Number())
	})
}

// Rank 2 joins after a while; who asks for its address waits that long and no longer.
func TestAddress_WaitsForTheRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		began := time.Now()
		f.nodes["n1"].view = func(*musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
			world := &musterv1.WorldView{World: "w", Generation: 1, Procs: procs(0, 1)}
			if time.Since(began) > 3*time.Second {
				world.Procs = procs(0, 1, 2)
			}
			return &musterv1.ViewResponse{Worlds: []*musterv1.WorldView{world}}, nil
		}
		c := f.client(t, "n1").Cluster()
		address, err := c.Address(t.Context(), "w", 2)
		require.NoError(t, err)
		require.Equal(t, "tcp:h:2", address)
		require.Less(t, time.Since(began), 4*time.Second)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.Address(ctx, "w", 5)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "w[5]: it has not joined")
	})
}

// What has no request id is sent again after a definite failure only.
func TestRejoinNode_IsNotSentAgainWhenUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		var asked timeline
		f.nodes["n1"].rejoin = func(req *musterv1.RejoinNodeRequest) (*musterv1.RejoinNodeResponse, error) {
			asked.add("%s", req.GetNode())
			if len(asked.all()) == 1 {
				return nil, rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "none")
			}
			return nil, rpcstatus.New(musterv1.Reason_REASON_OUTCOME_UNKNOWN, "lost")
		}
		_, err := f.client(t, "n1").Cluster().RejoinNode(t.Context(), &musterv1.RejoinNodeRequest{Node: "n3"})
		require.Len(t, asked.all(), 2)
		require.True(t, OutcomeUnknown(err))
	})
}
