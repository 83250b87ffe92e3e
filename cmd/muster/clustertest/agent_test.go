package clustertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// agent is a host whose programs are entries in a table. Unless told otherwise they start at once and end when asked, with the exit code
// of a shell that was ended by SIGTERM. It counts what it is told.
type agent struct {
	member *client.Member

	at     func(step string)       // called at each step, may wait
	spawn  func(*client.Rank) bool // false: the test starts it itself
	linger bool                    // programs that are asked to end go on until the test ends them

	mu      sync.Mutex
	spawned map[uint32]int // by rank
	stopped map[uint32]int
	killed  map[uint32]int
	ended   int // stops of the host itself
	runs    map[uint32]*client.Rank
	orders  []uint64
}

func newAgent() *agent {
	return &agent{
		at: func(string) {}, spawn: func(*client.Rank) bool { return true },
		spawned: map[uint32]int{}, stopped: map[uint32]int{}, killed: map[uint32]int{}, runs: map[uint32]*client.Rank{},
	}
}

func (a *agent) Port(*musterv1.SpawnOrder) (uint32, error) {
	a.at("port")
	return 29500, nil
}

func (a *agent) Spawn(r *client.Rank) {
	a.mu.Lock()
	a.spawned[r.Order.Proc.Rank]++
	a.runs[r.Order.Proc.Rank] = r
	a.orders = append(a.orders, r.Number)
	a.mu.Unlock()
	a.at("spawn")
	if a.spawn(r) {
		r.Started()
		a.at("started")
	}
}

func (a *agent) StopRank(r *client.Rank, _ time.Duration, _ string) {
	a.mu.Lock()
	a.stopped[r.Order.Proc.Rank]++
	a.mu.Unlock()
	a.at("stop rank")
	if a.linger {
		return
	}
	r.Exited(&musterv1.Exit{Code: 143})
	a.at("exited")
}

func (a *agent) Kill(r *client.Rank, _ string) {
	a.mu.Lock()
	a.killed[r.Order.Proc.Rank]++
	a.mu.Unlock()
	r.Exited(&musterv1.Exit{Signal: 9})
}

func (a *agent) Stop(context.Context, *musterv1.StopOrder) client.StopOutcome {
	a.mu.Lock()
	a.ended++
	a.mu.Unlock()
	a.at("stop host")
	return client.StopOutcome{ActorsStopped: 1}
}

// counts are how often each rank was spawned, stopped and killed here.
func (a *agent) counts() (spawned, stopped, killed map[uint32]int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	copied := func(m map[uint32]int) map[uint32]int {
		out := map[uint32]int{}
		for k, v := range m {
			out[k] = v
		}
		return out
	}
	return copied(a.spawned), copied(a.stopped), copied(a.killed)
}

// stops is how often the host itself was told to stop.
func (a *agent) stops() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended
}

func (a *agent) run(rank uint32) *client.Rank {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runs[rank]
}

// join makes the agent a host of a world, at a network address of its own.
func (a *agent) join(t *testing.T, c *Cluster, world, key string) *agent {
	t.Helper()
	return a.joinFrom(t, c, world, key, key)
}

// joinFrom is join at another address than the key's.
func (a *agent) joinFrom(t *testing.T, c *Cluster, world, key, address string) *agent {
	t.Helper()
	m, err := c.ClientAt(address).Join(within(t, patience), client.MemberConfig{
		World: world, Role: musterv1.Role_ROLE_HOST, AssignRank: true, Key: key, Machine: key, Address: "tcp:" + key, Host: a,
	})
	require.NoError(t, err)
	a.member = m
	return a
}

// createGang creates a world of programs.
func createGang(t *testing.T, cl *client.Client, world string, procs, perHost uint32, change func(*musterv1.UpsertWorldRequest)) uint64 {
	t.Helper()
	u := &musterv1.UpsertWorldRequest{Spec: &musterv1.WorldSpec{
		World: world, Shape: &musterv1.Shape{Dims: []uint32{procs}}, ProcsPerHost: perHost, Exec: &musterv1.Exec{Program: "train"},
	}}
	if change != nil {
		change(u)
	}
	r, err := cl.Cluster().UpsertWorld(within(t, patience), u)
	require.NoError(t, err)
	return r.Generation
}

func stopWorld(t *testing.T, cl *client.Client, world string) uint64 {
	t.Helper()
	r, err := cl.Cluster().Stop(within(t, patience), &musterv1.StopRequest{Worlds: []string{world}, Reason: "enough"})
	require.NoError(t, err)
	return r.Operation
}

// procOf is a member as the leader sees it; nil if it is not there.
func procOf(c *Cluster, cl *client.Client, world string, role musterv1.Role, rank uint32) *musterv1.ProcView {
	for _, w := range c.View(cl).Worlds {
		for _, p := range w.Procs {
			if w.World == world && p.Proc.Role == role && p.Proc.Rank == rank {
				return p
			}
		}
	}
	return nil
}

func healthOf(c *Cluster, cl *client.Client, world string, rank uint32) musterv1.Health {
	return procOf(c, cl, world, musterv1.Role_ROLE_WORKER, rank).GetHealth()
}

// statusOf is that of the newest generation of a world.
func statusOf(c *Cluster, cl *client.Client, world string) musterv1.Status {
	var newest *musterv1.WorldView
	for _, w := range c.View(cl).Worlds {
		if w.World == world && (newest == nil || w.Generation > newest.Generation) {
			newest = w
		}
	}
	return newest.GetCondition().GetStatus()
}

func (c *Cluster) awaitStatus(cl *client.Client, world string, want musterv1.Status) {
	c.t.Helper()
	c.Eventually(fmt.Sprintf("%s to be %v", world, want), func() bool { return statusOf(c, cl, world) == want })
}
