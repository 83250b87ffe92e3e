package raftnodetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
)

// patience is how long a cluster may take for what it should do; in a bubble it costs nothing.
const patience = 30 * time.Second

// Config says what a Cluster is made of.
type Config struct {
	// Nodes is how many; 0 means three.
	Nodes int
	// Machine makes the state machine of a node, at each of its starts.
	Machine func(name string) raftnode.StateMachine
	// Digest tells two states apart, for RequireConverged; called under the node's read lock. nil: only indexes are compared.
	Digest func(raftnode.StateMachine) string
	// Sealer makes the Sealer of a new term. nil: nothing is added to entries.
	Sealer func(m *Member, t *raftnode.Term) raftnode.Sealer
	// Storage opens the storage of a node, at each of its starts. nil: in memory, kept over restarts.
	Storage func(name string) (*raftnode.Storage, error)
	// Configure may change a node's configuration before each start.
	Configure func(*raftnode.Config)
}

// Cluster is some nodes on a Network. Its methods are for the test's goroutine and fail the test when they cannot do their part.
type Cluster struct {
	Network *Network
	Members []*Member

	t        testing.TB
	cfg      Config
	isolated map[string]bool
}

// Member is one node, running or not.
type Member struct {
	Name    string
	Address string
	// Node is nil while the member does not run.
	Node *raftnode.Node
	// Machine is the running node's state machine: read it inside Node.Read.
	Machine raftnode.StateMachine

	memory *raftnode.Storage
	terms  *terms
}

// New starts a cluster of nodes n1, n2, …. Close it before the test ends.
func New(t testing.TB, cfg Config) *Cluster {
	t.Helper()
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	c := &Cluster{Network: NewNetwork(), t: t, cfg: cfg, isolated: map[string]bool{}}
	for i := range cfg.Nodes {
		name := fmt.Sprintf("n%d", i+1)
		c.Members = append(c.Members, &Member{Name: name, Address: name + ":7700", memory: raftnode.MemoryStorage(name)})
	}
	for _, m := range c.Members {
		c.start(m)
	}
	return c
}

func (c *Cluster) start(m *Member) {
	c.t.Helper()
	storage := m.memory
	if c.cfg.Storage != nil {
		var err error
		if storage, err = c.cfg.Storage(m.Name); err != nil {
			c.t.Fatalf("storage of %s: %v", m.Name, err)
		}
	}
	cfg := raftnode.Config{
		Name: m.Name, Advertise: m.Address, Storage: storage, Listener: c.Network.Listen(m.Address),
		Dial: c.Network.Dialer(m.Address), Machine: c.cfg.Machine(m.Name),
		TermStart: func() *musterv1.TermStart {
			return &musterv1.TermStart{UnixMicros: uint64(time.Now().UnixMicro()), ExecutionId: "test"}
		},
	}
	for _, p := range c.Members {
		cfg.Peers = append(cfg.Peers, raftnode.Peer{Name: p.Name, Address: p.Address})
	}
	if c.cfg.Configure != nil {
		c.cfg.Configure(&cfg)
	}
	node, err := raftnode.Start(cfg)
	if err != nil {
		c.t.Fatalf("start %s: %v", m.Name, err)
	}
	m.Node, m.Machine = node, cfg.Machine
	m.terms = followTerms(node, func(t *raftnode.Term) {
		if c.cfg.Sealer == nil {
			t.Begin(plain{})
		} else {
			t.Begin(c.cfg.Sealer(m, t))
		}
	})
}

// Member returns the member of that name.
func (c *Cluster) Member(name string) *Member {
	c.t.Helper()
	for _, m := range c.Members {
		if m.Name == name {
			return m
		}
	}
	c.t.Fatalf("no member %s", name)
	return nil
}

// Running returns the members that run.
func (c *Cluster) Running() []*Member {
	var running []*Member
	for _, m := range c.Members {
		if m.Node != nil {
			running = append(running, m)
		}
	}
	return running
}

// Leader waits for a member that can prove that it leads, isolated ones apart.
func (c *Cluster) Leader() *Member {
	c.t.Helper()
	var leader *Member
	c.Eventually("a leader", func() bool {
		for _, m := range c.Running() {
			if t := m.Term(); t != nil && !c.isolated[m.Name] && proves(t) {
				leader = m
				return true
			}
		}
		return false
	})
	return leader
}

func proves(t *raftnode.Term) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return t.ReadBarrier(ctx) == nil
}

// Term is the member's present leadership term, or nil.
func (m *Member) Term() *raftnode.Term {
	if m.terms == nil {
		return nil
	}
	if t := m.terms.latest.Load(); t != nil && t.Context().Err() == nil {
		return t
	}
	return nil
}

// Isolate cuts a member off from all others.
func (c *Cluster) Isolate(name string) {
	c.isolated[name] = true
	c.Network.Isolate(c.Member(name).Address)
}

// Heal mends all links.
func (c *Cluster) Heal() {
	clear(c.isolated)
	c.Network.Heal()
}

// Kill ends a member as a crash would: nobody is told, its storage stays.
func (c *Cluster) Kill(name string) {
	c.t.Helper()
	m := c.Member(name)
	c.Network.Kill(m.Address)
	c.stop(m)
}

func (c *Cluster) stop(m *Member) {
	c.t.Helper()
	if m.Node == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.Node.Close(ctx); err != nil {
		c.t.Errorf("close %s: %v", m.Name, err)
	}
	m.terms.stop()
	m.Node, m.Machine = nil, nil
}

// Restart starts a member that does not run, with the storage that it had.
func (c *Cluster) Restart(name string) {
	c.t.Helper()
	m := c.Member(name)
	if m.Node != nil {
		c.t.Fatalf("%s runs", name)
	}
	c.start(m)
}

// RequireConverged waits until all running members have applied the same entries, and compares their states.
func (c *Cluster) RequireConverged() {
	c.t.Helper()
	var seen string
	converged := func() bool {
		leader := c.Leader()
		target := leader.Node.Status().AppliedIndex
		want, index := c.digest(leader)
		seen = ""
		same := index == target
		for _, m := range c.Running() {
			digest, index := c.digest(m)
			seen += fmt.Sprintf("%s at %d: %s\n", m.Name, index, digest)
			same = same && index == target && digest == want
		}
		return same
	}
	deadline := time.Now().Add(patience)
	for !converged() {
		if time.Now().After(deadline) {
			c.t.Fatalf("members did not converge:\n%s", seen)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// digest reads a member's state together with its index.
func (c *Cluster) digest(m *Member) (digest string, index uint64) {
	m.Node.Read(func() {
		index = m.Node.Status().AppliedIndex
		if c.cfg.Digest != nil {
			digest = c.cfg.Digest(m.Machine)
		}
	})
	return digest, index
}

// Wipe gives a member that does not run an empty storage, as if its disk was replaced. For storage in memory only.
func (c *Cluster) Wipe(name string) {
	c.t.Helper()
	m := c.Member(name)
	if m.Node != nil {
		c.t.Fatalf("%s runs", name)
	}
	m.memory = raftnode.MemoryStorage(name)
}

// Eventually polls until a condition holds, and fails the test if it does not come.
func (c *Cluster) Eventually(what string, holds func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, m := range c.Running() {
				c.t.Logf("%s: %+v", m.Name, m.Node.Status())
			}
			c.t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// Close ends all members.
func (c *Cluster) Close() {
	c.t.Helper()
	c.Heal()
	for _, m := range c.Members {
		c.stop(m)
	}
}
