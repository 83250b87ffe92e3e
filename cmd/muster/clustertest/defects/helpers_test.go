package defects

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/client"
)

const (
	live      = musterv1.Status_STATUS_LIVE
	unhealthy = musterv1.Status_STATUS_UNHEALTHY
	stopping  = musterv1.Status_STATUS_STOPPING
	stopped   = musterv1.Status_STATUS_STOPPED
	failed    = musterv1.Status_STATUS_FAILED

	alive   = musterv1.Health_HEALTH_ALIVE
	expired = musterv1.Health_HEALTH_EXPIRED

	worker = musterv1.Role_ROLE_WORKER
	host   = musterv1.Role_ROLE_HOST
)

func soon(t *testing.T) context.Context { return clustertest.Within(t, clustertest.Patience) }

func reasonOf(err error) musterv1.Reason { return client.RefusalOf(err).GetReason() }

// joinAs is a member that a test says more of than its rank.
func joinAs(t *testing.T, cl *client.Client, world string, rank uint32, change func(*client.MemberConfig)) *client.Member {
	t.Helper()
	cfg := client.MemberConfig{World: world, Rank: rank, Key: "key", Machine: "machine"}
	change(&cfg)
	m, err := cl.Join(soon(t), cfg)
	require.NoError(t, err)
	return m
}

// mortal is a member in a process of its own; die ends that without a word.
func mortal(t *testing.T, c *clustertest.Cluster, world string, rank uint32, change func(*client.MemberConfig)) (m *client.Member, die func()) {
	t.Helper()
	process := c.Client()
	return joinAs(t, process, world, rank, change), func() { require.NoError(t, process.Close()) }
}

// fails has a member report a failed actor.
func fails(t *testing.T, m *client.Member, actor, cause string) {
	t.Helper()
	require.NoError(t, m.ReportFailure(actor, errors.New(cause)))
}

func asIs(*client.MemberConfig) {}

// upsert asks for a world of a definite shape, changed.
func upsert(t *testing.T, cl *client.Client, world string, n uint32, change func(*musterv1.UpsertWorldRequest)) (*musterv1.UpsertWorldResponse, error) {
	t.Helper()
	u := &musterv1.UpsertWorldRequest{Spec: &musterv1.WorldSpec{
		World: world, Shape: &musterv1.Shape{Dims: []uint32{n}}, ProcsPerHost: 8, Timeouts: &musterv1.Timeouts{},
	}}
	change(u)
	return cl.Cluster().UpsertWorld(soon(t), u)
}

// slow is a Handler that says that it was told to stop, and then takes its time, whatever it is given.
func slow(told chan<- struct{}, d time.Duration) client.Handler {
	return client.StopFunc(func(context.Context, *musterv1.StopOrder) client.StopOutcome {
		told <- struct{}{}
		time.Sleep(d)
		return client.StopOutcome{ActorsStopped: 1}
	})
}

func stop(t *testing.T, cl *client.Client, timeout time.Duration, worlds ...string) *musterv1.StopResponse {
	t.Helper()
	r, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Worlds: worlds, Everything: len(worlds) == 0, ProcTimeoutNs: int64(timeout)})
	require.NoError(t, err)
	return r
}

func phase(t *testing.T, c *clustertest.Cluster, cl *client.Client) musterv1.Phase {
	t.Helper()
	return c.View(cl).Phase
}

// bareJoin makes a member for whom nothing is said that the test does not say.
func bareJoin(t *testing.T, c *clustertest.Cluster, cl *client.Client, world string, rank uint32, nonce string) *musterv1.JoinResponse {
	t.Helper()
	r, err := membersAt(c, c.Leader()).Join(soon(t), &musterv1.JoinRequest{
		World: world, Rank: rank, Key: "bare", Machine: "bare", Nonce: clustertest.Sixteen(nonce), Issued: c.View(cl).Number,
	})
	require.NoError(t, err)
	return r
}

// session is one with the leader, opened for these members.
func session(t *testing.T, c *clustertest.Cluster, members ...*musterv1.ProcRef) musterv1grpc.MemberService_SessionClient {
	t.Helper()
	leader := c.Leader()
	s, err := membersAt(c, leader).Session(soon(t))
	require.NoError(t, err)
	epoch, _, _ := leader.Node.System().Leading()
	hello := &musterv1.Hello{Owner: "bare", Epoch: epoch}
	for _, p := range members {
		hello.Members = append(hello.Members, &musterv1.HelloMember{Proc: p})
	}
	require.NoError(t, s.Send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Hello{Hello: hello}}))
	return s
}

// verdict waits for what is said to a session's members.
func verdict(t *testing.T, s musterv1grpc.MemberService_SessionClient) *musterv1.Verdict {
	t.Helper()
	for {
		r, err := s.Recv()
		require.NoError(t, err)
		if v := r.GetVerdicts().GetVerdicts(); len(v) > 0 {
			return v[0]
		}
	}
}

func sendStopResult(t *testing.T, s musterv1grpc.MemberService_SessionClient, p *musterv1.ProcRef, operation uint64) {
	t.Helper()
	require.NoError(t, s.Send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_StopResult{
		StopResult: &musterv1.StopResult{Proc: p, Operation: operation},
	}}))
}

// eventsOf are the events of some kinds among those of a watch.
func eventsOf(all []*musterv1.Event, kinds ...musterv1.Event_Kind) []*musterv1.Event {
	var out []*musterv1.Event
	for _, e := range all {
		for _, k := range kinds {
			if e.Kind == k {
				out = append(out, e)
			}
		}
	}
	return out
}

func membersAt(c *clustertest.Cluster, m *clustertest.Member) musterv1grpc.MemberServiceClient {
	return musterv1grpc.NewMemberServiceClient(c.Conn(m))
}

func systemAt(c *clustertest.Cluster, m *clustertest.Member) musterv1grpc.SystemServiceClient {
	return musterv1grpc.NewSystemServiceClient(c.Conn(m))
}

// awaitExpiry waits for the expiry of a member that has just died. It looks when there may be something to see.
func awaitExpiry(c *clustertest.Cluster, cl *client.Client, world string, role musterv1.Role, rank uint32) {
	time.Sleep(9 * time.Second)
	c.Eventually("the expiry", func() bool { return clustertest.ProcOf(c, cl, world, role, rank).GetHealth() == expired })
}
