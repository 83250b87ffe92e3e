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
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// cluster is three nodes, each this program as a process of its own.
type cluster struct {
	nodes []node
	run   []*exec.Cmd // nil: does not run
}

// play runs a cluster in a temporary directory for as long as do lasts. Nothing of either is left behind it.
func play(do func(c *cluster) error) (err error) {
	dir, err := os.MkdirTemp("", "etcdbench-")
	if err != nil {
		return fmt.Errorf("temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := newCluster(dir)
	if err != nil {
		return err
	}
	defer c.killAll()
	for i := range c.nodes {
		if err := c.start(i); err != nil {
			return err
		}
	}
	return do(c)
}

func newCluster(dir string) (*cluster, error) {
	const size = 3
	var urls []string
	for range 2 * size {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer l.Close() // only now, so that none is given twice
		urls = append(urls, "http://"+l.Addr().String())
	}
	c := &cluster{run: make([]*exec.Cmd, size)}
	var all []string
	for i := range size {
		name := fmt.Sprintf("e%d", i+1)
		c.nodes = append(c.nodes, node{name: name, dir: filepath.Join(dir, name), client: urls[2*i], peer: urls[2*i+1]})
		all = append(all, name+"="+urls[2*i+1])
	}
	for i := range c.nodes {
		c.nodes[i].cluster = strings.Join(all, ",")
	}
	return c, nil
}

func (c *cluster) clients() (urls []string) {
	for _, n := range c.nodes {
		urls = append(urls, n.client)
	}
	return urls
}

// start starts a node over the data that it has. The node is in a process group of its own, so that a Ctrl-C in the terminal reaches this
// program alone, and ends when its standard input does, which is when this program has ended, however that was.
func (c *cluster) start(i int) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("the own binary: %w", err)
	}
	n := c.nodes[i]
	cmd := exec.Command(self, "node", "--name", n.name, "--data-dir", n.dir, "--client", n.client, "--peer", n.peer, "--cluster", n.cluster)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := cmd.StdinPipe(); err != nil {
		return fmt.Errorf("starting %s: %w", n.name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", n.name, err)
	}
	c.run[i] = cmd
	return nil
}

// kill ends a node as a crash would, and waits until it is gone.
func (c *cluster) kill(i int) {
	_ = c.run[i].Process.Kill()
	_ = c.run[i].Wait()
	c.run[i] = nil
}

func (c *cluster) killAll() {
	for i, cmd := range c.run {
		if cmd != nil {
			c.kill(i)
		}
	}
}

// dial has so many clients of nodes, a connection each. Those that were made are given also with an error.
func dial(n int, endpoints ...string) (all []*clientv3.Client, err error) {
	for range n {
		client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: time.Second, Logger: zap.NewNop()})
		if err != nil {
			return all, fmt.Errorf("client of %s: %w", strings.Join(endpoints, ", "), err)
		}
		all = append(all, client)
	}
	return all, nil
}

func hangUp(clients []*clientv3.Client) {
	for _, client := range clients {
		_ = client.Close() // what they were for is over
	}
}

// dialLeader waits until all nodes follow the same leader, and has so many clients of that one, as Muster's are.
func (c *cluster) dialLeader(ctx context.Context, n int) (clients []*clientv3.Client, err error) {
	asking, err := dial(1, c.clients()...)
	defer hangUp(asking)
	if err != nil {
		return nil, err
	}
	leader, err := c.settled(ctx, asking[0])
	if err != nil {
		return nil, err
	}
	return dial(n, c.nodes[leader].client)
}

// settled waits until all nodes follow the same leader, and gives that.
func (c *cluster) settled(ctx context.Context, client *clientv3.Client) (leader int, err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if leader, ok := c.leader(ctx, client); ok {
			return leader, nil
		}
		if err := rest(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("the nodes do not settle on a leader")
}

func (c *cluster) leader(ctx context.Context, client *clientv3.Client) (leader int, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	leader, known := -1, uint64(0)
	for i, n := range c.nodes {
		status, err := client.Status(ctx, n.client)
		if err != nil || status.Leader == 0 || known != 0 && status.Leader != known {
			return 0, false
		}
		known = status.Leader
		if status.Header.MemberId == status.Leader {
			leader = i
		}
	}
	return leader, leader >= 0
}

// rest waits, and is an error where ctx ends before.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// orCause is err, or why ctx has ended where it has.
func orCause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
