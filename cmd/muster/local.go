package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"muster/cmd/muster/node"
	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
)

// localCluster is a cluster whose nodes run in this process, on loopback.
type localCluster struct {
	addresses []string
	nodes     []*node.Node
	remove    string // directory that goes with it; empty = none
}

// startLocal starts nodes n1, n2, … at ports from one on; 0 = any. An empty dataDir is a temporary one.
func startLocal(count, port int, dataDir string, settings *musterv1.Settings, logLevel string, log io.Writer) (_ *localCluster, err error) {
	if _, err := newLogger("", logLevel, log); err != nil {
		return nil, err
	}
	c := &localCluster{}
	if dataDir == "" {
		if dataDir, err = os.MkdirTemp("", "muster-"); err != nil {
			return nil, fmt.Errorf("temporary directory: %w", err)
		}
		c.remove = dataDir
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	listeners, peers, err := listenLocal(count, port)
	if err != nil {
		return nil, err
	}
	for i, p := range peers {
		c.addresses = append(c.addresses, p.Address)
		logger, err := newLogger(p.Name, logLevel, log)
		if err != nil {
			return nil, err
		}
		storage, err := raftnode.OpenStorage(filepath.Join(dataDir, p.Name), p.Name, raftnode.Bolt)
		if err != nil {
			return nil, err
		}
		n, err := node.Start(node.Config{
			Name: p.Name, Advertise: p.Address, Peers: peers, Storage: storage, Listener: listeners[i], Dial: dialTCP,
			Settings: settings, Version: version, Logger: logger,
		})
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

// listenLocal takes the ports before anything else is begun.
func listenLocal(count, port int) ([]net.Listener, []raftnode.Peer, error) {
	var listeners []net.Listener
	var peers []raftnode.Peer
	for i := range count {
		next := port
		if port != 0 {
			next += i
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", next))
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
			return nil, nil, fmt.Errorf("%w: is a cluster running there already? Choose others with --port", err)
		}
		listeners = append(listeners, l)
		peers = append(peers, raftnode.Peer{Name: fmt.Sprintf("n%d", i+1), Address: l.Addr().String()})
	}
	return listeners, peers, nil
}

// close ends the nodes, one after the other: the whole cluster ends, there is nobody to hand over to.
func (c *localCluster) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for _, n := range c.nodes {
		_ = n.Kill(ctx)
	}
	if c.remove != "" {
		_ = os.RemoveAll(c.remove)
	}
}
