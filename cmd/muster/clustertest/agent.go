package clustertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// Agent is a host whose programs are entries in a table. Unless told otherwise they start at once and end when asked, with the exit code
// of a shell that was ended by SIGTERM. It counts what it is told. NewAgent makes one.
type Agent struct {
	Member *client.Member // once it has joined

	// At is called at each step of an order, by its name ("port", "spawn", "started", "stop rank", "exited", "stop host"), and may wait.
	At func(step string)
	// Start says whether a program starts at once; otherwise the test says Started itself.
	Start func(*client.Rank) bool
	// Linger has programs that are asked to end go on until the test ends them.
	Linger bool

	mu      sync.Mutex
	spawned map[uint32]int // by rank
	stopped map[uint32]int
	killed  map[uint32]int
	ended   int // stops of the host itself
	runs    map[uint32]*client.Rank
	orders  []uint64
}

// NewAgent returns an agent that has not joined yet.
func NewAgent() *Agent {
	return &Agent{
		At: func(string) {}, Start: func(*client.Rank) bool { return true },
		spawned: map[uint32]int{}, stopped: map[uint32]int{}, killed: map[uint32]int{}, runs: map[uint32]*client.Rank{},
	}
}

// Port chooses a port.
func (a *Agent) Port(*musterv1.SpawnOrder) (uint32, error) {
	a.At("port")
	return 29500, nil
}

// Spawn notes a run, and starts it.
func (a *Agent) Spawn(r *client.Rank) {
	a.mu.Lock()
	a.spawned[r.Order.Proc.Rank]++
	a.runs[r.Order.Proc.Rank] = r
	a.orders = append(a.orders, r.Number)
	a.mu.Unlock()
	a.At("spawn")
	if a.Start(r) {
		r.Started()
		a.At("started")
	}
}

// StopRank ends a run, or not.
func (a *Agent) StopRank(r *client.Rank, _ time.Duration, _ string) {
	a.mu.Lock()
	a.stopped[r.Order.Proc.Rank]++
	a.mu.Unlock()
	a.At("stop rank")
	if a.Linger {
		return
	}
	r.Exited(&musterv1.Exit{Code: 143})
	a.At("exited")
}

// Kill ends a run.
func (a *Agent) Kill(r *client.Rank, _ string) {
	a.mu.Lock()
	a.killed[r.Order.Proc.Rank]++
	a.mu.Unlock()
	r.Exited(&musterv1.Exit{Signal: 9})
}

// Stop ends nothing more than it has ended.
func (a *Agent) Stop(context.Context, *musterv1.StopOrder) client.StopOutcome {
	a.mu.Lock()
	a.ended++
	a.mu.Unlock()
	a.At("stop host")
	return client.StopOutcome{ActorsStopped: 1}
}

// Counts are how often each rank was spawned, stopped and killed here.
func (a *Agent) Counts() (spawned, stopped, killed map[uint32]int) {
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

// Stops is how often the host itself was told to stop.
func (a *Agent) Stops() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended
}

// Run is the newest run of a rank; nil if there was none.
func (a *Agent) Run(rank uint32) *client.Rank {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runs[rank]
}

// Join makes the agent a host of a world, at a network address of its own.
func (a *Agent) Join(t *testing.T, c *Cluster, world, key string) *Agent {
	t.Helper()
	return a.JoinFrom(t, c, world, key, key)
}

// JoinFrom is Join at another address than the key's.
func (a *Agent) JoinFrom(t *testing.T, c *Cluster, world, key, address string) *Agent {
	t.Helper()
	m, err := c.ClientAt(address).Join(Within(t, Patience), client.MemberConfig{
		World: world, Role: musterv1.Role_ROLE_HOST, AssignRank: true, Key: key, Machine: key, Address: "tcp:" + key, Host: a,
	})
	require.NoError(t, err)
	a.Member = m
	return a
}
