package fleet

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

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// Short, so that a demonstration is: twice the report interval and the grace fit into the lease.
const (
	reportInterval = 400 * time.Millisecond
	Lease          = 3 * time.Second
	Grace          = 2 * time.Second
)

const servers = 3

// Server is one node of the cluster, whether it runs or not.
type Server struct {
	Name    string
	Address string
	Process *Process

	data string
}

// StartServers starts three servers with empty data directories, waits until they are one cluster, and names the leader.
func (f *Fleet) StartServers(ctx context.Context) (leader string, err error) {
	addresses := f.Places
	if addresses == nil {
		if addresses, err = freeAddresses(servers); err != nil {
			return "", err
		}
	}
	f.Servers = nil
	for i, address := range addresses {
		name := fmt.Sprintf("n%d", i+1)
		f.Servers = append(f.Servers, &Server{Name: name, Address: address, data: filepath.Join(f.Dir, name)})
	}
	for _, s := range f.Servers {
		if err := f.StartServer(s); err != nil {
			return "", err
		}
	}
	if f.Client, err = client.New(client.Config{Servers: f.Addresses()}); err != nil {
		return "", err
	}
	return f.AwaitServers(ctx, 0)
}

// freeAddresses are n loopback addresses that nobody listens at.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer l.Close() // only now, so that none is given twice
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// StartServer runs one node. The command line is the same at its first start and after a crash.
func (f *Fleet) StartServer(s *Server) error {
	var peers []string
	for _, peer := range f.Servers {
		peers = append(peers, peer.Name+"="+peer.Address)
	}
	line := []string{f.Muster, "server", "--node", s.Name, "--peers", strings.Join(peers, ","), "--data-dir", s.data,
		"--report-interval", reportInterval.String(), "--lease", Lease.String(), "--grace", Grace.String()}
	line = append(line, f.Flags...)
	if f.Within != nil {
		line = append(append(f.Within(s.Name), line...), "--insecure")
	}
	process, err := f.Start(s.Name, exec.Command(line[0], line[1:]...))
	if err != nil {
		return err
	}
	s.Process = process
	return nil
}

// KillLeader kills the node that leads, and waits until it is gone.
func (f *Fleet) KillLeader(ctx context.Context) (*Server, error) {
	s, err := f.Leader(ctx)
	if err != nil {
		return nil, err
	}
	return s, s.Process.Kill()
}

// Leader is the node that leads.
func (f *Fleet) Leader(ctx context.Context) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	leader, err := f.Client.Cluster().FindLeader(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range f.Servers {
		if s.Name == leader.GetNode() {
			return s, nil
		}
	}
	return nil, fmt.Errorf("there is no node %q", leader.GetNode())
}

// Status is every node that answers, by name, and the name of the leader if its term is published.
func (f *Fleet) Status(ctx context.Context) (leader string, nodes map[string]*musterv1.NodeStatus) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	nodes = make(map[string]*musterv1.NodeStatus)
	status, err := f.Client.Cluster().Status(ctx, &musterv1.StatusRequest{})
	if err != nil {
		return "", nodes // it is asked again
	}
	for _, node := range status.GetNodes() {
		nodes[node.GetName()] = node
		if node.GetRole() == musterv1.NodeStatus_NODE_ROLE_LEADER && node.GetTermPublished() {
			leader = node.GetName()
		}
	}
	return leader, nodes
}

// AwaitServers waits until there is a leader, and all others follow and have applied the log up to index.
func (f *Fleet) AwaitServers(ctx context.Context, index uint64) (leader string, err error) {
	err = f.Await(ctx, "all nodes", func(ctx context.Context) (bool, error) {
		var nodes map[string]*musterv1.NodeStatus
		leader, nodes = f.Status(ctx)
		for _, s := range f.Servers {
			node := nodes[s.Name]
			follows := node.GetRole() == musterv1.NodeStatus_NODE_ROLE_FOLLOWER && node.GetProblem() == "" && node.GetLastContactMs() >= 0
			if s.Name != leader && !follows || node.GetAppliedIndex() < index {
				return false, nil
			}
		}
		return leader != "", nil
	})
	return leader, err
}

// Committed is the greatest log index of which any node knows that a majority has it.
func (f *Fleet) Committed(ctx context.Context) (index uint64) {
	_, nodes := f.Status(ctx)
	for _, node := range nodes {
		index = max(index, node.GetCommitIndex())
	}
	return index
}

// RestartServer starts a killed node as it was started before, and waits until it follows and knows what the others did.
func (f *Fleet) RestartServer(ctx context.Context, s *Server) (leader string, err error) {
	known := f.Committed(ctx)
	if err := f.StartServer(s); err != nil {
		return "", err
	}
	return f.AwaitServers(ctx, known)
}

// EndServers asks all nodes to end, which are to be the last processes, and waits for them.
func (f *Fleet) EndServers(ctx context.Context) error {
	errs := []error{f.Disconnect()}
	for _, s := range f.Servers {
		errs = append(errs, s.Process.Terminate())
	}
	for _, s := range f.Servers {
		errs = append(errs, s.Process.Wait(ctx, endPatience))
	}
	return errors.Join(append(errs, f.Left())...)
}

// WipeServers removes all that the nodes know, which do not run.
func (f *Fleet) WipeServers() error {
	for _, s := range f.Servers {
		if err := os.RemoveAll(s.data); err != nil {
			return fmt.Errorf("wiping the data of %s: %w", s.Name, err)
		}
	}
	return nil
}

// Disconnect ends the client, if there is one.
func (f *Fleet) Disconnect() error {
	if f.Client == nil {
		return nil
	}
	err := f.Client.Close()
	f.Client = nil
	return err
}

// Addresses are the servers', as --servers takes them, one each.
func (f *Fleet) Addresses() []string {
	var addresses []string
	for _, s := range f.Servers {
		addresses = append(addresses, s.Address)
	}
	return addresses
}
