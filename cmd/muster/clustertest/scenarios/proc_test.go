package scenarios

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/client"
)

// A proc joins, and leaves when it is done; then the servers are ended one after the other, in order, and none has anything to complain
// about, also the last one, which has no majority any more.
func TestScenario_Bootstrap(t *testing.T) {
	tenfold(t, 2*time.Second, 2*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		m := joinWith(t, c, "proc", client.MemberConfig{World: "world"})
		require.Equal(t, []uint32{0}, workers(onlyWorld(t, cl)))
		require.NoError(t, m.Leave(soon(t)))
		require.NoError(t, m.Err())
		require.Empty(t, living(t, cl, &musterv1.ViewRequest{}), "nobody is left in a world that nobody created")
		for _, member := range c.Members {
			require.NoError(t, member.Node.Close(soon(t)))
			member.Node = nil
		}
	})
}

// A proc starts fifty seconds before the system does. It goes on trying, and has joined soon after the system is up.
func TestScenario_BootstrapRetry(t *testing.T) {
	tenfold(t, 2*time.Second, 2*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		for _, m := range c.Members {
			c.Kill(m)
		}
		joined := make(chan *client.Member)
		proc := c.ClientAt("proc")
		go func() {
			m, err := proc.Join(soon(t), client.MemberConfig{World: "world", Key: "proc", Machine: "proc"})
			if err != nil {
				t.Error(err)
			}
			joined <- m
		}()
		select {
		case <-joined:
			t.Fatal("it joined what is not there")
		case <-time.After(50 * time.Second):
		}
		for _, m := range c.Members {
			c.Start(m)
		}
		up := time.Now()
		c.Leader()
		m := <-joined
		require.NotNil(t, m)
		require.Less(t, time.Since(up), 10*time.Second)
		p := onlyWorld(t, c.Client()).Procs
		require.Len(t, p, 1)
		require.Equal(t, m.Incarnation(), p[0].Proc.Incarnation)
	})
}

// What a proc tells of itself arrives: first that it is alive, under the ids and at the address that it has joined with, again and again;
// then, when one of its actors fails, exactly that actor with its words, while the proc is as alive as before.
func TestScenario_SupervisionMessageHandling(t *testing.T) {
	tenfold(t, 5*time.Second, 5*time.Second, func(t *testing.T, c *clustertest.Cluster) { // a report each ten seconds
		cl := c.Client()
		upsert(t, cl, "world", 1, 1)
		m := joinWith(t, c, "proc", client.MemberConfig{World: "world", Address: "tcp:proc:1"})
		for range 3 {
			time.Sleep(20 * time.Second)
			r, err := cl.Cluster().WorldSupervision(soon(t), &musterv1.WorldSupervisionRequest{World: "world", All: true})
			require.NoError(t, err)
			require.Len(t, r.Procs, 1)
			p := r.Procs[0]
			require.Equal(t, musterv1.Health_HEALTH_ALIVE, p.Health)
			require.Equal(t, m.Proc().String(), p.Proc.String())
			require.Equal(t, "tcp:proc:1", p.Address)
			require.Empty(t, p.FailedActors)
			require.LessOrEqual(t, p.ReportAgeNs, int64(11*time.Second))
			require.Equal(t, musterv1.Status_STATUS_LIVE, r.Condition.Status)
		}
		require.NoError(t, m.ReportFailure("pinger[3]", errors.New("the ball is lost")))
		becomes(c, cl, "world", musterv1.Status_STATUS_UNHEALTHY)
		r := supervision(t, cl, "world")
		require.Len(t, r.Procs, 1)
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, r.Procs[0].Health)
		require.Equal(t, uint32(1), r.Procs[0].FailedActorCount)
		require.Len(t, r.Procs[0].FailedActors, 1)
		f := r.Procs[0].FailedActors[0]
		require.Equal(t, "pinger", f.Actor)
		require.Equal(t, uint64(3), f.Pid)
		require.Equal(t, "the ball is lost", f.Cause)
		require.Contains(t, r.Condition.Reason, "actor pinger[3] failed: the ball is lost")
	})
}

// As soon as a proc has its answer it is joined for everybody: whichever node is asked, leader or not, the first look finds it alive.
func TestScenario_BindProcActorInBootstrap(t *testing.T) {
	tenfold(t, 2*time.Second, 2*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		m := joinWith(t, c, "proc", client.MemberConfig{World: "world"})
		for _, member := range c.Members {
			v, err := musterv1grpc.NewSystemServiceClient(c.Conn(member)).View(soon(t), &musterv1.ViewRequest{})
			require.NoError(t, err)
			require.Len(t, v.Worlds, 1)
			require.Len(t, v.Worlds[0].Procs, 1)
			require.Equal(t, m.Incarnation(), v.Worlds[0].Procs[0].Proc.Incarnation)
			require.Equal(t, musterv1.Health_HEALTH_ALIVE, v.Worlds[0].Procs[0].Health)
		}
	})
}
