package client

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

func upsert(world string) *musterv1.UpsertWorldRequest {
	return &musterv1.UpsertWorldRequest{Spec: &musterv1.WorldSpec{World: world, Shape: &musterv1.Shape{Open: true}}}
}

// A request fails in every way that allows another attempt, on one node after another; all attempts are one request.
func TestCall_RetriesKeepIDAndIssued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		var seen []*musterv1.RequestMeta
		failures := []error{
			rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "none"),
			rpcstatus.New(musterv1.Reason_REASON_OUTCOME_UNKNOWN, "lost"),
			status.Error(codes.Unavailable, "connection reset"),
			rpcstatus.Error(&musterv1.Refusal{Reason: musterv1.Reason_REASON_FULL, Message: "table", Number: 77}),
		}
		for _, address := range []string{"n1", "n2"} {
			f.nodes[address].upsert = func(req *musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
				seen = append(seen, req.GetMeta())
				if len(seen) <= len(failures) {
					return nil, failures[len(seen)-1]
				}
				return &musterv1.UpsertWorldResponse{Generation: 3, Number: 90}, nil
			}
		}
		c := f.client(t, "n1", "n2")
		c.numbers.observe(42)
		req := upsert("a")
		answer, err := c.Cluster().UpsertWorld(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, uint64(3), answer.GetGeneration())
		require.Nil(t, req.GetMeta(), "the caller's request was changed")
		require.Len(t, seen, 5)
		for _, meta := range seen {
			require.Len(t, meta.GetId(), 16)
			require.Equal(t, seen[0].GetId(), meta.GetId())
			require.Equal(t, uint64(42), meta.GetIssued())
		}
		require.Equal(t, uint64(90), c.Number())
	})
}

// Only attempt: it is asked again under the present number. An attempt of unknown outcome before it: nobody can tell any more.
func TestCall_RequestTooOld(t *testing.T) {
	tooOld := rpcstatus.Error(&musterv1.Refusal{Reason: musterv1.Reason_REASON_REQUEST_TOO_OLD, Message: "too old", Number: 77})
	for _, c := range []struct {
		name    string
		answers []error
		issued  []uint64
		unknown bool
	}{
		{"only attempt", []error{tooOld, nil}, []uint64{0, 77}, false},
		{"behind a definite failure", []error{rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "none"), tooOld, nil}, []uint64{0, 0, 77}, false},
		{"behind an unknown outcome", []error{rpcstatus.New(musterv1.Reason_REASON_OUTCOME_UNKNOWN, "lost"), tooOld}, []uint64{0, 0}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, "n1")
				var issued []uint64
				f.nodes["n1"].upsert = func(req *musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
					issued = append(issued, req.GetMeta().GetIssued())
					return &musterv1.UpsertWorldResponse{}, c.answers[len(issued)-1]
				}
				_, err := f.client(t, "n1").Cluster().UpsertWorld(t.Context(), upsert("a"))
				require.Equal(t, c.issued, issued)
				require.Equal(t, c.unknown, err != nil)
				require.Equal(t, c.unknown, OutcomeUnknown(err))
			})
		})
	}
}

// Whoever has seen no number of the state asks for it before his first request, so that the cluster can tell that request from one that it has
// forgotten, whatever becomes of the first attempt.
func TestCall_FirstRequestOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		views, issued := 0, []uint64{}
		f.nodes["n1"].view = func(*musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
			if views++; views == 1 {
				return nil, rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "none")
			}
			return &musterv1.ViewResponse{Number: 77}, nil
		}
		f.nodes["n1"].upsert = func(req *musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
			issued = append(issued, req.GetMeta().GetIssued())
			if req.GetMeta().GetIssued() < 70 {
				return nil, rpcstatus.Error(&musterv1.Refusal{Reason: musterv1.Reason_REASON_REQUEST_TOO_OLD, Message: "too old", Number: 78})
			}
			if len(issued) == 1 {
				return nil, rpcstatus.New(musterv1.Reason_REASON_OUTCOME_UNKNOWN, "lost")
			}
			return &musterv1.UpsertWorldResponse{Number: 80}, nil
		}
		c := f.client(t, "n1")
		for range 2 {
			_, err := c.Cluster().UpsertWorld(t.Context(), upsert("a"))
			require.NoError(t, err)
		}
		require.Equal(t, []uint64{77, 77, 80}, issued)
		require.Equal(t, 2, views, "who has seen a number does not ask")
	})
}

// A refusal by a rule is an answer: it is not asked again, and it settles what an earlier attempt left open.
func TestCall_RefusalReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		calls := 0
		f.nodes["n1"].upsert = func(*musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
			calls++
			if calls == 1 {
				return nil, rpcstatus.New(musterv1.Reason_REASON_OUTCOME_UNKNOWN, "lost")
			}
			return nil, rpcstatus.New(musterv1.Reason_REASON_CONTRADICTS, "shape is 2, not 3")
		}
		_, err := f.client(t, "n1").Cluster().UpsertWorld(t.Context(), upsert("a"))
		require.Equal(t, musterv1.Reason_REASON_CONTRADICTS, RefusalOf(err).GetReason())
		require.False(t, OutcomeUnknown(err))
		require.Equal(t, 2, calls)
		require.EqualError(t, err, "upsert world: shape is 2, not 3 (after 2 attempts)")
	})
}

func TestCall_NobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakes(t).client(t, "n1", "n2")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := c.Cluster().UpsertWorld(ctx, upsert("a"))
		require.ErrorIs(t, err, ErrNoAnswer)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.False(t, OutcomeUnknown(err), "nothing was sent: %v", err)
		require.ErrorContains(t, err, "upsert world: ")
		require.ErrorContains(t, err, "cannot connect", "why not: %v", err)
	})
}

// The context ends while an answer is out: the error says that nobody knows.
func TestCall_UnknownWhenTimeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.nodes["n1"].upsert = func(*musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
			time.Sleep(time.Minute)
			return &musterv1.UpsertWorldResponse{}, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := f.client(t, "n1").Cluster().UpsertWorld(ctx, upsert("a"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrNoAnswer)
		require.True(t, OutcomeUnknown(err))
	})
}

// A leader that hangs does not hold a call: another server is asked under the same id.
func TestCall_HungLeaderIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		var asked timeline
		f.nodes["n1"].upsert = func(req *musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
			asked.add("%x", req.GetMeta().GetId())
			time.Sleep(time.Minute)
			return nil, errNotFaked
		}
		f.nodes["n2"].upsert = func(req *musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
			asked.add("%x", req.GetMeta().GetId())
			return &musterv1.UpsertWorldResponse{}, nil
		}
		c := f.client(t, "n1", "n2")
		c.leader.observe(&musterv1.LeaderHint{Address: "n1", Epoch: 1, RaftTerm: 1})
		began := time.Now()
		_, err := c.Cluster().UpsertWorld(t.Context(), upsert("a"))
		require.NoError(t, err)
		require.Less(t, time.Since(began), 3*time.Second)
		require.Len(t, asked.all(), 2)
		require.Equal(t, asked.all()[0], asked.all()[1])
	})
}

func TestClose_EndsCallsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakes(t).client(t, "n1")
		failed := make(chan error)
		go func() {
			_, err := c.Cluster().UpsertWorld(context.Background(), upsert("a"))
			failed <- err
		}()
		time.Sleep(time.Second) // virtual: the call is in the middle of its attempts
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-failed, ErrClosed)
		require.NoError(t, c.Close(), "closing twice")
		_, err := c.Join(t.Context(), MemberConfig{World: "a"})
		require.ErrorIs(t, err, ErrClosed)
	})
}

func TestNew_NamesTheField(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "Servers")
	_, err = New(Config{Servers: []string{"a:1", ""}})
	require.ErrorContains(t, err, "Servers[1]")
}
