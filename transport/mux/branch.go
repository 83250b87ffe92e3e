package mux

import (
	"context"
	"net"
)

// branch is the listener of one kind of connection.
type branch struct {
	addr   net.Addr
	conns  chan net.Conn
	ctx    context.Context
	cancel context.CancelFunc
}

func newBranch(m *Mux) *branch {
	b := &branch{addr: m.inner.Addr(), conns: make(chan net.Conn)}
	b.ctx, b.cancel = context.WithCancel(m.ctx)
	return b
}

// offer waits until the connection is accepted; false if the branch is closed first.
func (b *branch) offer(c net.Conn) bool {
	select {
	case b.conns <- c:
		return true
	case <-b.ctx.Done():
		return false
	}
}

// Accept returns the next connection, or net.ErrClosed.
func (b *branch) Accept() (net.Conn, error) {
	if b.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	select {
	case c := <-b.conns:
		return c, nil
	case <-b.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (b *branch) Close() error {
	b.cancel()
	return nil
}

func (b *branch) Addr() net.Addr { return b.addr }
