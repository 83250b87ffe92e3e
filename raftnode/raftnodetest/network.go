package raftnodetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Network connects listeners and dialers in memory. A cut link swallows what is sent and says nothing, like a cable that was
// pulled. Its methods may be called concurrently.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	cuts      map[link]bool
	refused   map[link]bool
	isolated  map[string]bool
	dead      map[string]bool
	conns     map[*conn]struct{}
	changed   chan struct{} // closed and replaced by each Heal
	delay     time.Duration
}

// link is a pair of addresses, the lesser first.
type link struct{ a, b string }

func linkOf(a, b string) link {
	if b < a {
		a, b = b, a
	}
	return link{a, b}
}

// NewNetwork returns a network without anyone on it.
func NewNetwork() *Network {
	return &Network{
		listeners: map[string]*listener{}, cuts: map[link]bool{}, refused: map[link]bool{}, isolated: map[string]bool{},
		dead: map[string]bool{}, conns: map[*conn]struct{}{}, changed: make(chan struct{}),
	}
}

// Listen listens at an address, which must be free; it panics otherwise.
func (n *Network) Listen(address string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		panic("address in use: " + address)
	}
	l := &listener{network: n, address: address, incoming: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[address] = l
	delete(n.dead, address)
	return l
}

// Dialer returns a function that dials from an address. Where nobody listens it fails with ECONNREFUSED at once; over a cut
// link it waits for the link to be healed or the context to end.
func (n *Network) Dialer(from string) func(ctx context.Context, address string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		c, err := n.dial(ctx, from, address)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "mem", Addr: addr(address), Err: err}
		}
		return c, nil
	}
}

func (n *Network) dial(ctx context.Context, from, to string) (net.Conn, error) {
	if d := n.Delay(); d > 0 {
		select {
		case <-time.After(2 * d):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for {
		n.mu.Lock()
		cut, changed, l, dead := n.isCut(linkOf(from, to)), n.changed, n.listeners[to], n.dead[from]
		refused := n.refused[linkOf(from, to)]
		n.mu.Unlock()
		if dead {
			return nil, os.NewSyscallError("connect", syscall.ENETDOWN)
		}
		if cut {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if l == nil || refused {
			return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
		}
		client, server := n.pair(from, to)
		select {
		case l.incoming <- server:
			return client, nil
		case <-l.closed:
			client.Close()
			server.Close()
		case <-ctx.Done():
			client.Close()
			server.Close()
			return nil, ctx.Err()
		}
	}
}

// SetDelay says how long whatever is sent from now on is under way, from anybody to anybody; a dial takes two of that.
func (n *Network) SetDelay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}

// Delay is how long whatever is sent now is under way.
func (n *Network) Delay() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.delay
}

// Isolate cuts an address off from all others.
func (n *Network) Isolate(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.isolated[address] = true
}

// Cut cuts the link between two addresses, in both directions.
func (n *Network) Cut(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[linkOf(a, b)] = true
}

// Refuse closes the connections between two addresses, and refuses new ones until Heal.
func (n *Network) Refuse(a, b string) {
	n.mu.Lock()
	n.refused[linkOf(a, b)] = true
	conns := n.all(func(c *conn) bool { return linkOf(c.local, c.remote) == linkOf(a, b) })
	n.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// Heal mends all links. A connection that lost anything meanwhile is closed at both ends, for its stream has a hole.
func (n *Network) Heal() {
	n.mu.Lock()
	n.cuts, n.refused, n.isolated = map[link]bool{}, map[link]bool{}, map[string]bool{}
	close(n.changed)
	n.changed = make(chan struct{})
	conns := n.all(func(c *conn) bool { return c.lossy() })
	n.mu.Unlock()
	for _, c := range conns {
		c.destroy()
	}
}

// Kill ends whatever is at an address, as when its process dies: its listener and connections are closed, and it dials nobody
// until somebody listens there again.
func (n *Network) Kill(address string) {
	n.mu.Lock()
	n.dead[address] = true
	l := n.listeners[address]
	conns := n.all(func(c *conn) bool { return c.local == address })
	n.mu.Unlock()
	if l != nil {
		l.Close()
	}
	for _, c := range conns {
		c.Close()
	}
}

// isCut is called with mu held.
func (n *Network) isCut(l link) bool {
	return l.a != l.b && (n.cuts[l] || n.isolated[l.a] || n.isolated[l.b])
}

// all is called with mu held.
func (n *Network) all(which func(*conn) bool) []*conn {
	var found []*conn
	for c := range n.conns {
		if which(c) {
			found = append(found, c)
		}
	}
	return found
}

// listener is one address.
type listener struct {
	network  *Network
	address  string
	incoming chan net.Conn
	once     sync.Once
	closed   chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, fmt.Errorf("accept at %s: %w", l.address, net.ErrClosed)
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, l.address)
		l.network.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.address) }

type addr string

func (addr) Network() string  { return "mem" }
func (a addr) String() string { return string(a) }
