package process

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// settings are short, for tests: a lease is as short as may be with some room for a busy machine.
var settings = []string{"--report-interval", "500ms", "--lease", "4s", "--grace", "2s", "--proc-timeout", "2s", "--stop-margin", "1s"}

// Cluster is three servers n1, n2 and n3.
type Cluster struct {
	Servers []*Server

	t      testing.TB
	client *client.Client // for the cluster's own questions
}

// New starts three servers, with these flags too, and waits until they are a cluster.
func New(t testing.TB, flags ...string) *Cluster {
	t.Helper()
	return NewIn(t, "", flags...)
}

// NewIn is New with the data of all servers below dir.
func NewIn(t testing.TB, dir string, flags ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	addresses := FreeAddresses(t, 3)
	var peers []string
	for i, address := range addresses {
		peers = append(peers, fmt.Sprintf("n%d=%s", i+1, address))
	}
	flags = append(append([]string{"--peers", strings.Join(peers, ",")}, settings...), flags...)
	for i, address := range addresses {
		c.Servers = append(c.Servers, NewServer(t, fmt.Sprintf("n%d", i+1), address, flags...))
	}
	c.client = c.Client()
	for _, s := range c.Servers {
		if dir != "" {
			s.Dir = filepath.Join(dir, s.Name)
		}
		s.Start()
	}
	c.WaitReady()
	return c
}

// Addresses of all servers, as --servers takes them.
func (c *Cluster) Addresses() string {
	var addresses []string
	for _, s := range c.Servers {
		addresses = append(addresses, s.Address)
	}
	return strings.Join(addresses, ",")
}

// Client is an SDK client that knows all servers. The test closes it.
func (c *Cluster) Client() *client.Client {
	c.t.Helper()
	cl, err := client.New(client.Config{Servers: strings.Split(c.Addresses(), ",")})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cl.Close() })
	return cl
}

// Muster runs a verb of the command line against the cluster.
func (c *Cluster) Muster(args ...string) (code int, out, errs string) {
	c.t.Helper()
	return muster(c.t, c.Addresses(), args)
}

// Status is the cluster as some server sees it; nil if none answers at the moment.
func (c *Cluster) Status() *musterv1.StatusResponse {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	status, err := c.client.Cluster().Status(ctx, &musterv1.StatusRequest{})
	if err != nil {
		return nil
	}
	return status
}

// Leader waits for a server whose term is published.
func (c *Cluster) Leader() *Server {
	c.t.Helper()
	var leader *Server
	c.Eventually("a leader", func() bool {
		for i, node := range c.Status().GetNodes() {
			if node.GetTermPublished() {
				leader = c.Servers[i]
				return true
			}
		}
		return false
	})
	return leader
}

// WaitReady waits until all servers that run take part in a cluster that has a leader.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	c.Eventually("all running servers taking part", func() bool {
		leaders, ready := 0, true
		nodes := c.Status().GetNodes()
		for i, node := range nodes {
			if node.GetTermPublished() {
				leaders++
			}
			ready = ready && (!c.Servers[i].Running() || node.GetProblem() == "" && (node.GetTermPublished() ||
				node.GetRole() == musterv1.NodeStatus_NODE_ROLE_FOLLOWER && node.GetLastContactMs() >= 0))
		}
		return len(nodes) == len(c.Servers) && leaders == 1 && ready
	})
}

// RequireConverged waits until all three servers have applied the same entries. Where they have, they must agree on what came
// of them.
func (c *Cluster) RequireConverged() {
	c.t.Helper()
	c.Eventually("the same index, number and digest on all nodes", func() bool {
		nodes := c.Status().GetNodes()
		if len(nodes) != len(c.Servers) {
			return false
		}
		same := true
		for _, node := range nodes[1:] {
			if node.GetDigest() == "" || node.GetAppliedIndex() != nodes[0].GetAppliedIndex() {
				same = false
			} else if node.GetDigest() != nodes[0].GetDigest() || node.GetNumber() != nodes[0].GetNumber() {
				c.t.Fatalf("the states of %s and %s differ at index %d: %v", nodes[0].GetName(), node.GetName(), node.GetAppliedIndex(), nodes)
			}
		}
		return same
	})
}

// Eventually polls until a condition holds.
func (c *Cluster) Eventually(what string, holds func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited %v for %s; status: %v", patience, what, c.Status())
		}
	}
}
