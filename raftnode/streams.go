package raftnode

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// streams gives one Raft after another the connections of a peerLayer. Closing it ends those that its Raft has, and nothing else.
type streams struct {
	layer  *peerLayer
	ctx    context.Context
	cancel context.CancelFunc
}

var _ raft.StreamLayer = (*streams)(nil)

func (l *peerLayer) streams() *streams {
	s := &streams{layer: l}
	s.ctx, s.cancel = context.WithCancel(l.ctx)
	return s
}

// Addr is the advertised address: Raft writes it into its messages.
func (s *streams) Addr() net.Addr { return nodeAddr(s.layer.self.Address) }

// Accept yields connections that Raft may use.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case c := <-s.layer.raft:
		return s.use(c)
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Dial takes a connection that is ready, or makes one.
func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if ready := s.layer.spares[string(address)]; ready != nil {
		if c := ready.take(); c != nil {
			return s.use(c)
		}
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	c, err := s.layer.connect(ctx, string(address))
	if err != nil {
		return nil, err
	}
	return s.use(c)
}

// use marks a connection as Raft's, or closes it if that Raft has ended.
func (s *streams) use(c *peerConn) (net.Conn, error) {
	c.used.Store(true)
	if s.ctx.Err() != nil {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close ends what Raft has.
func (s *streams) Close() error {
	s.cancel()
	s.layer.drop(func(c *peerConn) bool { return c.used.Load() })
	return nil
}

// nodeAddr is a node's address by name; it stays true when the name resolves to another machine.
type nodeAddr string

func (nodeAddr) Network() string  { return "tcp" }
func (a nodeAddr) String() string { return string(a) }
