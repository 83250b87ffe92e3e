package raftnode_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// intruder makes connections between nodes by hand.
type intruder struct {
	c       *raftnodetest.Cluster
	cluster string
	once    sync.Once
	closed  chan struct{}
}

func (i *intruder) Accept() (net.Conn, error) {
	<-i.closed
	return nil, net.ErrClosed
}

func (i *intruder) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

func (i *intruder) Addr() net.Addr { return &net.UnixAddr{Name: "intruder"} }

func (i *intruder) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, w, err := i.greet(ctx, string(address), musterv1.PeerHello_PURPOSE_RAFT)
	if err != nil {
		return nil, err
	}
	if w.GetError() != "" {
		return nil, errors.Join(errors.New(w.GetError()), conn.Close())
	}
	return conn, nil
}

// greet says hello and reads the welcome.
func (i *intruder) greet(ctx context.Context, address string, p musterv1.PeerHello_Purpose) (net.Conn, *musterv1.PeerWelcome, error) {
	conn, err := i.c.Network.Dialer("intruder")(ctx, address)
	if err != nil {
		return nil, nil, err
	}
	hello := &musterv1.PeerHello{Purpose: p, ClusterId: i.cluster, ServerId: "n9-00000000", Name: "n9"}
	w := &musterv1.PeerWelcome{}
	if err := raftnode.WriteFrame(conn, raftnode.PeerMagic, hello); err != nil {
		return nil, nil, err
	}
	return conn, w, raftnode.ReadFrame(conn, w)
}

// ended waits until the other side has closed a connection.
func ended(conn net.Conn) bool {
	_, err := conn.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

func raftID(id string) raft.ServerID                { return raft.ServerID(id) }
func raftAddress(address string) raft.ServerAddress { return raft.ServerAddress(address) }
