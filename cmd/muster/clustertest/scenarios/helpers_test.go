package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	"muster/cmd/muster/node"
	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/client"
)

func soon(t *testing.T) context.Context { return clustertest.Within(t, clustertest.Patience) }

// tenfold plays a scenario of the original with its expiry and eviction times (0 = never).
func tenfold(t *testing.T, expiry, eviction time.Duration, test func(t *testing.T, c *clustertest.Cluster)) {
	t.Helper()
	t.Parallel()
	clustertest.Bubble(t, func(cfg *node.Config) { cfg.Settings = tenfoldSettings(expiry, eviction) }, test)
}

func tenfoldSettings(expiry, eviction time.Duration) *musterv1.Settings {
	s := fsm.DefaultSettings()
	lease := 10 * expiry
	s.Timeouts.LeaseNs, s.Timeouts.DeliveryNs = int64(lease), int64(lease)
	s.Timeouts.ReportIntervalNs = int64(lease / 5)
	s.Timeouts.EvictionNs = int64(10 * eviction)
	if eviction == 0 {
		s.Timeouts.EvictionNs = fsm.Never
	}
	return s
}

// joinMute makes somebody a member who then says nothing, and does nothing that is asked.
func joinMute(t *testing.T, c *clustertest.Cluster, j *musterv1.JoinRequest) *musterv1.JoinResponse {
	t.Helper()
	if j.Key == "" {
		j.Key = fmt.Sprint("mute-", j.Rank)
	}
	j.Nonce, j.Machine = clustertest.Sixteen(j.Key), "mute"
	r, err := musterv1grpc.NewMemberServiceClient(c.Conn(c.Leader())).Join(soon(t), j)
	require.NoError(t, err)
	return r
}

// joinWith is Client.Join of whom key names, from that network address.
func joinWith(t *testing.T, c *clustertest.Cluster, key string, cfg client.MemberConfig) *client.Member {
	t.Helper()
	cfg.Key, cfg.Machine = key, key
	m, err := c.ClientAt(key).Join(soon(t), cfg)
	require.NoError(t, err)
	return m
}

// upsert creates a world of that shape whose procs live in their hosts or join by themselves.
func upsert(t *testing.T, cl *client.Client, world string, perHost uint32, dims ...uint32) *musterv1.UpsertWorldResponse {
	t.Helper()
	r, err := cl.Cluster().UpsertWorld(soon(t), specOf(world, perHost, dims...))
	require.NoError(t, err)
	return r
}

func specOf(world string, perHost uint32, dims ...uint32) *musterv1.UpsertWorldRequest {
	return &musterv1.UpsertWorldRequest{Spec: &musterv1.WorldSpec{World: world, Shape: &musterv1.Shape{Dims: dims}, ProcsPerHost: perHost}}
}

// living is a view of the worlds that live and match.
func living(t *testing.T, cl *client.Client, filter *musterv1.ViewRequest) []*musterv1.WorldView {
	t.Helper()
	v, err := cl.Cluster().ViewAll(soon(t), filter)
	require.NoError(t, err)
	return v.Worlds
}

// onlyWorld is the one world that lives.
func onlyWorld(t *testing.T, cl *client.Client) *musterv1.WorldView {
	t.Helper()
	worlds := living(t, cl, &musterv1.ViewRequest{})
	require.Len(t, worlds, 1)
	return worlds[0]
}

// becomes waits for a status that takes its time.
func becomes(c *clustertest.Cluster, cl *client.Client, world string, want musterv1.Status) {
	c.InTheEnd(250*time.Millisecond, fmt.Sprintf("%s to be %v", world, want), func() bool { return clustertest.StatusOf(c, cl, world) == want })
}

func supervision(t *testing.T, cl *client.Client, world string) *musterv1.WorldSupervisionResponse {
	t.Helper()
	r, err := cl.Cluster().WorldSupervision(soon(t), &musterv1.WorldSupervisionRequest{World: world})
	require.NoError(t, err)
	return r
}

// members are the ranks of one role that a world shows.
func members(w *musterv1.WorldView, role musterv1.Role) []uint32 {
	var ranks []uint32
	for _, p := range w.Procs {
		if p.Proc.Role == role {
			ranks = append(ranks, p.Proc.Rank)
		}
	}
	return ranks
}

func workers(w *musterv1.WorldView) []uint32 { return members(w, musterv1.Role_ROLE_WORKER) }

func hosts(w *musterv1.WorldView) []uint32 { return members(w, musterv1.Role_ROLE_HOST) }

func phase(t *testing.T, c *clustertest.Cluster, cl *client.Client) musterv1.Phase {
	t.Helper()
	return c.View(cl).Phase
}

// answer is a handler that has stopped and aborted so many actors at once.
func answer(stopped, aborted uint32) client.StopFunc {
	return func(context.Context, *musterv1.StopOrder) client.StopOutcome {
		return client.StopOutcome{ActorsStopped: stopped, ActorsAborted: aborted}
	}
}

// refusedFor requires that a call was refused, and why.
func refusedFor(t *testing.T, want musterv1.Reason, err error) *musterv1.Refusal {
	t.Helper()
	require.Error(t, err)
	refusal := client.RefusalOf(err)
	require.Equal(t, want, refusal.GetReason(), "%v", err)
	return refusal
}

// session is one with the leader, opened for these members of this epoch.
func session(t *testing.T, c *clustertest.Cluster, epoch uint64, members ...*musterv1.ProcRef) musterv1grpc.MemberService_SessionClient {
	t.Helper()
	s, err := musterv1grpc.NewMemberServiceClient(c.Conn(c.Leader())).Session(soon(t))
	require.NoError(t, err)
	require.NoError(t, s.Send(helloOf(epoch, members...)))
	return s
}

func helloOf(epoch uint64, members ...*musterv1.ProcRef) *musterv1.SessionRequest {
	h := &musterv1.Hello{Owner: "test", Epoch: epoch}
	for _, p := range members {
		h.Members = append(h.Members, &musterv1.HelloMember{Proc: p})
	}
	return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Hello{Hello: h}}
}

func reportOf(r *musterv1.SessionReport) *musterv1.SessionRequest {
	return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Report{Report: r}}
}

// aliveOf reports one rank of a world.
func aliveOf(seq uint64, world string, rank uint32) *musterv1.SessionRequest {
	return reportOf(&musterv1.SessionReport{Seq: seq, Alive: []*musterv1.RankRuns{{
		World: world, Role: musterv1.Role_ROLE_WORKER, Runs: id.AppendRuns(nil, []uint32{rank}),
	}}})
}

func failureOf(seq uint64, p *musterv1.ProcRef, actor *musterv1.FailedActor) *musterv1.SessionRequest {
	return reportOf(&musterv1.SessionReport{Seq: seq, Reports: []*musterv1.ProcReport{{Proc: p, FailedActors: []*musterv1.FailedActor{actor}}}})
}

func stopResultOf(p *musterv1.ProcRef, operation uint64, stopped uint32) *musterv1.SessionRequest {
	return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_StopResult{StopResult: &musterv1.StopResult{
		Proc: p, Operation: operation, ActorsStopped: stopped,
	}}}
}

// worldNames are those of worlds, in their order.
func worldNames(worlds []*musterv1.WorldView) []string {
	var out []string
	for _, w := range worlds {
		out = append(out, w.World)
	}
	return out
}

// heard is the first event of a kind that a watch was told; nil if none.
func heard(w *clustertest.Watched, kind musterv1.Event_Kind) *musterv1.Event {
	for _, e := range w.Events() {
		if e.Kind == kind {
			return e
		}
	}
	return nil
}
