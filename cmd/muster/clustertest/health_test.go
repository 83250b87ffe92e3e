package clustertest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	reflectiongrpc "google.golang.org/grpc/reflection/grpc_reflection_v1"

	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/transport/server"
)

// prober asks the health services of a cluster's nodes, over one connection each.
type prober struct {
	t     *testing.T
	c     *Cluster
	conns map[*Member]healthgrpc.HealthClient
}

// serving are the running members that say SERVING of a service.
func (p *prober) serving(service string) []*Member {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	var out []*Member
	for _, m := range p.c.Running() {
		if p.conns[m] == nil {
			p.conns[m] = healthgrpc.NewHealthClient(p.c.Conn(m))
		}
		r, err := p.conns[m].Check(ctx, &healthgrpc.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
		require.NoError(p.t, err)
		if r.GetStatus() == healthgrpc.HealthCheckResponse_SERVING {
			out = append(out, m)
		}
	}
	return out
}

// A load balancer finds the leader by the health service: it is the one node that serves "muster.v1.leader", through changes of
// the leader, and a node that has lost its majority serves nothing.
func TestHealth_LeaderIsExactlyOne(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		p := &prober{t: t, c: c, conns: map[*Member]healthgrpc.HealthClient{}}
		settled := func(ready int) {
			leader := c.Leader()
			c.Eventually("one leader and readiness on all who can be", func() bool {
				leaders := p.serving(server.LeaderService)
				return len(leaders) == 1 && leaders[0] == leader && len(p.serving("")) == ready
			})
		}
		settled(3)
		first := c.Leader()
		c.Kill(first)
		settled(2)
		c.Start(first)
		settled(3)

		// The leader is cut off; the test still reaches it.
		second := c.Leader()
		for _, m := range c.Members {
			if m != second {
				c.Network.Cut(second.Address, m.Address)
			}
		}
		c.Eventually("the lonely leader to serve nothing, and another one to lead", func() bool {
			leaders := p.serving(server.LeaderService)
			return len(leaders) == 1 && leaders[0] != second && len(p.serving("")) == 2
		})
		c.Heal()
		c.Eventually("all ready again", func() bool {
			return len(p.serving(server.LeaderService)) == 1 && len(p.serving("")) == 3
		})
	})
}

// Tools like grpcurl find the services without the proto files.
func TestReflection_ListsTheServices(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		stream, err := reflectiongrpc.NewServerReflectionClient(c.Conn(c.Members[0])).ServerReflectionInfo(Within(t, Patience))
		require.NoError(t, err)
		require.NoError(t, stream.Send(&reflectiongrpc.ServerReflectionRequest{
			MessageRequest: &reflectiongrpc.ServerReflectionRequest_ListServices{},
		}))
		r, err := stream.Recv()
		require.NoError(t, err)
		require.NoError(t, stream.CloseSend())
		var names []string
		for _, s := range r.GetListServicesResponse().GetService() {
			names = append(names, s.GetName())
		}
		require.Subset(t, names, []string{
			"muster.v1.SystemService", "muster.v1.MemberService", "muster.v1.ClusterService", "grpc.health.v1.Health",
		})
	})
}

// TestHealth_WaitingNode: a node whose disk was lost waits and is not ready; the others are, though they tell of it; brought back it is
// ready, too, and nothing is told any more.
func TestHealth_WaitingNode(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		p := &prober{t: t, c: c, conns: map[*Member]healthgrpc.HealthClient{}}
		leader := c.Leader()
		c.Eventually("readiness", func() bool { return len(p.serving("")) == 3 })
		lost := c.Members[0]
		if lost == leader {
			lost = c.Members[1]
		}
		c.Kill(lost)
		lost.storage = raftnode.MemoryStorage(lost.Name)
		c.Start(lost)
		told := func() bool {
			_, _, alarms := leader.Node.Status()
			return len(alarms) > 0
		}
		c.Eventually("the alarm", told)
		time.Sleep(5 * time.Second)
		ready := p.serving("")
		require.Len(t, ready, 2)
		require.NotContains(t, ready, lost)

		_, err := c.Client().Cluster().RejoinNode(Within(t, Patience), &musterv1.RejoinNodeRequest{Node: lost.Name})
		require.NoError(t, err)
		c.Eventually("readiness", func() bool { return len(p.serving("")) == 3 })
		c.Eventually("no alarm on any node", func() bool {
			for _, m := range c.Members {
				if _, _, alarms := m.Node.Status(); len(alarms) > 0 {
					return false
				}
			}
			return true
		})
		c.RequireConverged()
	})
}
