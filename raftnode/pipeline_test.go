package raftnode_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// jammed is a pipeline that waits with each answer until somebody takes it, as Raft's does.
type jammed struct {
	answers chan raft.AppendFuture
	closed  bool
}

func (*jammed) AppendEntries(*raft.AppendEntriesRequest, *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	return nil, nil
}
func (p *jammed) Consumer() <-chan raft.AppendFuture { return p.answers }
func (p *jammed) Close() error                       { p.closed = true; return nil }

type numbered struct {
	raft.AppendFuture
	n int
}

func TestPipeline_TakesAnswersNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &jammed{answers: make(chan raft.AppendFuture)}
		p := raftnode.NewDrainedPipeline(inner)
		for i := range 5 {
			inner.answers <- numbered{n: i} // a pipeline that is not drained waits here for ever
		}
		for i := range 5 {
			require.Equal(t, i, (<-p.Consumer()).(numbered).n)
		}
		inner.answers <- numbered{n: 5}
		require.NoError(t, p.Close())
		require.True(t, inner.closed)
		require.NoError(t, p.Close())
	})
}

func TestPipeline_OfTheTransportIsDrained(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		layer := &intruder{c: c, cluster: leader.Node.Status().ClusterID, closed: make(chan struct{})}
		trans := raftnode.NewTransport(layer)
		p, err := trans.AppendEntriesPipeline(raftID(leader.Node.Status().ServerID), raftAddress(leader.Address))
		require.NoError(t, err)
		require.Equal(t, "*raftnode.drainedPipeline", fmt.Sprintf("%T", p))
		require.NoError(t, p.Close())
		require.NoError(t, trans.(raft.WithClose).Close())
		_, preVote := trans.(raft.WithPreVote)
		require.True(t, preVote, "hidden, Raft would do without")
	})
}
