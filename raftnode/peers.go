package raftnode

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	musterv1 "muster/proto/muster/v1"
)

// maxRefusalsKept bounds the memory of what was logged already.
const maxRefusalsKept = 64

// peerLayer is the connections between this node and the others: who may connect, who is who, and Raft's streams.
type peerLayer struct {
	self      Peer
	peers     []Peer // the others
	processID uint64
	storage   *Storage
	listener  net.Listener
	dial      func(context.Context, string) (net.Conn, error)
	logger    hclog.Logger
	indexes   func() (last, applied uint64)
	digests   func() *musterv1.PeerDigests
	adopted   func()
	broke     func(server string, process uint64)

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	raft   chan *peerConn // accepted connections for Raft
	opened atomic.Bool    // Raft runs
	spares map[string]*spares

	mu       sync.Mutex
	conns    map[*peerConn]struct{}
	closed   bool
	refusals map[string]string // by peer: what it said instead of a connection
	logged   map[string]bool
}

func newPeerLayer(cfg Config, processID uint64, logger hclog.Logger) *peerLayer {
	l := &peerLayer{
		self: Peer{cfg.Name, cfg.Advertise}, processID: processID, storage: cfg.Storage, listener: cfg.Listener, dial: cfg.Dial,
		logger: logger, raft: make(chan *peerConn), spares: map[string]*spares{},
		conns: map[*peerConn]struct{}{}, refusals: map[string]string{}, logged: map[string]bool{},
	}
	for _, p := range cfg.Peers {
		if p.Name != cfg.Name {
			l.peers = append(l.peers, p)
			l.spares[p.Address] = newSpares(l, p)
		}
	}
	slices.SortFunc(l.peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// start begins to answer other nodes.
func (l *peerLayer) start() { l.tasks.Go(l.accept) }

// open lets Raft's streams through and begins to keep connections ready.
func (l *peerLayer) open() {
	l.opened.Store(true)
	for _, s := range l.spares {
		l.tasks.Go(s.fill)
	}
}

// Close ends all connections. wait waits for their goroutines.
func (l *peerLayer) Close() error {
	l.cancel()
	err := l.listener.Close()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.drop(func(*peerConn) bool { return true })
	return err
}

// drop closes some connections.
func (l *peerLayer) drop(which func(*peerConn) bool) {
	l.mu.Lock()
	conns := slices.Collect(maps.Keys(l.conns))
	l.mu.Unlock()
	for _, c := range conns {
		if which(c) {
			_ = c.Close()
		}
	}
}

func (l *peerLayer) wait() { l.tasks.Wait() }

// hello is what this node says of itself.
func (l *peerLayer) hello(p musterv1.PeerHello_Purpose) *musterv1.PeerHello {
	id := l.storage.who()
	return &musterv1.PeerHello{Purpose: p, ClusterId: id.ClusterID, ServerId: id.ServerID, ProcessId: l.processID, Name: id.Name}
}

// connect makes a connection for Raft.
func (l *peerLayer) connect(ctx context.Context, address string) (*peerConn, error) {
	hello := l.hello(musterv1.PeerHello_PURPOSE_RAFT)
	c, w, err := greet(ctx, l.dial, address, hello)
	if err == nil {
		err = l.identify(address, hello.GetClusterId(), w)
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}
	l.remember(address, err)
	if err != nil {
		return nil, err
	}
	return l.track(c, w.GetServerId(), w.GetProcessId())
}

// identify checks that who answered is who we meant.
func (l *peerLayer) identify(address, clusterID string, w *musterv1.PeerWelcome) error {
	for _, p := range l.peers {
		if p.Address == address && p.Name != w.GetName() {
			return &refusedError{fmt.Sprintf("%s answers as node %s, configured is %s: correct the list of peers", address, w.GetName(), p.Name)}
		}
	}
	if w.GetClusterId() != clusterID {
		return &refusedError{fmt.Sprintf("node %s at %s is in cluster %s, this node in %s", w.GetName(), address, w.GetClusterId(), clusterID)}
	}
	return nil
}

// remember keeps the latest refusal of an address for Status, and logs it when it is news.
func (l *peerLayer) remember(address string, err error) {
	refused, ok := errors.AsType[*refusedError](err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ok {
		if err == nil {
			delete(l.refusals, address)
		}
		return
	}
	if l.refusals[address] != refused.text {
		l.refusals[address] = refused.text
		l.logger.Warn("peer refuses", "address", address, "reason", refused.text)
	}
}

// problem joins what peers refuse.
func (l *peerLayer) problem() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var texts []string
	for _, address := range slices.Sorted(maps.Keys(l.refusals)) {
		texts = append(texts, l.refusals[address])
	}
	return strings.Join(texts, "; ")
}

// probe asks who is at an address.
func (l *peerLayer) probe(ctx context.Context, address string) (*musterv1.PeerWelcome, error) {
	c, w, err := greet(ctx, l.dial, address, l.hello(musterv1.PeerHello_PURPOSE_PROBE))
	if err != nil {
		return nil, err
	}
	return w, c.Close()
}

// askDigests asks the node at an address for the latest digests of its state.
func (l *peerLayer) askDigests(ctx context.Context, address string) (*musterv1.PeerDigests, error) {
	hello := l.hello(musterv1.PeerHello_PURPOSE_DIGESTS)
	c, w, err := greet(ctx, l.dial, address, hello)
	if err != nil {
		return nil, err
	}
	digests := &musterv1.PeerDigests{}
	if err = l.identify(address, hello.GetClusterId(), w); err == nil {
		if err = c.SetDeadline(time.Now().Add(helloTimeout)); err == nil {
			err = readFrame(c, digests)
		}
	}
	return digests, errors.Join(err, c.Close())
}

// adopt tells the empty server at an address that clusterID is its cluster. It has stored that when adopt returns nil.
func (l *peerLayer) adopt(ctx context.Context, address, serverID, clusterID string) error {
	hello := l.hello(musterv1.PeerHello_PURPOSE_ADOPT)
	hello.ClusterId, hello.TargetServerId = clusterID, serverID
	c, w, err := greet(ctx, l.dial, address, hello)
	if err != nil {
		return err
	}
	if w.GetClusterId() != clusterID {
		err = fmt.Errorf("node %s did not take the cluster id", w.GetName())
	}
	return errors.Join(err, c.Close())
}

// track remembers a connection, so that Close can end it.
func (l *peerLayer) track(c net.Conn, server string, process uint64) (*peerConn, error) {
	p := &peerConn{Conn: c, layer: l, server: server, process: process}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	l.conns[p] = struct{}{}
	return p, nil
}

// peerConn is a connection to or from another node.
type peerConn struct {
	net.Conn
	layer *peerLayer
	used  atomic.Bool // Raft has it

	// Who is at the other end, from the greeting on.
	server  string
	process uint64
	closed  atomic.Bool
}

// Read reads, and notes when the other end has gone.
func (c *peerConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && c.server != "" && !c.closed.Load() {
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			c.layer.broke(c.server, c.process)
		}
	}
	return n, err
}

func (c *peerConn) Close() error {
	c.closed.Store(true)
	c.layer.mu.Lock()
	delete(c.layer.conns, c)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}
