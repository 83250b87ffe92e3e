package clustertest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// TestOrders_TwoInOneEntry: orders that become due in one entry for one host are two orders: each rank is started.
func TestOrders_TwoInOneEntry(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := NewAgent().Join(t, c, "w", "a")
		CreateGang(t, cl, "w", 2, 2, nil)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		spawned, _, _ := a.Counts()
		require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
		require.Less(t, a.Run(0).Number, a.Run(1).Number)
	})
}

// TestOrders_HostPartAfterHigherId: the host is told to end after its ranks, under a number above all it has accepted: an order numbered
// when the stop began would be taken for one that it has done.
func TestOrders_HostPartAfterHigherId(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := NewAgent()
		a.Linger = true
		a.Join(t, c, "w", "a")
		CreateGang(t, cl, "w", 2, 2, nil)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		operation := StopWorld(t, cl, "w")
		c.Eventually("both orders to be accepted", func() bool { return accepted(t, cl, operation) == 2 })
		require.Zero(t, a.Stops())
		a.Run(0).Exited(&musterv1.Exit{})
		a.Run(1).Exited(&musterv1.Exit{})
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_STOPPED)
		_, stopped, _ := a.Counts()
		require.Equal(t, map[uint32]int{0: 1, 1: 1}, stopped)
		require.Equal(t, 1, a.Stops())
	})
}

func accepted(t *testing.T, cl *client.Client, operation uint64) int {
	t.Helper()
	v, err := cl.Cluster().ViewStop(Within(t, Patience), operation)
	require.NoError(t, err)
	n := 0
	for _, target := range v.Targets {
		if target.Accepted {
			n++
		}
	}
	return n
}

// TestOrders_OldStreamSpawnAfterStop: an isolated leader still delivers the start of a rank that a stop has cancelled meanwhile. The host
// obeys its newest session only, and ends what it must not run: nothing runs when the world has ended.
func TestOrders_OldStreamSpawnAfterStop(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a, b := NewAgent(), NewAgent()
		a.Join(t, c, "w", "a")
		old := c.Leader()
		b.Join(t, c, "w", "b")
		CreateGang(t, cl, "w", 2, 1, func(u *musterv1.UpsertWorldRequest) { u.Spec.Exec.MasterPort = 7000 })
		c.Isolate(old)
		c.Leader()
		StopWorld(t, cl, "w")
		c.Heal()
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_STOPPED)
		for _, one := range []*Agent{a, b} {
			<-one.Member.Done()
			spawned, stopped, killed := one.Counts()
			for rank, n := range spawned {
				require.Equal(t, 1, n)
				require.Equal(t, 1, stopped[rank]+killed[rank], "rank %d was ended once", rank)
			}
		}
	})
}

// TestOrders_LeaderKilledBetweenEachPairOfSteps: whatever step of a start or of a stop the leader dies at, each rank is started once and
// stopped once, and the world ends.
func TestOrders_LeaderKilledBetweenEachPairOfSteps(t *testing.T) {
	for _, step := range []string{"created", "port", "spawn", "started", "live", "stopping", "stop rank", "exited", "stop host"} {
		t.Run(step, func(t *testing.T) {
			Bubble(t, nil, func(t *testing.T, c *Cluster) { killedAt(t, c, step) })
		})
	}
}

func killedAt(t *testing.T, c *Cluster, step string) {
	cl := c.Client()
	reached, resume := make(chan struct{}), make(chan struct{})
	var crashed atomic.Bool
	at := func(now string) {
		if now == step && crashed.CompareAndSwap(false, true) {
			close(reached)
			<-resume
		}
	}
	go func() { // the crash, at that step
		<-reached
		c.Kill(c.Leader())
		close(resume)
	}()
	agents := []*Agent{NewAgent(), NewAgent()}
	for i, a := range agents {
		a.At = at
		a.Join(t, c, "w", []string{"a", "b"}[i])
	}
	CreateGang(t, cl, "w", 4, 2, nil)
	at("created")
	c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
	at("live")
	StopWorld(t, cl, "w")
	at("stopping")
	c.AwaitStatus(cl, "w", musterv1.Status_STATUS_STOPPED)
	<-resume
	for i, a := range agents {
		<-a.Member.Done()
		spawned, stopped, killed := a.Counts()
		want := map[uint32]int{uint32(2 * i): 1, uint32(2*i + 1): 1}
		require.Equal(t, want, spawned)
		require.Equal(t, want, stopped)
		require.Empty(t, killed)
		require.Equal(t, 1, a.Stops())
	}
	for _, m := range c.Members {
		if m.Node == nil {
			c.Start(m)
		}
	}
	c.RequireConverged()
}

// TestDelivery_FailoverCondemnsNobody: hosts that have orders they cannot be told while leaders change are not called unreachable for it.
func TestDelivery_FailoverCondemnsNobody(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := NewAgent()
		hold := make(chan struct{})
		a.At = func(step string) {
			if step == "port" {
				<-hold // it does not confirm, but is heard
			}
		}
		a.Join(t, c, "w", "a")
		CreateGang(t, cl, "w", 2, 2, nil)
		incarnation := a.Member.Incarnation()
		for range 3 {
			c.Kill(c.Leader())
			time.Sleep(8 * time.Second)
			for _, m := range c.Members {
				if m.Node == nil {
					c.Start(m)
				}
			}
			time.Sleep(4 * time.Second)
		}
		h := ProcOf(c, cl, "w", musterv1.Role_ROLE_HOST, 0)
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, h.Health)
		require.Equal(t, incarnation, h.Proc.Incarnation)
		close(hold)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		spawned, _, _ := a.Counts()
		require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
	})
}
