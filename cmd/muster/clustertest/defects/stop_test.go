package defects

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// D25: to stop everything killed the system when a proc was a member of the world "user", which the stop left out and its procs not. Here
// no name is different: all worlds are stopped, and the proc is told.
func TestDefect_D25_UserIsAnOrdinaryWorld(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "user", 1)
		told := make(chan struct{}, 8)
		joinAs(t, cl, "user", 0, func(m *client.MemberConfig) { m.Handler = slow(told, time.Second) })
		stop(t, cl, 0)
		<-told
		c.Eventually("the end of the system", func() bool { return phase(t, c, cl) == systemStopped })
		require.Equal(t, stopped, clustertest.StatusOf(c, cl, "user"))
	})
}

// D26: the answers of hosts were booked under another name than their questions, so that a world with hosts ended by the clock only. Here
// they count, and the world ends with the last answer.
func TestDefect_D26_AnswersOfHostsCount(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.NewAgent().Join(t, c, "w", "a")
		clustertest.NewAgent().Join(t, c, "w", "b")
		clustertest.CreateGang(t, cl, "w", 2, 1, nil)
		c.AwaitStatus(cl, "w", live)
		began := time.Now()
		v, err := cl.Cluster().WaitStop(soon(t), clustertest.StopWorld(t, cl, "w"))
		require.NoError(t, err)
		require.Less(t, time.Since(began), 2*time.Second, "its deadline is 35 s away")
		require.Len(t, v.Targets, 4)
		for _, target := range v.Targets {
			require.True(t, target.Done)
			require.Contains(t, target.Outcome, "stopped")
		}
		require.Equal(t, stopped, clustertest.StatusOf(c, cl, "w"))
	})
}

// D27: a stop that ran out of time left its notes behind, so that a new world of that name could not be stopped, and a late answer to the
// old stop ended it. Here a stop has a number and is over when its time is: the new world's proc is told, and the old answer is nobody's.
func TestDefect_D27_TimedOutStopIsOver(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		deaf := bareJoin(t, c, cl, "w", 0, "deaf").Proc
		first := stop(t, cl, 2*time.Second, "w").Operation
		time.Sleep(6 * time.Second)
		v, err := cl.Cluster().WaitStop(soon(t), first)
		require.NoError(t, err)
		require.Equal(t, "did not answer in time", v.Targets[0].Outcome)

		_, err = upsert(t, cl, "w", 1, func(u *musterv1.UpsertWorldRequest) { u.ReplaceEnded = true })
		require.NoError(t, err)
		told := make(chan struct{}, 8)
		joinAs(t, cl, "w", 0, func(m *client.MemberConfig) { m.Handler = slow(told, time.Second) })
		sendStopResult(t, session(t, c, deaf), deaf, first)
		time.Sleep(time.Second)
		require.Equal(t, live, clustertest.StatusOf(c, cl, "w"))
		require.NotEqual(t, first, clustertest.StopWorld(t, cl, "w"))
		<-told
		c.AwaitStatus(cl, "w", stopped)
	})
}

// D28: a stop was over when as many had answered as had been asked, whoever they were. Here the answer of an incarnation counts for it
// and for no other, and once.
func TestDefect_D28_OnlyTheAskedCount(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 2)
		a, b := bareJoin(t, c, cl, "w", 0, "a").Proc, bareJoin(t, c, cl, "w", 1, "b").Proc
		other := bareJoin(t, c, cl, "other", 0, "other").Proc
		operation := clustertest.StopWorld(t, cl, "w")
		s := session(t, c, a, b, other)
		answer := func(p *musterv1.ProcRef, operation uint64) { sendStopResult(t, s, p, operation) }
		answer(a, operation)
		answer(a, operation)
		answer(other, operation)
		answer(b, operation-1)
		answer(&musterv1.ProcRef{World: "w", Rank: 1, Incarnation: b.Incarnation - 1}, operation)
		time.Sleep(time.Second)
		v, err := cl.Cluster().ViewStop(soon(t), operation)
		require.NoError(t, err)
		require.Equal(t, []bool{true, false}, []bool{v.Targets[0].Done, v.Targets[1].Done})
		require.Equal(t, stopping, clustertest.StatusOf(c, cl, "w"))
		answer(b, operation)
		c.AwaitStatus(cl, "w", stopped)
	})
}

// D29: the timer of a stop belonged to no stop, so that it ended a world that was made and stopped again before it rang. Here a
// deadline is that of its operation.
func TestDefect_D29_DeadlineOfItsOwnStop(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		clustertest.Join(t, cl, "w", 0)
		began := time.Now()
		stop(t, cl, 10*time.Second, "w") // 15 s at most
		c.AwaitStatus(cl, "w", stopped)
		_, err := upsert(t, cl, "w", 1, func(u *musterv1.UpsertWorldRequest) { u.ReplaceEnded = true })
		require.NoError(t, err)
		joinAs(t, cl, "w", 0, func(m *client.MemberConfig) { m.Handler = slow(make(chan struct{}, 8), 30*time.Second) })
		operation := stop(t, cl, time.Minute, "w").Operation
		time.Sleep(25 * time.Second)
		require.Equal(t, stopping, clustertest.StatusOf(c, cl, "w"))
		v, err := cl.Cluster().WaitStop(soon(t), operation)
		require.NoError(t, err)
		require.Equal(t, "stopped", v.Targets[0].Outcome)
		require.Greater(t, time.Since(began), 30*time.Second)
	})
}

// D30: a world without procs had nobody to answer, and so stayed until the clock ended it. Here it ends at once.
func TestDefect_D30_NobodyToWaitFor(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 3)
		r := stop(t, cl, time.Minute, "w")
		require.Equal(t, musterv1.WorldStop_RESULT_ENDED, r.Worlds[0].Result)
		require.Equal(t, stopped, clustertest.StatusOf(c, cl, "w"))
	})
}

// D31: a stop took 8 s, whatever time the procs had been given. Here its deadline is that time and a margin: who takes long is waited for,
// and who never answers is not.
func TestDefect_D31_DeadlineFollowsProcTimeout(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		for world, one := range map[string]struct {
			takes, given, least, most time.Duration
			outcome                   string
		}{
			"long": {40 * time.Second, time.Minute, 40 * time.Second, 42 * time.Second, "stopped"},
			"deaf": {40 * time.Second, time.Second, 6 * time.Second, 7 * time.Second, "did not answer in time"},
		} {
			clustertest.CreateWorld(t, cl, world, 1)
			joinAs(t, cl, world, 0, func(m *client.MemberConfig) { m.Handler = slow(make(chan struct{}, 8), one.takes) })
			began := time.Now()
			v, err := cl.Cluster().WaitStop(soon(t), stop(t, cl, one.given, world).Operation)
			require.NoError(t, err)
			require.Equal(t, one.outcome, v.Targets[0].Outcome)
			require.GreaterOrEqual(t, time.Since(began), one.least, world)
			require.Less(t, time.Since(began), one.most, world)
		}
	})
}

// D32: that a stop had begun was all that was ever said of it; worlds that did not exist were passed over, and how many actors had ended
// went into a log. Here each world has a result, and what became of each proc and its actors can be read and waited for.
func TestDefect_D32_StopTellsWhatCameOfIt(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		for _, world := range []string{"w", "begun", "ended"} {
			clustertest.CreateWorld(t, cl, world, 2)
		}
		joinAs(t, cl, "w", 0, func(m *client.MemberConfig) { m.Handler = slow(make(chan struct{}, 8), time.Second) })
		leaver := bareJoin(t, c, cl, "w", 1, "leaver").Proc
		bareJoin(t, c, cl, "begun", 0, "begun")
		begun := stop(t, cl, 0, "begun").Operation
		stop(t, cl, 0, "ended")
		r := stop(t, cl, 0, "w", "begun", "ended", "nothing")
		var results []musterv1.WorldStop_Result
		for _, w := range r.Worlds {
			results = append(results, w.Result)
		}
		require.Equal(t, []musterv1.WorldStop_Result{
			musterv1.WorldStop_RESULT_STOPPING, musterv1.WorldStop_RESULT_STOPPING,
			musterv1.WorldStop_RESULT_ALREADY_ENDED, musterv1.WorldStop_RESULT_UNKNOWN,
		}, results)
		require.Equal(t, begun, r.Worlds[1].Operation)
		_, err := membersAt(c, c.Leader()).Leave(soon(t), &musterv1.LeaveRequest{Proc: leaver})
		require.NoError(t, err)
		v, err := cl.Cluster().WaitStop(soon(t), r.Operation)
		require.NoError(t, err)
		require.Equal(t, []string{"stopped", "left"}, []string{v.Targets[0].Outcome, v.Targets[1].Outcome})
		require.Equal(t, uint32(1), v.Targets[0].ActorsStopped)
	})
}
