package clustertest

import (
	"context"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"muster/cmd/muster/node"
	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/raftnode/raftnodetest"
	"muster/transport/client"
)

// Patience is how long a cluster may take for what it should do; in a bubble it costs nothing.
const Patience = 2 * time.Minute

// Cluster is three nodes on a network in memory. Its methods are for the test's goroutine, and fail the test when they cannot do
// their part.
type Cluster struct {
	Network *raftnodetest.Network
	Members []*Member

	t         testing.TB
	configure func(*node.Config)
	clients   []*client.Client
	conns     []*grpc.ClientConn
	away      map[string]bool // isolated
}

// Member is one node, running or not.
type Member struct {
	Name    string
	Address string
	Node    *node.Node // nil while it does not run
	storage *raftnode.Storage
}

// New starts three nodes n1, n2, n3; configure may change a node's configuration before each start. Close the cluster before
// the test ends.
func New(t testing.TB, configure func(*node.Config)) *Cluster {
	t.Helper()
	c := &Cluster{Network: raftnodetest.NewNetwork(), t: t, configure: configure, away: map[string]bool{}}
	for i := range 3 {
		name := fmt.Sprintf("n%d", i+1)
		c.Members = append(c.Members, &Member{Name: name, Address: name + ":7380", storage: raftnode.MemoryStorage(name)})
	}
	for _, m := range c.Members {
		c.Start(m)
	}
	return c
}

// Start starts a member that does not run, over the storage that it had.
func (c *Cluster) Start(m *Member) {
	c.t.Helper()
	cfg := node.Config{
		Name: m.Name, Advertise: m.Address, Storage: m.storage, Listener: c.Network.Listen(m.Address), Dial: c.Network.Dialer(m.Address), Version: "test",
	}
	for _, p := range c.Members {
		cfg.Peers = append(cfg.Peers, raftnode.Peer{Name: p.Name, Address: p.Address})
	}
	if c.configure != nil {
		c.configure(&cfg)
	}
	n, err := node.Start(cfg)
	if err != nil {
		c.t.Fatalf("start %s: %v", m.Name, err)
	}
	m.Node = n
}

// Client returns an SDK client that knows all nodes. The cluster closes it.
func (c *Cluster) Client() *client.Client {
	c.t.Helper()
	return c.ClientAt("client")
}

// ClientAt is Client at a network address of its own, so that it can be cut off.
func (c *Cluster) ClientAt(address string) *client.Client {
	c.t.Helper()
	cfg := client.Config{Dial: c.Network.Dialer(address)}
	for _, m := range c.Members {
		cfg.Servers = append(cfg.Servers, m.Address)
	}
	cl, err := client.New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.clients = append(c.clients, cl)
	return cl
}

// Running are the members that run.
func (c *Cluster) Running() []*Member {
	var out []*Member
	for _, m := range c.Members {
		if m.Node != nil {
			out = append(out, m)
		}
	}
	return out
}

// Leader waits for a node that runs, is not isolated, and has the greatest published term.
func (c *Cluster) Leader() *Member {
	c.t.Helper()
	var leader *Member
	c.Eventually("a leader", func() bool {
		var term uint64
		leader = nil
		for _, m := range c.Running() {
			if _, t, ok := m.Node.System().Leading(); ok && t > term && !c.away[m.Name] {
				leader, term = m, t
			}
		}
		return leader != nil
	})
	return leader
}

// Isolate cuts a node off from everybody.
func (c *Cluster) Isolate(m *Member) {
	c.away[m.Name] = true
	c.Network.Isolate(m.Address)
}

// Heal mends all links.
func (c *Cluster) Heal() {
	clear(c.away)
	c.Network.Heal()
}

// Kill ends a node as a crash would: nobody is told, its storage stays.
func (c *Cluster) Kill(m *Member) {
	c.t.Helper()
	c.Network.Kill(m.Address)
	c.stop(m)
}

func (c *Cluster) stop(m *Member) {
	c.t.Helper()
	if m.Node == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := m.Node.Kill(ctx); err != nil {
		c.t.Errorf("kill %s: %v", m.Name, err)
	}
	m.Node = nil
}

// Eventually polls until a condition holds.
func (c *Cluster) Eventually(what string, holds func() bool) {
	c.t.Helper()
	c.InTheEnd(5*time.Millisecond, what, holds)
}

// InTheEnd is Eventually at another pace, for what takes a while and costs something to look at.
func (c *Cluster) InTheEnd(pace time.Duration, what string, holds func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(Patience); !holds(); time.Sleep(pace) {
		if time.Now().After(deadline) {
			for _, m := range c.Running() {
				s, state, alarms := m.Node.Status()
				c.t.Logf("%s: %v\n%v\n%v", m.Name, s, state, alarms)
			}
			c.t.Fatalf("waited %v for %s", Patience, what)
		}
	}
}

// RequireConverged waits until all running nodes have applied the same entries, and compares their digests.
func (c *Cluster) RequireConverged() {
	c.t.Helper()
	c.Eventually("equal digests at one index", func() bool {
		seen := map[string]bool{}
		for _, m := range c.Running() {
			var digest [32]byte
			var index uint64
			m.Node.Read(func(s node.StateAt) { digest, index = s.State.Digest(), s.Index })
			seen[fmt.Sprint(index, hex.EncodeToString(digest[:]))] = true
		}
		return len(seen) == 1
	})
}

// View reads everything from the leader.
func (c *Cluster) View(cl *client.Client) *musterv1.ViewResponse {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	v, err := cl.Cluster().ViewAll(ctx, &musterv1.ViewRequest{IncludeEnded: true})
	if err != nil {
		c.t.Fatalf("view: %v", err)
	}
	return v
}

// Close ends clients and nodes.
func (c *Cluster) Close() {
	c.t.Helper()
	c.Heal()
	for _, cl := range c.clients {
		if err := cl.Close(); err != nil {
			c.t.Errorf("close client: %v", err)
		}
	}
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	for _, m := range c.Members {
		c.stop(m)
	}
}

// Conn returns a bare connection to one node; the cluster closes it.
func (c *Cluster) Conn(m *Member) *grpc.ClientConn {
	c.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+m.Address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(c.Network.Dialer("client")))
	if err != nil {
		c.t.Fatal(err)
	}
	c.conns = append(c.conns, conn)
	return conn
}
