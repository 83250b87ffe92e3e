package scenarios

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// A world with hosts is stopped, and one host's procs have all ended when the other's still take their time: the first host is told to end,
// and is done, while the other waits for its procs. The world ends with the last answer, long before any limit, and each target's outcome
// is known.
func TestScenario_Uncovered_StopWithHostsFinishingEarly(t *testing.T) {
	tenfold(t, 10*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		early, late := clustertest.NewAgent(), clustertest.NewAgent()
		late.Linger = true
		early.Join(t, c, "world", "early")
		late.Join(t, c, "world", "late")
		upsert(t, cl, "world", 2, 4)
		c.AwaitStatus(cl, "world", musterv1.Status_STATUS_LIVE)
		operation := clustertest.StopWorld(t, cl, "world")
		c.Eventually("the early host to be done", func() bool { return early.Stops() == 1 })
		time.Sleep(10 * time.Second)
		require.Zero(t, late.Stops())
		require.Equal(t, musterv1.Status_STATUS_STOPPING, clustertest.StatusOf(c, cl, "world"))
		late.Run(2).Exited(&musterv1.Exit{Code: 3})
		time.Sleep(time.Second)
		require.Zero(t, late.Stops(), "one of its procs is still there")
		late.Run(3).Exited(&musterv1.Exit{})
		answered := time.Now()
		op, err := cl.Cluster().WaitStop(soon(t), operation)
		require.NoError(t, err)
		require.Less(t, time.Since(answered), time.Second)
		require.Equal(t, 1, late.Stops())
		require.Len(t, op.Targets, 6)
		for _, target := range op.Targets {
			require.Contains(t, target.Outcome, "stopped")
		}
		require.Equal(t, musterv1.Status_STATUS_STOPPED, clustertest.StatusOf(c, cl, "world"))
	})
}

// A proc that reports and never answers its stop is given up when the time that it was given and the margin are over: the world ends by
// force. Its name is free for another world, which can be stopped as ever, with an end of its own.
func TestScenario_Uncovered_RecreateAfterForcedEviction(t *testing.T) {
	tenfold(t, 2*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		first := upsert(t, cl, "world", 1, 1)
		deaf := joinWith(t, c, "deaf", client.MemberConfig{World: "world", Handler: deafHandler{}})
		asked := time.Now()
		r, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Worlds: []string{"world"}, ProcTimeoutNs: int64(20 * time.Second)})
		require.NoError(t, err)
		op, err := cl.Cluster().WaitStop(soon(t), r.Operation)
		require.NoError(t, err)
		require.Equal(t, "did not answer in time", op.Targets[0].Outcome)
		require.InDelta(t, 25*time.Second, time.Since(asked), float64(time.Second), "what it was given, and the margin of five seconds")
		<-deaf.Done()
		var ended *client.Ended
		require.ErrorAs(t, deaf.Err(), &ended)
		require.Equal(t, musterv1.Status_STATUS_STOPPED, ended.Status)

		_, err = cl.Cluster().UpsertWorld(soon(t), specOf("world", 1, 1))
		refusedFor(t, musterv1.Reason_REASON_WORLD_ENDED, err)
		again := specOf("world", 1, 1)
		again.ReplaceEnded = true
		second, err := cl.Cluster().UpsertWorld(soon(t), again)
		require.NoError(t, err)
		require.Greater(t, second.Generation, first.Generation)
		m := joinWith(t, c, "fresh", client.MemberConfig{World: "world"})
		time.Sleep(30 * time.Second)
		require.Equal(t, musterv1.Status_STATUS_LIVE, clustertest.StatusOf(c, cl, "world"), "no timer of the first stop ends it")
		r2, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Worlds: []string{"world"}})
		require.NoError(t, err)
		require.NotEqual(t, r.Operation, r2.Operation)
		op, err = cl.Cluster().WaitStop(soon(t), r2.Operation)
		require.NoError(t, err)
		require.Equal(t, "stopped", op.Targets[0].Outcome)
		<-m.Done()
		require.ErrorAs(t, m.Err(), new(*client.Stopped))
	})
}

// deafHandler answers no stop as long as its member lives, but goes on reporting.
type deafHandler struct{}

func (deafHandler) Stop(ctx context.Context, _ *musterv1.StopOrder) client.StopOutcome {
	<-ctx.Done()
	time.Sleep(time.Minute)
	return client.StopOutcome{}
}

// The answer to a stop comes when the world has ended for want of it and another has its name. It counts for nothing: neither for the
// world that runs now, nor for the stop of that one.
func TestScenario_Uncovered_LateStopAnswers(t *testing.T) {
	tenfold(t, time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		upsert(t, cl, "world", 1, 1)
		old := joinMute(t, c, &musterv1.JoinRequest{World: "world"})
		r, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Worlds: []string{"world"}, ProcTimeoutNs: 1})
		require.NoError(t, err)
		_, err = cl.Cluster().WaitStop(soon(t), r.Operation)
		require.NoError(t, err)
		again := specOf("world", 1, 1)
		again.ReplaceEnded = true
		_, err = cl.Cluster().UpsertWorld(soon(t), again)
		require.NoError(t, err)
		joinWith(t, c, "fresh", client.MemberConfig{World: "world", Handler: deafHandler{}})

		answers := func(operation uint64) {
			t.Helper()
			stream := session(t, c, old.Epoch, old.Proc)
			require.NoError(t, stream.Send(stopResultOf(old.Proc, operation, 9)))
			for {
				frame, err := stream.Recv()
				require.NoError(t, err)
				for _, v := range frame.GetVerdicts().GetVerdicts() {
					require.Equal(t, musterv1.Verdict_KIND_ENDED, v.Kind)
					require.Equal(t, musterv1.Status_STATUS_STOPPED, v.Status)
				}
				if frame.GetAppliedAnswers() == 1 {
					require.NoError(t, stream.CloseSend())
					return
				}
			}
		}
		answers(r.Operation)
		require.Equal(t, musterv1.Status_STATUS_LIVE, clustertest.StatusOf(c, cl, "world"))
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, clustertest.HealthOf(c, cl, "world", 0))
		r, err = cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Worlds: []string{"world"}})
		require.NoError(t, err)
		answers(r.Operation)
		time.Sleep(2 * time.Second)
		op, err := cl.Cluster().ViewStop(soon(t), r.Operation)
		require.NoError(t, err)
		require.False(t, op.Done)
		require.Len(t, op.Targets, 1)
		require.False(t, op.Targets[0].Done)
		require.Zero(t, op.Targets[0].ActorsStopped)
		require.Equal(t, musterv1.Status_STATUS_STOPPING, clustertest.StatusOf(c, cl, "world"))
	})
}

// While a world stops nobody may join it, as proc or host, or create it; other worlds are as ever. While everything stops nobody may join
// or create anything, and nothing of it is there when the system has stopped. Started again it takes whoever comes.
func TestScenario_Uncovered_JoinsDuringStop(t *testing.T) {
	tenfold(t, 2*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		tries := func(key, world string, host bool) error {
			cfg := client.MemberConfig{World: world, Rank: 1, Key: key, Machine: key}
			if host {
				cfg.Role, cfg.Host = musterv1.Role_ROLE_HOST, clustertest.NewAgent()
			}
			_, err := c.ClientAt(key).Join(soon(t), cfg)
			return err
		}
		upsert(t, cl, "world", 1, 2)
		joinWith(t, c, "deaf", client.MemberConfig{World: "world", Handler: deafHandler{}})
		clustertest.StopWorld(t, cl, "world")
		for _, host := range []bool{false, true} {
			refusedFor(t, musterv1.Reason_REASON_WORLD_STOPPING, tries("late", "world", host))
		}
		_, err := cl.Cluster().UpsertWorld(soon(t), specOf("world", 1, 2))
		refusedFor(t, musterv1.Reason_REASON_WORLD_STOPPING, err)
		require.NoError(t, tries("elsewhere", "other", false))

		r, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Everything: true, ProcTimeoutNs: int64(10 * time.Second)})
		require.NoError(t, err)
		require.Equal(t, musterv1.Phase_PHASE_STOPPING, phase(t, c, cl))
		for _, world := range []string{"other", "third"} {
			for _, host := range []bool{false, true} {
				refusedFor(t, musterv1.Reason_REASON_SYSTEM_STOPPING, tries("late", world, host))
			}
		}
		_, err = cl.Cluster().UpsertWorld(soon(t), specOf("third", 1, 2))
		refusedFor(t, musterv1.Reason_REASON_SYSTEM_STOPPING, err)
		_, err = cl.Cluster().WaitStop(soon(t), r.Operation)
		require.NoError(t, err)
		c.InTheEnd(250*time.Millisecond, "the end", func() bool { return phase(t, c, cl) == musterv1.Phase_PHASE_STOPPED })
		require.Equal(t, []string{"other", "world"}, worldNames(c.View(cl).Worlds), "ended, and nothing else")
		refusedFor(t, musterv1.Reason_REASON_SYSTEM_STOPPING, tries("later", "third", false))

		_, err = cl.Cluster().Start(soon(t), &musterv1.StartRequest{})
		require.NoError(t, err)
		require.NoError(t, tries("again", "third", false))
	})
}
