package client

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

// fakeVerbs are the operator's verbs of a fakeNode beside those that it has itself; what is nil is refused.
type fakeVerbs struct {
	restart  func(*musterv1.RestartRequest) (*musterv1.RestartResponse, error)
	remove   func(*musterv1.DeleteWorldRequest) (*musterv1.DeleteWorldResponse, error)
	start    func(*musterv1.StartRequest) (*musterv1.StartResponse, error)
	viewStop func(*musterv1.ViewStopRequest) (*musterv1.ViewStopResponse, error)
	explain  func(*musterv1.ExplainRequest) (*musterv1.ExplainResponse, error)
}

func faked[Q, A any](verb func(Q) (A, error), req Q) (A, error) {
	if verb == nil {
		var none A
		return none, errNotFaked
	}
	return verb(req)
}

func (n *fakeNode) Restart(_ context.Context, req *musterv1.RestartRequest) (*musterv1.RestartResponse, error) {
	return faked(n.restart, req)
}

func (n *fakeNode) DeleteWorld(_ context.Context, req *musterv1.DeleteWorldRequest) (*musterv1.DeleteWorldResponse, error) {
	return faked(n.remove, req)
}

func (n *fakeNode) Start(_ context.Context, req *musterv1.StartRequest) (*musterv1.StartResponse, error) {
	return faked(n.start, req)
}

func (n *fakeNode) ViewStop(_ context.Context, req *musterv1.ViewStopRequest) (*musterv1.ViewStopResponse, error) {
	return faked(n.viewStop, req)
}

func (n *fakeNode) Explain(_ context.Context, req *musterv1.ExplainRequest) (*musterv1.ExplainResponse, error) {
	return faked(n.explain, req)
}

// twice answers the first attempt as lost, so that there is a second, and remembers what each was.
func twice[Q, A any](seen *[]Q, answer A) func(Q) (A, error) {
	return func(req Q) (A, error) {
		*seen = append(*seen, req)
		if len(*seen) == 1 {
			return answer, rpcstatus.New(musterv1.Reason_REASON_OUTCOME_UNKNOWN, "lost")
		}
		return answer, nil
	}
}

// A second attempt is the same request: same id, and for Start the same execution.
func TestVerbs_RetriesAreOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		var starts []*musterv1.StartRequest
		var restarts []*musterv1.RestartRequest
		var removes []*musterv1.DeleteWorldRequest
		n := f.nodes["n1"]
		n.start = twice(&starts, &musterv1.StartResponse{Number: 5})
		n.restart = twice(&restarts, &musterv1.RestartResponse{Ranks: 2})
		n.remove = twice(&removes, &musterv1.DeleteWorldResponse{Generations: 3})
		c := f.client(t, "n1")

		_, err := c.Cluster().Start(t.Context(), &musterv1.StartRequest{})
		require.NoError(t, err)
		require.Len(t, starts, 2)
		require.Len(t, starts[0].GetExecutionId(), 16)
		require.Equal(t, starts[0].GetExecutionId(), starts[1].GetExecutionId())
		require.Equal(t, starts[0].GetMeta().GetId(), starts[1].GetMeta().GetId())
		require.Equal(t, uint64(5), c.Number())
		_, err = c.Cluster().Start(t.Context(), &musterv1.StartRequest{ExecutionId: "mine"})
		require.NoError(t, err)
		require.Equal(t, "mine", starts[2].GetExecutionId())

		restarted, err := c.Cluster().Restart(t.Context(), &musterv1.RestartRequest{World: "w", Ranks: []uint32{3, 5}})
		require.NoError(t, err)
		require.Equal(t, uint32(2), restarted.GetRanks())
		require.Len(t, restarts[0].GetMeta().GetId(), 16)
		require.Equal(t, restarts[0].GetMeta().GetId(), restarts[1].GetMeta().GetId())

		deleted, err := c.Cluster().DeleteWorld(t.Context(), &musterv1.DeleteWorldRequest{World: "w"})
		require.NoError(t, err)
		require.Equal(t, uint32(3), deleted.GetGenerations())
		require.Equal(t, removes[0].GetMeta().GetId(), removes[1].GetMeta().GetId())
	})
}

func target(rank uint32) *musterv1.StopOutcome {
	return &musterv1.StopOutcome{Proc: &musterv1.ProcRef{World: "w", Rank: rank}, Done: true, Outcome: "stopped"}
}

// Three pages of targets are one answer; an operation that shrinks in between does not keep its reader for ever.
func TestViewStop_ReadsAllPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		pages := [][]*musterv1.StopOutcome{{target(0), target(1)}, {target(2), target(3)}, {target(4)}}
		total := uint32(5)
		f.nodes["n1"].viewStop = func(req *musterv1.ViewStopRequest) (*musterv1.ViewStopResponse, error) {
			require.Equal(t, uint64(12), req.GetOperation())
			page := &musterv1.ViewStopResponse{Reason: "enough", Done: true, Total: total}
			if at := int(req.GetSkip()) / 2; at < len(pages) {
				page.Targets = pages[at]
			}
			return page, nil
		}
		c := f.client(t, "n1").Cluster()
		all, err := c.ViewStop(t.Context(), 12)
		require.NoError(t, err)
		require.Equal(t, "enough", all.GetReason())
		require.Len(t, all.GetTargets(), 5)
		for i, got := range all.GetTargets() {
			require.Equal(t, uint32(i), got.GetProc().GetRank())
		}
		pages, total = pages[:1], 9
		all, err = c.ViewStop(t.Context(), 12)
		require.NoError(t, err)
		require.Len(t, all.GetTargets(), 2)
	})
}

func TestExplain_AsksForWhatItIsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.nodes["n1"].explain = func(req *musterv1.ExplainRequest) (*musterv1.ExplainResponse, error) {
			require.True(t, req.GetOneRank())
			return &musterv1.ExplainResponse{Number: 77, MissingCount: req.GetRank()}, nil
		}
		c := f.client(t, "n1")
		got, err := c.Cluster().Explain(t.Context(), &musterv1.ExplainRequest{World: "w", Rank: 3, OneRank: true})
		require.NoError(t, err)
		require.Equal(t, uint32(3), got.GetMissingCount())
		require.Equal(t, uint64(77), c.Number())
	})
}
