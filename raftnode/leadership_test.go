package raftnode_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/raftnode/raftnodetest"
	"muster/transport/client"
)

// TestLeadership_LostAndWonUnseen: a node that learns of a leadership only when it has lost and won another takes the two for two: what began in
// the first ends with it, and is not sealed in the second.
func TestLeadership_LostAndWonUnseen(t *testing.T) {
	var blind atomic.Bool // from its next term on
	var held chan *raftnode.Term
	var look chan struct{}
	configure := func(rc *raftnode.Config) {
		raftnode.BeforeLook(rc, func(t *raftnode.Term) {
			if t != nil && t.Context().Err() == nil && blind.CompareAndSwap(true, false) {
				held <- t
				<-look
			}
		})
	}
	inCluster(t, raftnodetest.Config{Configure: configure}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "before")
		settle()
		leader := c.Leader()
		held, look = make(chan *raftnode.Term), make(chan struct{})
		blind.Store(true)
		leader.Term().Renew() // so that it looks
		old := <-held
		see := sync.OnceFunc(func() { close(look) })
		defer see()
		stepDown(t, c, leader)
		trans := dialRaft(t, c, leader)
		defer trans.Close()
		defer trans.CloseStreams()
		s := leader.Node.Status()
		header := raft.RPCHeader{ProtocolVersion: 3, ID: []byte(s.ServerID), Addr: []byte("elsewhere")}
		require.NoError(t, trans.TimeoutNow(raftID(s.ServerID), raftAddress(leader.Address), &raft.TimeoutNowRequest{RPCHeader: header}, &raft.TimeoutNowResponse{}))
		c.Eventually("it to lead again", func() bool { return leads(leader) && leader.Node.Status().Term > s.Term })
		require.NoError(t, old.Context().Err(), "nobody has told it")
		_, err := old.Propose(t.Context(), line("of the old term"))
		require.ErrorIs(t, err, raftnode.ErrNotApplied, "it is sealed in the old term, and dropped")
		see()
		c.Eventually("another term", func() bool { return leader.Term() != nil && leader.Term().Number() > old.Number() })
		require.ErrorIs(t, context.Cause(old.Context()), raftnode.ErrNotLeader)
		_, err = old.Propose(t.Context(), line("of the old term"))
		require.ErrorIs(t, err, raftnode.ErrNotLeader)
		write(t, c, "after")
		c.RequireConverged()
	})
}

// TestLeadership_LostAndWon1000Times: leadership of a whole cluster is lost and won again, by another node, or by the same one within a moment,
// while clients write and sessions report. No term outlives its leadership, nothing is lost or done twice, nobody expires, and nothing is left
// behind. It does 1000 rounds with MUSTER_LONG=1, which take a minute, and 100 otherwise.
func TestLeadership_LostAndWon1000Times(t *testing.T) {
	rounds := 100
	if os.Getenv("MUSTER_LONG") != "" {
		rounds = 1000
	}
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 3)
		var members []*client.Member
		var incarnations []uint64
		for rank := range uint32(3) {
			m := clustertest.Join(t, cl, "w", rank)
			members, incarnations = append(members, m), append(incarnations, m.Incarnation())
		}
		writing, stop := context.WithCancel(context.Background())
		var writers sync.WaitGroup
		defer writers.Wait()
		defer stop()
		written := make([]int, 2)
		for i := range written {
			cl := c.Client()
			writers.Go(func() { written[i] = label(t, writing, cl.Cluster(), fmt.Sprint("writer-", i)) })
		}

		const warm = 12 // until every node has led, and everybody has talked with everybody
		for i := range warm {
			loseAndWin(t, c, i)
		}
		time.Sleep(5 * time.Second)
		before, beats := runtime.NumGoroutine(), acks(c)
		for i := range rounds {
			loseAndWin(t, c, i)
		}
		time.Sleep(5 * time.Second)
		require.Less(t, runtime.NumGoroutine(), before+rounds/2, "one that is left per leadership would be %d", rounds)
		require.Greater(t, acks(c), beats, "reports were taken")

		stop()
		writers.Wait()
		for i, n := range written {
			require.Greater(t, n, rounds/2, "writer %d", i)
		}
		for i, m := range members {
			require.NoError(t, m.Err())
			require.Equal(t, incarnations[i], m.Incarnation(), "rank %d joined anew", i)
		}
		for _, m := range c.Members {
			require.Zero(t, m.Node.System().Stats().Expired)
		}
		require.Equal(t, musterv1.Status_STATUS_LIVE, clustertest.StatusOf(c, cl, "w"))
		c.RequireConverged()
	})
}

// label adds labels to worlds of its own, one by one, each only if the labels are as it left them: one that is added twice is refused or
// changes nothing, and so does one behind a lost one. It returns how many there were.
func label(t *testing.T, ctx context.Context, cluster *client.Cluster, name string) int {
	const perWorld = 50
	var spec *musterv1.WorldSpec
	var revision uint64
	n := 0
	for ; ctx.Err() == nil; n++ {
		if n%perWorld == 0 {
			spec = &musterv1.WorldSpec{World: fmt.Sprint(name, "-", n/perWorld), Shape: &musterv1.Shape{Dims: []uint32{1}}, ProcsPerHost: 1}
			revision = 0
		}
		limited, cancel := context.WithTimeout(context.Background(), clustertest.Patience)
		answer, err := cluster.UpsertWorld(limited, &musterv1.UpsertWorldRequest{
			Spec: spec, Labels: []*musterv1.Label{{Key: fmt.Sprint("n", n), Value: "added"}}, LabelRevision: revision,
		})
		cancel()
		if err != nil || !answer.GetChanged() || answer.GetLabelRevision() <= revision {
			t.Errorf("write %d of %s at %d: %v, %v", n, name, revision, answer, err)
			return n
		}
		revision = answer.GetLabelRevision()
		time.Sleep(50 * time.Millisecond)
	}
	return n
}

// acks is how far cluster time has come: it goes on with what is sealed.
func acks(c *clustertest.Cluster) int64 {
	_, state, _ := c.Leader().Node.Status()
	return state.GetClockNs()
}

// loseAndWin has the leader lose its leadership in one of some ways and waits for the next one, which may be its own.
func loseAndWin(t *testing.T, c *clustertest.Cluster, round int) {
	t.Helper()
	leader := c.Leader()
	_, term, _ := leader.Node.System().Leading()
	old := leader.Node.System().TermContext()
	switch round % 5 {
	case 0, 1: // the same node at once, and again before it has looked
		bounce(t, c, leader, 1+round%5)
	case 2: // to another, in order
		if err := leader.Node.TransferLeadership(clustertest.Within(t, 10*time.Second), ""); err != nil {
			require.ErrorIs(t, err, raftnode.ErrNotLeader) // it bounces still
		}
	case 3: // to whoever notices first
		bounce(t, c, leader, 0)
	case 4: // to another, by force, and straight back
		bounce(t, c, c.Members[round/5%3], 1)
		bounce(t, c, leader, 1)
	}
	c.Eventually("another leadership", func() bool {
		next := c.Leader()
		_, now, ok := next.Node.System().Leading()
		return ok && now > term
	})
	c.Eventually("the end of the old term, on whoever had it", func() bool {
		for _, m := range c.Members {
			if _, now, ok := m.Node.System().Leading(); ok && now <= term {
				return false
			}
		}
		return old.Err() != nil
	})
	time.Sleep(time.Duration(round%7) * 10 * time.Millisecond)
}

// bounce makes a node follow, if it leads, by a vote request of a later term, and then stand again at once, as often as is said.
func bounce(t *testing.T, c *clustertest.Cluster, m *clustertest.Member, again int) {
	t.Helper()
	s, _, _ := m.Node.Status()
	trans := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: &intruder{c: &raftnodetest.Cluster{Network: c.Network}, cluster: m.Node.ClusterID(), closed: make(chan struct{})}, MaxPool: 1, Timeout: time.Second,
		Logger: hclog.NewNullLogger(), MsgpackUseNewTimeFormat: true,
	})
	defer trans.Close()
	defer trans.CloseStreams()
	id, address := raft.ServerID(s.ServerId), raft.ServerAddress(m.Address)
	header := raft.RPCHeader{ProtocolVersion: 3, ID: []byte(s.ServerId), Addr: []byte("elsewhere")}
	down := func() {
		s, _, _ := m.Node.Status()
		var vote raft.RequestVoteResponse
		require.NoError(t, trans.RequestVote(id, address, &raft.RequestVoteRequest{
			RPCHeader: header, Term: s.RaftTerm + 1, LastLogIndex: 1, LastLogTerm: 1, LeadershipTransfer: true,
		}, &vote))
		require.False(t, vote.Granted)
	}
	down()
	for i := range again {
		if i > 0 {
			down()
		}
		var stands raft.TimeoutNowResponse
		require.NoError(t, trans.TimeoutNow(id, address, &raft.TimeoutNowRequest{RPCHeader: header}, &stands))
		if i+1 < again {
			c.Eventually("it to lead", func() bool { return m.Node.Elected() })
		}
	}
}
