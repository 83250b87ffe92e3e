package clustertest

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"muster/cmd/muster/node"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/client"
	"muster/transport/server"
)

// builder breaks the building of terms on some nodes.
type builder struct {
	mu     sync.Mutex
	broken map[string]bool
	tried  map[string][]time.Time
}

func newBuilder() *builder {
	return &builder{broken: map[string]bool{}, tried: map[string][]time.Time{}}
}

func (b *builder) configure(cfg *node.Config) {
	name := cfg.Name
	cfg.Build = func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.tried[name] = append(b.tried[name], time.Now())
		switch {
		case b.broken[name] && name == "n3":
			panic("broken on purpose") // as a fault of the program would be
		case b.broken[name]:
			return errors.New("broken on purpose")
		}
		return nil
	}
}

func (b *builder) set(broken bool, names ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range names {
		b.broken[n] = broken
	}
}

func (b *builder) tries(name string) []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tried[name]
}

func bareTermStarts(m *Member) (n uint32) {
	m.Node.Read(func(s node.StateAt) { n = s.State.BareTermStarts() })
	return n
}

// TestBuild_FailsOnOneNode: a leader that cannot build its term makes room for one that can, later each time, and never stays: in a cluster
// where nothing happens, too, those that could build theirs are not counted.
func TestBuild_FailsOnOneNode(t *testing.T) {
	b := newBuilder()
	Bubble(t, b.configure, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		time.Sleep(10 * time.Second) // all are registered, and there is no deadline: nobody writes anything any more
		first := c.Leader()
		var bad *Member
		for _, m := range c.Members {
			if m != first {
				bad = m
			}
		}
		b.set(true, bad.Name)
		var took []time.Duration
		for i := range 6 {
			leader := c.Leader()
			require.NotEqual(t, bad.Name, leader.Name)
			require.NoError(t, leader.Node.TransferLeadership(Within(t, 10*time.Second), bad.Name))
			c.Eventually("the bad one's turn", func() bool { return len(b.tries(bad.Name)) == i+1 })
			c.Eventually("another leader", func() bool {
				_, _, ok := bad.Node.System().Serving()
				require.False(t, ok, "attempt %d stays", i)
				for _, m := range c.Members {
					if _, _, ok := m.Node.System().Leading(); ok {
						return true
					}
				}
				return false
			})
			took = append(took, time.Since(b.tries(bad.Name)[i]))
			c.Eventually("the heir's mark", func() bool { return bareTermStarts(c.Leader()) < 2 })
			time.Sleep(time.Second)
		}
		require.Less(t, took[0], 200*time.Millisecond, "at once the first time: %v", took)
		require.Greater(t, took[3], 900*time.Millisecond, "behind a pause later: %v", took)
		require.Less(t, took[5], 2*time.Second, "which is bounded: %v", took)
		CreateWorld(t, cl, "v", 1)
		b.set(false, bad.Name)
		require.NoError(t, c.Leader().Node.TransferLeadership(Within(t, 10*time.Second), bad.Name))
		c.Eventually("it to lead", func() bool { return c.Leader() == bad })
		CreateWorld(t, cl, "u", 1)
		c.RequireConverged()
	})
}

// TestBuild_FailsEverywhere: the third leader in a row that cannot build its term stays. It serves reads and says what is wrong, refuses
// changes and sessions with that reason, moves where it is told to, and goes on by itself when the cause is gone, with nobody expired.
func TestBuild_FailsEverywhere(t *testing.T) {
	b := newBuilder()
	Bubble(t, b.configure, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 1)
		m := Join(t, cl, "w", 0)
		incarnation := m.Incarnation()
		time.Sleep(5 * time.Second)
		b.set(true, "n1", "n2", "n3")
		require.NoError(t, c.Leader().Node.TransferLeadership(Within(t, 10*time.Second), ""))
		stays := unbuiltLeader(c)
		_, term, _ := stays.Node.System().Serving()
		require.EqualValues(t, 3, bareTermStarts(stays))
		tried := len(b.tries(stays.Name))
		late := make(chan error, 1)
		go func() { // is sent again until it is taken
			_, err := cl.Cluster().UpsertWorld(t.Context(), &musterv1.UpsertWorldRequest{Spec: &musterv1.WorldSpec{World: "late", Shape: &musterv1.Shape{Open: true}}})
			late <- err
		}()
		time.Sleep(20 * time.Second)
		_, now, serves := stays.Node.System().Serving()
		require.True(t, serves)
		require.Equal(t, term, now, "it stays")
		require.EqualValues(t, 3, bareTermStarts(stays))
		tries := len(b.tries(stays.Name)) - tried
		require.Greater(t, tries, 2, "it goes on trying")
		require.Less(t, tries, 10, "and not too often")

		requireReadable(t, c, cl, stays)
		requireNoWrites(t, c, cl, m)

		// The operator moves it: there it stays, too.
		next := c.Members[0]
		if next == stays {
			next = c.Members[1]
		}
		_, err := cl.Cluster().TransferLeader(Within(t, Patience), &musterv1.TransferLeaderRequest{Node: next.Name})
		require.NoError(t, err)
		c.Eventually("it to stay there", func() bool { return unbuiltLeader(c) == next })
		requireReadable(t, c, cl, next)
		_, term, _ = next.Node.System().Serving()

		b.set(false, "n1", "n2", "n3")
		require.NoError(t, <-late)
		_, now, leads := next.Node.System().Leading()
		require.True(t, leads)
		require.Equal(t, term, now, "without an election")
		require.Zero(t, bareTermStarts(next))
		require.NoError(t, next.Node.System().Unbuilt())
		time.Sleep(20 * time.Second)
		require.Equal(t, incarnation, m.Incarnation())
		require.NoError(t, m.Err())
		require.Equal(t, musterv1.Status_STATUS_LIVE, StatusOf(c, cl, "w"))
		c.RequireConverged()
	})
}

// unbuiltLeader waits for a leader that stays without its term.
func unbuiltLeader(c *Cluster) *Member {
	c.t.Helper()
	var stays *Member
	c.Eventually("a leader that stays", func() bool {
		for _, m := range c.Members {
			if m.Node.System().Unbuilt() != nil {
				stays = m
			}
		}
		return stays != nil
	})
	return stays
}

// requireReadable requires that reads work and say what is wrong.
func requireReadable(t *testing.T, c *Cluster, cl *client.Client, leader *Member) {
	t.Helper()
	require.Equal(t, musterv1.Status_STATUS_LIVE, StatusOf(c, cl, "w"))
	for _, m := range c.Members { // passed on to the leader
		v, err := musterv1grpc.NewSystemServiceClient(c.Conn(m)).View(Within(t, Patience), &musterv1.ViewRequest{})
		require.NoError(t, err)
		require.Len(t, v.Worlds, 1)
		status, err := musterv1grpc.NewClusterServiceClient(c.Conn(m)).Status(Within(t, Patience), &musterv1.StatusRequest{})
		require.NoError(t, err)
		require.Equal(t, leader.Name, status.GetLeader().GetNode())
		require.Len(t, status.Alarms, 1)
		require.Contains(t, status.Alarms[0], "node "+leader.Name)
		require.Contains(t, status.Alarms[0], "broken on purpose")
	}
	e, err := musterv1grpc.NewSystemServiceClient(c.Conn(leader)).Explain(Within(t, Patience), &musterv1.ExplainRequest{World: "w"})
	require.NoError(t, err)
	require.Contains(t, strings.Join(e.Notes, "\n"), "broken on purpose")
	c.Eventually("readiness: reads work on all nodes", func() bool {
		p := &prober{t: t, c: c, conns: map[*Member]healthgrpc.HealthClient{}}
		return len(p.serving("")) == 3 && len(p.serving(server.LeaderService)) == 0
	})
}

// requireNoWrites requires that what would change something is refused everywhere, with the reason.
func requireNoWrites(t *testing.T, c *Cluster, cl *client.Client, m *client.Member) {
	t.Helper()
	refused := func(err error) {
		t.Helper()
		require.Equal(t, musterv1.Reason_REASON_NOT_SERVING, Reason(err), "%v", err)
		require.ErrorContains(t, err, "broken on purpose")
		require.ErrorContains(t, err, "muster cluster transfer-leader")
	}
	for _, n := range c.Members {
		conn := c.Conn(n)
		_, err := musterv1grpc.NewClusterServiceClient(conn).ReleaseAlarm(Within(t, Patience), &musterv1.ReleaseAlarmRequest{Meta: &musterv1.RequestMeta{Id: Sixteen("alarm")}})
		refused(err)
		_, err = musterv1grpc.NewMemberServiceClient(conn).Leave(Within(t, Patience), &musterv1.LeaveRequest{Proc: m.Proc()})
		refused(err)
	}
	leader := unbuiltLeader(c)
	s, err := musterv1grpc.NewMemberServiceClient(c.Conn(leader)).Session(Within(t, Patience))
	require.NoError(t, err)
	_, err = s.Recv()
	refused(err)
	// What the user of a command gets whose patience ends.
	_, err = cl.Cluster().Stop(Within(t, 5*time.Second), &musterv1.StopRequest{Worlds: []string{"w"}})
	require.ErrorContains(t, err, "broken on purpose")
	require.False(t, client.OutcomeUnknown(err))
}
