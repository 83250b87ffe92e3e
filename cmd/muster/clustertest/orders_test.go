package clustertest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/node"
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

// TestOrders_OldStreamSpawnAfterStop: a leader that has lost the other nodes has still told a host to start its ranks, and cannot have that
// confirmed. The next leader, which knows of no start, is asked to stop the world. What runs is started once and ended once, whether the
// host hears the next leader before the stop or behind it.
func TestOrders_OldStreamSpawnAfterStop(t *testing.T) {
	for _, c := range []struct {
		name string
		deaf bool // the host hears nobody but the old leader until the stop has begun
	}{{"the host hears the next leader at once", false}, {"the host hears of it behind the stop", true}} {
		t.Run(c.name, func(t *testing.T) {
			Bubble(t, nil, func(t *testing.T, cluster *Cluster) { oldStreamSpawns(t, cluster, c.deaf) })
		})
	}
}

func oldStreamSpawns(t *testing.T, c *Cluster, deaf bool) {
	cl := c.Client()
	old := c.Leader()
	cut := func(from string) {
		for _, m := range c.Members {
			if m != old {
				c.Network.Cut(from, m.Address)
			}
		}
	}
	a := NewAgent()
	var once sync.Once
	a.At = func(step string) {
		if step == "port" { // it has the order, and has not confirmed it
			once.Do(func() {
				cut(old.Address)
				c.Network.Cut("client", old.Address)
				if deaf {
					cut("a")
				}
			})
		}
	}
	a.Join(t, c, "w", "a")
	CreateGang(t, cl, "w", 2, 2, nil)
	c.Eventually("both runs", func() bool { return a.Run(0) != nil && a.Run(1) != nil })
	c.away[old.Name] = true
	next := c.Leader()
	require.NotEqual(t, old.Name, next.Name)
	if deaf {
		next.Node.Read(func(s node.StateAt) {
			require.NotEmpty(t, s.State.Orders(a.Member.Proc()), "the start must not have been confirmed, or this test shows nothing")
		})
	}
	StopWorld(t, cl, "w")
	c.Heal()
	c.AwaitStatus(cl, "w", musterv1.Status_STATUS_STOPPED)
	<-a.Member.Done()
	spawned, stopped, killed := a.Counts()
	require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
	for rank := range uint32(2) {
		require.Equal(t, 1, stopped[rank]+killed[rank], "rank %d was ended once: %v %v", rank, stopped, killed)
	}
	c.RequireConverged()
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
