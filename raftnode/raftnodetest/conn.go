package raftnodetest

import (
	"net"
	"sync"
	"time"
)

// conn is one end of a connection.
type conn struct {
	network       *Network
	local, remote string
	in, out       *pipe
	readBy        *deadline
	writeBy       *deadline
	peer          *conn

	mu     sync.Mutex
	lost   bool // something written here was swallowed
	closed bool // Close was called
}

// pair makes a connection.
func (n *Network) pair(from, to string) (client, server *conn) {
	up, down := newPipe(n.Delay), newPipe(n.Delay)
	client = &conn{network: n, local: from, remote: to, in: down, out: up, readBy: newDeadline(), writeBy: newDeadline()}
	server = &conn{network: n, local: to, remote: from, in: up, out: down, readBy: newDeadline(), writeBy: newDeadline()}
	client.peer, server.peer = server, client
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

// lossy says whether the stream has a hole, or was closed while the other end could not be told.
func (c *conn) lossy() bool {
	for _, end := range []*conn{c, c.peer} {
		end.mu.Lock()
		bad := end.lost || end.closed
		end.mu.Unlock()
		if bad {
			return true
		}
	}
	return false
}

func (c *conn) Read(b []byte) (int, error) { return c.in.read(b, c.readBy) }

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
	return c.out.write(b, c.writeBy)
}

// Close closes this end. Over a cut link the other end does not hear of it before Heal.
func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.in.close(true)
	if c.cut() {
		c.writeBy.set(time.Unix(1, 0)) // a writer of this end returns
		return nil
	}
	c.destroy()
	return nil
}

// destroy closes this end for both, and forgets it.
func (c *conn) destroy() {
	c.network.mu.Lock()
	delete(c.network.conns, c)
	c.network.mu.Unlock()
	c.in.close(true)
	c.out.close(false)
	c.readBy.set(time.Time{}) // stops the timers
	c.writeBy.set(time.Time{})
}

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error { return c.move(c.readBy, t) }

func (c *conn) SetWriteDeadline(t time.Time) error { return c.move(c.writeBy, t) }

func (c *conn) move(d *deadline, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	d.set(t)
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return addr(c.local) }
func (c *conn) RemoteAddr() net.Addr { return addr(c.remote) }
