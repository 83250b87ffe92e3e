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

func TestLeader_NeverASmallerPair(t *testing.T) {
	var l leader
	require.True(t, l.observe(&musterv1.LeaderHint{Address: "n1", Epoch: 5, RaftTerm: 7}))
	require.False(t, l.observe(&musterv1.LeaderHint{Address: "n2", Epoch: 5, RaftTerm: 6}))
	require.False(t, l.observe(&musterv1.LeaderHint{Address: "n2", Epoch: 4, RaftTerm: 9}))
	require.False(t, l.observe(&musterv1.LeaderHint{Epoch: 9, RaftTerm: 9}), "no address")
	require.Equal(t, "n1", l.address())
	l.doubt("n2")
	require.Equal(t, "n1", l.address())
	l.doubt("n1")
	require.Empty(t, l.address())
	require.False(t, l.observe(&musterv1.LeaderHint{Address: "n1", Epoch: 5, RaftTerm: 7}))
	require.Empty(t, l.address(), "somebody else's old word took the doubt back")
	require.True(t, l.observe(&musterv1.LeaderHint{Address: "n3", Epoch: 6, RaftTerm: 1}))
	require.Equal(t, "n3", l.address())
}

// Two nodes disagree: the greater pair wins, and its address, which the client was never told, is learnt and asked.
func TestFindLeader_GreatestPairWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2", "n3")
		f.lead("n1", 5, 7, "n1")
		f.lead("n3", 5, 8, "n2", "n3")
		hint, confirmed := f.client(t, "n1", "n2").findLeader(t.Context(), true)
		require.True(t, confirmed)
		require.Equal(t, "n3", hint.GetAddress())
	})
}

// The last leader is asked first and is believed at once where he still leads; an older leadership than one already seen is
// nobody's.
func TestFindLeader_LastLeaderFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		f.lead("n2", 5, 7, "n1", "n2")
		c := f.client(t, "n1", "n2")
		c.leader.observe(&musterv1.LeaderHint{Address: "n2", Epoch: 5, RaftTerm: 7})
		_, confirmed := c.findLeader(t.Context(), false)
		require.True(t, confirmed)
		require.Zero(t, f.dials["n1"])

		c.leader.observe(&musterv1.LeaderHint{Address: "n1", Epoch: 5, RaftTerm: 9})
		hint, confirmed := c.findLeader(t.Context(), true)
		require.Nil(t, hint)
		require.False(t, confirmed)
	})
}

// A leader that others name but that does not answer is named, not confirmed.
func TestFindLeader_DeadLeaderIsNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.lead("gone", 5, 7, "n1")
		hint, confirmed := f.client(t, "n1").findLeader(t.Context(), true)
		require.Equal(t, "gone", hint.GetAddress())
		require.False(t, confirmed)
	})
}

// The old leader takes calls and answers none, while the others elect: a round does not wait for it.
func TestFindLeader_HungLeaderHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		f.nodes["n1"].hangs.Store(true)
		c := f.client(t, "n1", "n2")
		c.leader.observe(&musterv1.LeaderHint{Address: "n1", Epoch: 1, RaftTerm: 1})
		began := time.Now()
		hint, _ := c.findLeader(t.Context(), true)
		require.Nil(t, hint)
		require.Equal(t, othersTime, time.Since(began))

		f.lead("n2", 1, 2, "n2")
		hint, confirmed := c.findLeader(t.Context(), true)
		require.True(t, confirmed)
		require.Equal(t, "n2", hint.GetAddress())
		require.Equal(t, othersTime+lastWord, time.Since(began))
	})
}

func TestFindLeader_NobodyKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := f.client(t, "n1").Cluster().FindLeader(ctx)
		require.ErrorContains(t, err, "no server knows of a leader")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A refusal that names the leader is followed without a pause, and later calls go there at once.
func TestCall_FollowsTheHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		var asked timeline
		f.nodes["n1"].upsert = func(*musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
			asked.add("n1")
			return nil, rpcstatus.Error(&musterv1.Refusal{
				Reason: musterv1.Reason_REASON_NOT_LEADER, Message: "n2 leads",
				Leader: &musterv1.LeaderHint{Address: "n2", Epoch: 1, RaftTerm: 4},
			})
		}
		f.nodes["n2"].upsert = func(*musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
			asked.add("n2")
			return &musterv1.UpsertWorldResponse{}, nil
		}
		c := f.client(t, "n1")
		began := time.Now()
		for range 2 {
			_, err := c.Cluster().UpsertWorld(t.Context(), upsert("a"))
			require.NoError(t, err)
		}
		require.Equal(t, []string{"n1", "n2", "n2"}, asked.all())
		require.Zero(t, time.Since(began), "virtual time passed: somebody paused")
	})
}

// A call that a hung leader holds goes to the next one as soon as there is one, long before the attempt's time is over.
func TestCall_HungLeaderIsLeftForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		f.lead("n1", 1, 1, "n1", "n2")
		over := make(chan struct{})
		f.nodes["n1"].hangs.Store(true)
		f.nodes["n1"].upsert = func(*musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
			<-over
			return nil, errNotFaked
		}
		f.nodes["n2"].upsert = func(*musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
			return &musterv1.UpsertWorldResponse{Number: 7}, nil
		}
		c := f.client(t, "n1", "n2")
		require.True(t, c.follow(f.nodes["n1"].known()))
		const elected = 500 * time.Millisecond
		time.AfterFunc(elected, func() { f.lead("n2", 1, 2, "n2") })
		began := time.Now()
		answer, err := c.Cluster().UpsertWorld(t.Context(), &musterv1.UpsertWorldRequest{})
		close(over)
		require.NoError(t, err)
		require.Equal(t, uint64(7), answer.GetNumber())
		require.Less(t, time.Since(began), elected+2*longestHang)
	})
}

// A leader whose connection breaks is left at once, and its successor found within milliseconds of its election.
// Pauses are jittered, so it is done many times.
func TestCall_LostLeaderIsLeftAtOnce(t *testing.T) {
	for range 20 {
		synctest.Test(t, loseLeader)
	}
}

func loseLeader(t *testing.T) {
	f := newFakes(t, "n1", "n2", "n3")
	f.lead("n1", 1, 1, "n1", "n2", "n3")
	f.nodes["n1"].upsert = func(*musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
		return nil, status.Error(codes.Unavailable, "gone")
	}
	none := func(*musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
		return nil, rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "nobody leads")
	}
	f.nodes["n3"].upsert = none
	f.nodes["n2"].upsert = func(q *musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
		if f.nodes["n2"].known().GetAddress() != "n2" {
			return none(q)
		}
		return &musterv1.UpsertWorldResponse{Number: 7}, nil
	}
	c := f.client(t, "n1", "n2", "n3")
	require.True(t, c.follow(f.nodes["n1"].known()))
	const elected = 50 * time.Millisecond
	time.AfterFunc(elected, func() { f.lead("n2", 1, 2, "n2", "n3") })
	began := time.Now()
	_, err := c.Cluster().UpsertWorld(t.Context(), &musterv1.UpsertWorldRequest{})
	require.NoError(t, err)
	require.Less(t, time.Since(began), elected+elected/2)
}
