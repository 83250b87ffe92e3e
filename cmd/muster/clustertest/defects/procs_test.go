package defects

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// D65: a proc gave up on itself when a single answer was late, and all did when the system was started again. Here the cluster says how
// long a silence is forgiven, and one of servers ends nobody.
func TestDefect_D65_OutageEndsNobody(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		m := clustertest.Join(t, cl, "w", 0)
		require.Equal(t, int64(2*time.Second), m.Timeouts().ReportIntervalNs)
		require.Equal(t, int64(10*time.Second), m.Timeouts().LeaseNs)
		incarnation := m.Incarnation()
		for _, n := range c.Members {
			c.Kill(n)
		}
		time.Sleep(time.Minute)
		for _, n := range c.Members {
			c.Start(n)
		}
		c.Leader()
		time.Sleep(15 * time.Second)
		require.NoError(t, m.Err())
		require.Equal(t, incarnation, m.Incarnation())
		require.Equal(t, live, clustertest.StatusOf(c, cl, "w"))
	})
}

// D66: a heartbeat that ended with an error counted as one that had arrived. Here a member's lease moves with what is acknowledged, and
// with nothing else.
func TestDefect_D66_OnlyWhatIsAcknowledgedCounts(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		clustertest.CreateWorld(t, c.Client(), "w", 1)
		m := joinAs(t, c.ClientAt("far"), "w", 0, asIs)
		time.Sleep(5 * time.Second)
		before := m.Lease()
		time.Sleep(5 * time.Second)
		require.Greater(t, m.Lease(), before.Add(2*time.Second))
		c.Network.Isolate("far")
		time.Sleep(time.Second) // what was on its way has arrived
		before = m.Lease()
		time.Sleep(30 * time.Second)
		require.Equal(t, before, m.Lease())
		c.Network.Heal()
	})
}

// D67: while a proc waited for an answer it did nothing else, and to report a failure it waited for ever. Here it waits for nothing: a
// failure is noted at once and reported when somebody is there, and who stops goes on reporting.
func TestDefect_D67_WaitingBlocksNothing(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		m := joinAs(t, c.ClientAt("far"), "w", 0, func(m *client.MemberConfig) { m.Handler = slow(make(chan struct{}, 8), 20*time.Second) })
		c.Network.Isolate("far")
		began := time.Now()
		fails(t, m, "loader", "disk gone")
		require.Zero(t, time.Since(began))
		time.Sleep(3 * time.Second)
		c.Network.Heal()
		c.Eventually("the failure", func() bool { return clustertest.ProcOf(c, cl, "w", worker, 0).FailedActorCount == 1 })

		stop(t, cl, time.Minute, "w")
		time.Sleep(15 * time.Second)
		p := clustertest.ProcOf(c, cl, "w", worker, 0)
		require.Equal(t, alive, p.Health)
		require.Less(t, time.Duration(p.ReportAgeNs), 3*time.Second)
		<-m.Done()
	})
}

// D68: one thing that a host could not do, as to start a program that is not there, killed its agent, and it looked expired without a
// reason. Here the rank fails with the reason, the host goes on, and the rank may be started again.
func TestDefect_D68_FailedStartHurtsNobodyElse(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		a := clustertest.NewAgent()
		var there atomic.Bool
		a.Start = func(r *client.Rank) bool {
			if !there.Load() {
				r.Exited(&musterv1.Exit{Code: 127, Failure: "train: no such program"})
			}
			return there.Load()
		}
		a.Join(t, c, "w", "a")
		clustertest.CreateGang(t, cl, "w", 1, 1, func(u *musterv1.UpsertWorldRequest) {
			u.Spec.OnFailure = musterv1.FailurePolicy_FAILURE_POLICY_KEEP
		})
		c.Eventually("the failure", func() bool { return clustertest.HealthOf(c, cl, "w", 0) == musterv1.Health_HEALTH_FAILED })
		require.Contains(t, clustertest.ProcOf(c, cl, "w", worker, 0).Cause, "no such program")
		time.Sleep(15 * time.Second)
		require.Equal(t, alive, clustertest.ProcOf(c, cl, "w", host, 0).Health)
		there.Store(true)
		_, err := cl.Cluster().Restart(soon(t), &musterv1.RestartRequest{World: "w"})
		require.NoError(t, err)
		c.AwaitStatus(cl, "w", live)
	})
}

// D71: a host that had procs within itself waited for each to join, and did not report meanwhile. Here it reports while a start takes its
// time.
func TestDefect_D71_SlowStartFreezesNothing(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		a := clustertest.NewAgent()
		a.At = func(step string) {
			if step == "spawn" {
				time.Sleep(25 * time.Second)
			}
		}
		a.Join(t, c, "w", "a")
		incarnation := a.Member.Incarnation()
		clustertest.CreateWorld(t, cl, "w", 1)
		time.Sleep(20 * time.Second)
		h := clustertest.ProcOf(c, cl, "w", host, 0)
		require.Equal(t, alive, h.Health)
		require.Equal(t, incarnation, h.Proc.Incarnation)
		time.Sleep(6 * time.Second)
		require.Equal(t, live, clustertest.StatusOf(c, cl, "w"))
	})
}

// D72: the pause between heartbeats was anything between nothing and the interval, twice the load that was meant. Here a member
// reports once an interval.
func TestDefect_D72_OneReportAnInterval(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		clustertest.Join(t, cl, "w", 0)
		reports, last := 0, int64(0)
		for range 400 { // 40 s
			time.Sleep(100 * time.Millisecond)
			age := clustertest.ProcOf(c, cl, "w", worker, 0).ReportAgeNs
			if age < last {
				reports++
			}
			last = age
		}
		require.InDelta(t, 20, reports, 2)
	})
}

// D74: nothing told a process from the one before it, so that what the old one said was taken for the new one's word. Here all that is said
// names an incarnation, and the word of an old one changes nothing.
func TestDefect_D74_OldIncarnationsAreNotHeard(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		old := bareJoin(t, c, cl, "w", 0, "old").Proc
		fresh := bareJoin(t, c, cl, "w", 0, "fresh").Proc
		s := session(t, c, old)
		require.Equal(t, musterv1.Verdict_KIND_SUPERSEDED, verdict(t, s).Kind)
		failure := &musterv1.ProcReport{Proc: old, FailedActors: []*musterv1.FailedActor{{Actor: "loader", Cause: "disk gone"}}}
		require.NoError(t, s.Send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Report{
			Report: &musterv1.SessionReport{Seq: 1, Reports: []*musterv1.ProcReport{failure}},
		}}))
		left, err := membersAt(c, c.Leader()).Leave(soon(t), &musterv1.LeaveRequest{Proc: old})
		require.NoError(t, err)
		require.False(t, left.Removed)
		sendStopResult(t, s, old, clustertest.StopWorld(t, cl, "w"))
		time.Sleep(time.Second)
		p := clustertest.ProcOf(c, cl, "w", worker, 0)
		require.Equal(t, fresh.Incarnation, p.Proc.Incarnation)
		require.Equal(t, alive, p.Health)
		require.Empty(t, p.FailedActors)
		require.Equal(t, stopping, clustertest.StatusOf(c, cl, "w"))
	})
}

// D75: a proc waited for ever to be let in, and ended without a word when its request came back. Here a Join has the time that it is given,
// says that nobody answered, and may be tried until there is a system.
func TestDefect_D75_JoinHasATimeout(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		for _, n := range c.Members {
			c.Kill(n)
		}
		began := time.Now()
		_, err := cl.Join(clustertest.Within(t, 5*time.Second), client.MemberConfig{World: "w", Key: "key", Machine: "machine"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.True(t, errors.Is(err, client.ErrNoAnswer), "%v", err)
		require.Equal(t, 5*time.Second, time.Since(began))
		joined := make(chan error, 1)
		go func() {
			_, err := cl.Join(soon(t), client.MemberConfig{World: "w", Key: "key", Machine: "machine"})
			joined <- err
		}()
		time.Sleep(10 * time.Second)
		for _, n := range c.Members {
			c.Start(n)
		}
		require.NoError(t, <-joined)
	})
}
