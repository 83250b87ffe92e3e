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

	clientv3 "go.etcd.io/etcd/client/v3"
)

// cluster is three nodes, each this program as a process of its own.
type cluster struct {
	nodes []node
	run   []*exec.Cmd // nil: does not run
}

func newCluster(dir string) (*cluster, error) {
	const size = 3
	var urls []string
	for range 2 * size {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
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

// startCluster is a newCluster whose nodes run.
func startCluster(dir string) (*cluster, error) {
	c, err := newCluster(dir)
	for i := 0; err == nil && i < len(c.nodes); i++ {
		err = c.start(i)
	}
	if err != nil && c != nil {
		c.killAll()
	}
	return c, err
}

func (c *cluster) clients() (urls []string) {
	for _, n := range c.nodes {
		urls = append(urls, n.client)
	}
	return urls
}

// start starts a node over the data that it has.
func (c *cluster) start(i int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	n := c.nodes[i]
	cmd := exec.Command(self, "node", "--name", n.name, "--data-dir", n.dir, "--client", n.client, "--peer", n.peer, "--cluster", n.cluster)
	cmd.Stderr = os.Stderr
	c.run[i] = cmd
	return cmd.Start()
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

// settled waits until all nodes follow the same leader, and gives that.
func (c *cluster) settled(client *clientv3.Client) (leader int, err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if leader, ok := c.leader(client); ok {
			return leader, nil
		}
	}
	return 0, errors.New("the nodes do not settle on a leader")
}

func (c *cluster) leader(client *clientv3.Client) (leader int, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
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
