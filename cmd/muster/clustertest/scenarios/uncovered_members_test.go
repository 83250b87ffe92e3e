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

// A host joins again under its name, which ended the original. It is another agent on the same machine: it is admitted with its rank, as a
// new incarnation; the old one learns that it is superseded; what the old one ran has failed, and the new one runs it when somebody asks.
// Its neighbour notices nothing.
func TestScenario_Uncovered_HostRejoin(t *testing.T) {
	tenfold(t, time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		old, neighbour := clustertest.NewAgent().Join(t, c, "world", "a"), clustertest.NewAgent().Join(t, c, "world", "b")
		upsert(t, cl, "world", 2, 4)
		c.AwaitStatus(cl, "world", musterv1.Status_STATUS_LIVE)
		again := clustertest.NewAgent().JoinFrom(t, c, "world", "a", "a2")
		require.Equal(t, old.Member.Proc().Rank, again.Member.Proc().Rank)
		require.Greater(t, again.Member.Incarnation(), old.Member.Incarnation())
		<-old.Member.Done()
		var ended *client.Ended
		require.ErrorAs(t, old.Member.Err(), &ended)
		require.Equal(t, musterv1.Verdict_KIND_SUPERSEDED, ended.Kind)
		require.Equal(t, musterv1.Health_HEALTH_FAILED, clustertest.HealthOf(c, cl, "world", 0))
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, clustertest.HealthOf(c, cl, "world", 2))
		_, err := cl.Cluster().Restart(soon(t), &musterv1.RestartRequest{World: "world"})
		require.NoError(t, err)
		c.AwaitStatus(cl, "world", musterv1.Status_STATUS_LIVE)
		spawned, _, _ := again.Counts()
		require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
		spawned, stopped, killed := neighbour.Counts()
		require.Equal(t, map[uint32]int{2: 1, 3: 1}, spawned)
		require.Empty(t, stopped)
		require.Empty(t, killed)
	})
}

// A proc expires and is started again under its name. The new one is another incarnation, healthy, without its forerunner's failed
// actors; the world is Live again; the old failure is in the world's history. A late word of the old one renews nothing.
func TestScenario_Uncovered_RestartOfExpired(t *testing.T) {
	tenfold(t, time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		upsert(t, cl, "world", 1, 1)
		old := joinWith(t, c, "old", client.MemberConfig{World: "world", Address: "tcp:old:1"})
		require.NoError(t, old.ReportFailure("worker", errors.New("lost")))
		c.AwaitStatus(cl, "world", musterv1.Status_STATUS_UNHEALTHY)
		before := old.Incarnation()
		c.Network.Isolate("old")
		c.InTheEnd(250*time.Millisecond, "the expiry", func() bool { return clustertest.HealthOf(c, cl, "world", 0) == musterv1.Health_HEALTH_EXPIRED })

		fresh := joinWith(t, c, "new", client.MemberConfig{World: "world", Address: "tcp:new:1"})
		require.Greater(t, fresh.Incarnation(), before)
		w := clustertest.WorldOf(c, cl, "world")
		require.Equal(t, musterv1.Status_STATUS_LIVE, w.Condition.Status)
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, w.Procs[0].Health)
		require.Empty(t, w.Procs[0].FailedActors)
		require.Equal(t, "tcp:new:1", w.Procs[0].Address)

		c.Heal()
		<-old.Done()
		var ended *client.Ended
		require.ErrorAs(t, old.Err(), &ended)
		require.Equal(t, musterv1.Verdict_KIND_SUPERSEDED, ended.Kind)
		time.Sleep(15 * time.Second)
		require.Equal(t, fresh.Incarnation(), clustertest.WorldOf(c, cl, "world").Procs[0].Proc.Incarnation)
		require.Equal(t, musterv1.Status_STATUS_LIVE, clustertest.StatusOf(c, cl, "world"))
		history, err := cl.Cluster().History(soon(t), &musterv1.HistoryRequest{World: "world"})
		require.NoError(t, err)
		var superseded string
		for _, e := range history.Generations[0].Events {
			if e.Kind == musterv1.Event_KIND_PROC_SUPERSEDED {
				superseded = e.Text
			}
		}
		require.Contains(t, superseded, "on old, was Expired: silent for longer than its lease of 10s")
	})
}

// A proc that manages the system reports like any other, and so lives for many leases and the system with it, also where nobody has
// created its world. When it leaves in order nothing happens; only when one dies does the system stop, once.
func TestScenario_Uncovered_ManagingSystemHeartbeats(t *testing.T) {
	tenfold(t, time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		upsert(t, cl, "work", 1, 1)
		worker := joinWith(t, c, "worker", client.MemberConfig{World: "work"})
		manager := func(key string) *client.Member {
			return joinWith(t, c, key, client.MemberConfig{World: "manager", Mode: musterv1.Mode_MODE_MANAGING_SYSTEM})
		}
		first := manager("first")
		incarnation := first.Incarnation()
		time.Sleep(60 * time.Second)
		require.NoError(t, first.Err())
		require.Equal(t, incarnation, first.Incarnation())
		require.NoError(t, first.Leave(soon(t)))
		time.Sleep(15 * time.Second)
		require.Equal(t, musterv1.Phase_PHASE_RUNNING, phase(t, c, cl))

		second := manager("second")
		require.NoError(t, second.ReportFailure("controller", errors.New("lost")))
		time.Sleep(5 * time.Second)
		require.Equal(t, musterv1.Phase_PHASE_RUNNING, phase(t, c, cl), "a failed actor alone ends nothing")
		events := clustertest.Watch(t, c.Client(), &musterv1.WatchRequest{Kinds: []musterv1.Event_Kind{musterv1.Event_KIND_STOP_BEGUN}})
		c.Network.Kill("second")
		c.InTheEnd(250*time.Millisecond, "the end", func() bool { return phase(t, c, cl) == musterv1.Phase_PHASE_STOPPED })
		<-worker.Done()
		require.ErrorAs(t, worker.Err(), new(*client.Stopped))
		time.Sleep(30 * time.Second)
		told, _ := events.End()
		require.Len(t, told, 1, "once")
		require.Contains(t, told[0].Text, "manager[0], which manages the system, has expired")
	})
}

// What the network repeats or delivers late changes nothing: the same join again is the same membership; an old one does not come back; a
// report, a leave or a request for what is done already is harmless; messages of an earlier incarnation do nothing to a later one.
func TestScenario_Uncovered_DuplicateReordered(t *testing.T) {
	tenfold(t, time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		upsert(t, cl, "world", 1, 2)
		calls := musterv1grpc.NewMemberServiceClient(c.Conn(c.Leader()))
		join := func(nonce string, issued uint64) (*musterv1.JoinResponse, error) {
			return calls.Join(soon(t), &musterv1.JoinRequest{
				World: "world", Rank: 1, Key: "k", Machine: "m", Nonce: clustertest.Sixteen(nonce), Issued: issued,
			})
		}
		old, err := join("old", 0)
		require.NoError(t, err)
		fresh, err := join("fresh", old.Number)
		require.NoError(t, err)
		again, err := join("fresh", old.Number)
		require.NoError(t, err)
		require.Equal(t, fresh.Proc.Incarnation, again.Proc.Incarnation)
		_, err = join("old", 0)
		refusedFor(t, musterv1.Reason_REASON_STALE, err)

		removed, err := calls.Leave(soon(t), &musterv1.LeaveRequest{Proc: old.Proc})
		require.NoError(t, err)
		require.False(t, removed.Removed, "a leave of the earlier one")
		stream := session(t, c, fresh.Epoch, old.Proc, fresh.Proc)
		hello := helloOf(fresh.Epoch, fresh.Proc)
		for _, m := range []*musterv1.SessionRequest{
			failureOf(1, old.Proc, &musterv1.FailedActor{Actor: "worker", Cause: "of the earlier one"}),
			stopResultOf(old.Proc, 1, 1),
			stopResultOf(fresh.Proc, fresh.Number, 1),
			hello,
			aliveOf(2, "world", 1),
			aliveOf(1, "world", 1),
			aliveOf(2, "world", 1),
			hello,
		} {
			require.NoError(t, stream.Send(m))
		}
		superseded, acked := false, false
		for !superseded || !acked {
			r, err := stream.Recv()
			require.NoError(t, err, "the session goes on")
			acked = acked || r.GetAckedSeq() == 2
			for _, v := range r.GetVerdicts().GetVerdicts() {
				require.Equal(t, old.Proc.String(), v.Proc.String(), "%v", v)
				require.Equal(t, musterv1.Verdict_KIND_SUPERSEDED, v.Kind)
				superseded = true
			}
		}
		p := clustertest.ProcOf(c, cl, "world", musterv1.Role_ROLE_WORKER, 1)
		require.Equal(t, fresh.Proc.Incarnation, p.Proc.Incarnation)
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, p.Health)
		require.Empty(t, p.FailedActors)

		for i, want := range []bool{true, false, false} {
			removed, err := calls.Leave(soon(t), &musterv1.LeaveRequest{Proc: fresh.Proc})
			require.NoError(t, err)
			require.Equal(t, want, removed.Removed, "leave %d", i)
		}
		_, err = join("fresh", old.Number)
		refusedFor(t, musterv1.Reason_REASON_STALE, err)
		require.Nil(t, clustertest.ProcOf(c, cl, "world", musterv1.Role_ROLE_WORKER, 1))
	})
}
