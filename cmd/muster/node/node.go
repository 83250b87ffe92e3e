package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/cmd/muster/node/metrics"
	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/system"
	"muster/transport/mux"
	"muster/transport/server"
	"muster/transport/session"
)

// Config of a Node.
type Config struct {
	// Name of the node, unique in its cluster.
	Name string
	// Advertise is where the others reach it, host:port.
	Advertise string
	// Peers are all nodes, this one among them; empty = a cluster of one.
	Peers []raftnode.Peer
	// Storage of log, votes, snapshots and identity. The node closes it.
	Storage *raftnode.Storage
	// Listener is the one port; the node closes it.
	Listener net.Listener
	// Dial connects to a node's one port.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Settings that an empty cluster takes, and that are compared with the state's; nil = the defaults.
	Settings *musterv1.Settings
	// Version of the binary.
	Version string
	// Timeout of heartbeats, elections and the leader's lease; 0 = raftnode's default.
	Timeout time.Duration
	// SnapshotBytes of log between snapshots; 0 = raftnode's default.
	SnapshotBytes int64
	// MinFree is how many bytes should be free on the disk; below it what is new is refused while this node leads. 0 = raftnode's default.
	MinFree int64
	// FreeBytes tells how many are free; nil = the file system's word.
	FreeBytes func() (int64, error)
	// DiskHangs is called when a write to the disk does not come back: the process should end. nil = it goes on, taking part in nothing.
	DiskHangs func(what string)
	// Build is called when a leadership term is about to be built here; its error fails that. nil = nothing. For tests.
	Build func() error
	// Logger; nil = silent.
	Logger hclog.Logger
}

// Node is one running server. Safe for concurrent use.
type Node struct {
	cfg     Config
	log     hclog.Logger
	machine *machine
	raft    *raftnode.Node
	system  *system.System
	hub     *session.Hub
	server  *server.Server
	mux     *mux.Mux
	metrics *metrics.Metrics
	web     *http.Server
	ready   atomic.Bool // it takes part in its cluster, and knows who leads

	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	leading *raftnode.Term // the present term, for the machine to renew after a restore
}

// Start starts a node; it returns before the node has found its cluster. Close it.
func Start(cfg Config) (*Node, error) {
	if cfg.Settings == nil {
		cfg.Settings = fsm.DefaultSettings()
	}
	if err := fsm.ValidateSettings(cfg.Settings); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	n := &Node{cfg: cfg, log: cfg.Logger}
	n.metrics = metrics.New(cfg.Version, n.sample)
	n.web = n.newWeb()
	n.hub = session.NewHub(cfg.Name, n.Leader, cfg.Logger.Named("session"))
	n.system = system.New(reader{n}, n.hub, cfg.Logger.Named("system"))
	n.hub.Bind(n.system)
	n.machine = &machine{
		state: fsm.New(), applied: n.system.Applied, restored: n.restored, broke: n.metrics.Broke, log: cfg.Logger.Named("state"),
	}
	n.mux = mux.New(cfg.Listener)
	n.server = server.New(server.Config{
		System: n.system, Sessions: n.hub, Node: n, Dial: cfg.Dial, Logger: cfg.Logger.Named("server"), Handled: n.metrics.Handled,
	})
	n.system.OnLeading(n.server.SetLeading)
	if cfg.Build != nil {
		n.system.OnBuild(cfg.Build)
	}
	var err error
	n.raft, err = raftnode.Start(raftnode.Config{
		Name: cfg.Name, Advertise: cfg.Advertise, Peers: cfg.Peers, Storage: cfg.Storage, Listener: n.mux.Peers(), Dial: cfg.Dial,
		Machine: n.machine, TermStart: n.termStart, Logger: cfg.Logger,
		HeartbeatTimeout: cfg.Timeout, ElectionTimeout: cfg.Timeout, LeaderLeaseTimeout: cfg.Timeout, SnapshotBytes: cfg.SnapshotBytes,
		Observer: n.metrics, DiskFence: fsm.DiskFence, DiskHangs: cfg.DiskHangs, MinFree: cfg.MinFree, FreeBytes: cfg.FreeBytes,
	})
	if err != nil {
		_ = n.mux.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.wait.Go(func() { n.lead(ctx) })
	n.wait.Go(func() { n.watch(ctx) })
	n.wait.Go(func() {
		if err := n.server.Serve(n.mux.GRPC()); err != nil && ctx.Err() == nil {
			n.log.Error("the API has stopped", "error", err)
		}
	})
	n.wait.Go(func() { _ = n.web.Serve(n.mux.HTTP()) }) // until stopWeb, or the port's end
	return n, nil
}

// termStart is what this node says first when it leads.
func (n *Node) termStart() *musterv1.TermStart {
	execution := make([]byte, 8)
	_, _ = rand.Read(execution) // never fails
	return &musterv1.TermStart{
		UnixMicros: uint64(time.Now().UnixMicro()), ExecutionId: hex.EncodeToString(execution), Settings: n.cfg.Settings,
		MachineVersion: fsm.MachineVersion,
	}
}

// lead serves one leadership term after the other.
func (n *Node) lead(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-n.raft.Terms():
			n.mu.Lock()
			n.leading = t
			n.mu.Unlock()
			n.system.Lead(term{t, n.metrics.Refused, n.noRoom})
		}
	}
}

// restored is called, with the state's lock held, when a restore has taken effect: the present term knows nothing of the new state.
func (n *Node) restored() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leading != nil {
		n.leading.Renew()
	}
}

// closeTimeouts: sessions are told where to go, leadership is handed over, calls finish, and then the log is closed; each gets its
// share.
const (
	transferTimeout = 2 * time.Second
	drainTimeout    = 2 * time.Second
)

// Close hands leadership over and ends the node in order: first whoever would notice, then what they depend on. It returns when
// everything has ended, or with ctx.
func (n *Node) Close(ctx context.Context) error {
	n.setReady(false)
	if _, _, leads := n.system.Serving(); leads && len(n.cfg.Peers) > 1 {
		transfer, cancel := context.WithTimeout(ctx, transferTimeout)
		if err := n.raft.TransferLeadership(transfer); err != nil {
			n.log.Warn("leadership was not handed over; the others will elect", "error", err)
		}
		cancel()
	}
	drain, cancel := context.WithTimeout(ctx, drainTimeout)
	n.hub.Close(drain)
	n.server.Stop(drain)
	n.stopWeb(drain)
	cancel()
	err := n.raft.Close(ctx)
	n.cancel()
	n.wait.Wait()
	return errors.Join(err, n.mux.Close())
}

// abandonTimeout bounds closing what the kernel may keep open for a process that cannot end before its disk answers.
const abandonTimeout = time.Second

// Abandon closes the port and all connections, and waits for nothing else. For a process that is about to end because its disk hangs:
// the end itself may have to wait for the disk, and nobody should wait for the process meanwhile.
func (n *Node) Abandon() {
	n.cancel()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = n.mux.Close()
		_ = n.web.Close()
		stopped, cancel := context.WithCancel(context.Background())
		cancel()
		n.server.Stop(stopped)
		n.raft.Disconnect()
	}()
	select {
	case <-closed:
	case <-time.After(abandonTimeout):
	}
}

// Kill ends the node as a crash would, for tests: nothing is handed over, nobody is told.
func (n *Node) Kill(ctx context.Context) error {
	n.cancel()
	_ = n.web.Close()
	_ = n.mux.Close()
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	n.server.Stop(stopped)
	err := n.raft.Close(ctx)
	n.wait.Wait()
	return err
}
