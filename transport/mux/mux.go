package mux

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// speakTimeout is how long a connection may say nothing.
	speakTimeout = 5 * time.Second
	// maxSilent bounds the connections that have not spoken, or that nobody has accepted yet. The next one waits slotPatience for one of
	// them, and is closed then: a crowd that comes at once, and speaks, is sorted as fast as may be and loses nobody, a node among it
	// neither; and those that are mute do not close the port to others.
	maxSilent    = 1024
	slotPatience = 10 * time.Millisecond

	grpcByte = 'P'
	peerByte = 'M'
	httpByte = 'G'
)

// Mux sorts the connections of one listener. Its listeners may be used and closed concurrently.
type Mux struct {
	inner  net.Listener
	grpc   *branch
	peers  *branch
	http   *branch
	silent chan struct{} // one element per connection that is not sorted yet
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// New begins to sort the connections of a listener, which the Mux then owns. Close ends it.
func New(inner net.Listener) *Mux {
	m := &Mux{inner: inner, silent: make(chan struct{}, maxSilent)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.grpc, m.peers, m.http = newBranch(m), newBranch(m), newBranch(m)
	m.tasks.Go(m.accept)
	return m
}

// GRPC yields the connections that begin with 'P'. Closing it closes such connections from then on, and nothing else.
func (m *Mux) GRPC() net.Listener { return m.grpc }

// Peers yields the connections that begin with 'M'. Closing it closes such connections from then on, and nothing else.
func (m *Mux) Peers() net.Listener { return m.peers }

// HTTP yields the connections that begin with 'G'. Closing it closes such connections from then on, and nothing else.
func (m *Mux) HTTP() net.Listener { return m.http }

// Close closes the port and all listeners, drops what was not accepted yet, and waits for its goroutines. Accepted connections
// stay open.
func (m *Mux) Close() error {
	m.cancel()
	err := m.inner.Close()
	m.tasks.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (m *Mux) accept() {
	defer m.cancel() // without the port the branches end
	const minPause, maxPause = 5 * time.Millisecond, time.Second
	for pause := minPause; ; {
		c, err := m.inner.Accept()
		if err != nil {
			if m.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Most likely too many open files: that passes.
			select {
			case <-time.After(pause):
			case <-m.ctx.Done():
				return
			}
			pause = min(2*pause, maxPause)
			continue
		}
		pause = minPause
		if !m.slot() {
			_ = c.Close()
			continue
		}
		m.tasks.Go(func() {
			m.sort(c)
			<-m.silent
		})
	}
}

// slot waits for room for one more connection that is not sorted yet; false if there is none in time.
func (m *Mux) slot() bool {
	select {
	case m.silent <- struct{}{}:
		return true
	default:
	}
	patience := time.NewTimer(slotPatience)
	defer patience.Stop()
	select {
	case m.silent <- struct{}{}:
		return true
	case <-patience.C:
	case <-m.ctx.Done():
	}
	return false
}

// sort reads the first byte and hands the connection to its branch, or closes it.
func (m *Mux) sort(c net.Conn) {
	stop := context.AfterFunc(m.ctx, func() { _ = c.Close() })
	first := make([]byte, 1)
	_ = c.SetReadDeadline(time.Now().Add(speakTimeout))
	_, err := c.Read(first)
	_ = c.SetReadDeadline(time.Time{})
	if !stop() {
		return // closed
	}
	b := m.branch(first[0])
	if err != nil || b == nil || !b.offer(&replayed{Conn: c, first: first, remote: &remote{c.RemoteAddr()}}) {
		_ = c.Close()
	}
}

func (m *Mux) branch(first byte) *branch {
	switch first {
	case grpcByte:
		return m.grpc
	case peerByte:
		return m.peers
	case httpByte:
		return m.http
	}
	return nil
}

// replayed is a connection whose first bytes were read already.
type replayed struct {
	net.Conn
	first  []byte // read by one reader at a time, as all of a connection is
	remote *remote
}

// remote is the far end of one connection, and of no other: whoever is given it can tell connections apart.
type remote struct{ net.Addr }

// RemoteAddr is a pointer that only this connection has.
func (c *replayed) RemoteAddr() net.Addr { return c.remote }

func (c *replayed) Read(b []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.first)
	c.first = c.first[n:]
	return n, nil
}
