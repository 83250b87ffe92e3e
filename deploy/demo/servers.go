package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Short, so that the demo is: twice the report interval and the grace fit into the lease.
const (
	reportInterval = 400 * time.Millisecond
	lease          = 3 * time.Second
	grace          = 2 * time.Second
)

// server is one node of the cluster, whether it runs or not.
type server struct {
	name    string
	address string
	data    string
	process *process
}

// servers is the cluster's three nodes.
type servers []*server

// newServers gives three nodes free ports. All are taken before the first is given back, so that they differ.
func newServers(dir string) (servers, error) {
	var nodes servers
	for _, name := range []string{"n1", "n2", "n3"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer l.Close()
		nodes = append(nodes, &server{name: name, address: l.Addr().String(), data: filepath.Join(dir, name)})
	}
	return nodes, nil
}

// start runs one node. The command line is the same at its first start and after a crash.
func (ss servers) start(ps *processes, muster string, s *server) error {
	var peers []string
	for _, peer := range ss {
		peers = append(peers, peer.name+"="+peer.address)
	}
	process, err := ps.start(s.name, exec.Command(muster, "server",
		"--node", s.name, "--peers", strings.Join(peers, ","), "--data-dir", s.data,
		"--report-interval", reportInterval.String(), "--lease", lease.String(), "--grace", grace.String()))
	if err != nil {
		return err
	}
	s.process = process
	return nil
}

// end asks all nodes to end and waits for them.
func (ss servers) end(ctx context.Context) error {
	var errs []error
	for _, s := range ss {
		errs = append(errs, s.process.terminate())
	}
	for _, s := range ss {
		errs = append(errs, s.process.wait(ctx, endPatience))
	}
	return errors.Join(errs...)
}

// wipe removes all that the nodes know.
func (ss servers) wipe() error {
	for _, s := range ss {
		if err := os.RemoveAll(s.data); err != nil {
			return fmt.Errorf("wiping the data of %s: %w", s.name, err)
		}
	}
	return nil
}

// named is the node of that name.
func (ss servers) named(name string) (*server, error) {
	for _, s := range ss {
		if s.name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("there is no node %q", name)
}

func (ss servers) addresses() []string {
	var addresses []string
	for _, s := range ss {
		addresses = append(addresses, s.address)
	}
	return addresses
}
