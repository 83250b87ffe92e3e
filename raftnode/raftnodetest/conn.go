package raftnodetest

import (
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/test/bufconn"
)

// bufferSize is what a connection holds in one direction before its writer waits.
const bufferSize = 64 << 10

// conn is one end of a connection.
type conn struct {
	net.Conn      // the buffer in memory
	network       *Network
	local, remote string
	peer          *conn

	mu     sync.Mutex
	lost   bool // something written here was swallowed
	closed bool // Close was called
}

// pair makes a connection.
func (n *Network) pair(from, to string) (client, server *conn) {
	l := bufconn.Listen(bufferSize)
	dialed := make(chan net.Conn)
	go func() {
		c, _ := l.Dial()
		dialed <- c
	}()
	s, _ := l.Accept()
	client = &conn{Conn: <-dialed, network: n, local: from, remote: to}
	server = &conn{Conn: s, network: n, local: to, remote: from, peer: client}
	client.peer = server
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[client], n.conns[server] = struct{}{}, struct{}{}
	return client, server
}

func (c *conn) cut() bool {
	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	return c.network.isCut(linkOf(c.local, c.remote))
}

// lossy says whether a stream has a hole, or was closed while the other end could not be told.
func (c *conn) lossy() bool {
	hole := func(c *conn) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.lost || c.closed
	}
	return hole(c) || hole(c.peer)
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && c.isClosed() {
		err = net.ErrClosed
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if c.cut() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closed {
			return 0, net.ErrClosed
		}
		c.lost = true
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Close closes this end. Over a cut link the other end does not hear of it before Heal.
func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	if c.cut() {
		return c.Conn.SetDeadline(time.Unix(1, 0)) // readers and writers of this end return
	}
	c.destroy()
	return nil
}

// destroy closes both ends' buffers and forgets this end.
func (c *conn) destroy() {
	c.network.mu.Lock()
	delete(c.network.conns, c)
	c.network.mu.Unlock()
	_ = c.Conn.Close()
}

func (c *conn) SetDeadline(t time.Time) error {
	if c.isClosed() {
		return net.ErrClosed
	}
	return c.Conn.SetDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if c.isClosed() {
		return net.ErrClosed
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.isClosed() {
		return net.ErrClosed
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) LocalAddr() net.Addr  { return addr(c.local) }
func (c *conn) RemoteAddr() net.Addr { return addr(c.remote) }
