package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// patience is for whatever the story waits for. Nothing takes that long unless something is wrong.
const patience = 30 * time.Second

// demo is what the steps of the story share.
type demo struct {
	muster string // the binary
	dir    string
	began  time.Time

	processes *processes
	servers   servers
	client    *client.Client // of the cluster that runs

	words, standby *ranks
	// killed is the node that was killed; before is what the worlds were then, and what the writer has made of them since.
	killed *server
	before *musterv1.ViewResponse
	writer *writer
	acked  []write
	// saved is what was in the state when it was saved.
	saved *musterv1.ViewResponse
}

// say prints a line of the story.
func (d *demo) say(format string, args ...any) {
	fmt.Printf("[%5.1fs] %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// command does what a person would type, shows it, and gives what it printed.
func (d *demo) command(ctx context.Context, args ...string) (string, error) {
	typed := "muster"
	for _, arg := range args {
		if strings.Contains(arg, " ") {
			arg = strconv.Quote(arg)
		}
		typed += " " + arg
	}
	d.say("$ %s", typed)
	var out bytes.Buffer
	cmd := exec.Command(d.muster, args...)
	cmd.Env = append(os.Environ(), "MUSTER_SERVERS="+strings.Join(d.servers.addresses(), ","))
	cmd.Stdout = &out
	p, err := d.processes.start("commands", cmd)
	if err != nil {
		return "", err
	}
	if err := p.wait(ctx, patience); err != nil {
		return "", fmt.Errorf("%s: %w", typed, err)
	}
	return strings.TrimSpace(out.String()), nil
}

// await asks until it is so. It fails as soon as a process has failed.
func (d *demo) await(ctx context.Context, what string, so func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %v", patience))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := so(ctx)
		if failed := d.processes.failed(); failed != nil {
			err = failed
		} else if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if done {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// awaitAll waits until all processes of a world have said a line.
func (d *demo) awaitAll(ctx context.Context, rs *ranks, line string) error {
	return d.await(ctx, fmt.Sprintf("all of %s to have %s", rs.world, line), func(context.Context) (bool, error) {
		return rs.saying(line) == len(rs.processes), nil
	})
}

// view reads everything.
func (d *demo) view(ctx context.Context) (*musterv1.ViewResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	view, err := d.client.Cluster().ViewAll(ctx, &musterv1.ViewRequest{})
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	return view, nil
}

// status is every node that answers, by name, and the name of the leader if its term is published.
func (d *demo) status(ctx context.Context) (leader string, nodes map[string]*musterv1.NodeStatus) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	nodes = make(map[string]*musterv1.NodeStatus)
	status, err := d.client.Cluster().Status(ctx, &musterv1.StatusRequest{})
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

// awaitNodes waits until there is a leader, and all others follow and have applied the log up to index.
func (d *demo) awaitNodes(ctx context.Context, index uint64) (leader string, err error) {
	err = d.await(ctx, "all nodes", func(ctx context.Context) (bool, error) {
		var nodes map[string]*musterv1.NodeStatus
		leader, nodes = d.status(ctx)
		for _, s := range d.servers {
			node := nodes[s.name]
			follows := node.GetRole() == musterv1.NodeStatus_NODE_ROLE_FOLLOWER && node.GetProblem() == "" && node.GetLastContactMs() >= 0
			if s.name != leader && !follows || node.GetAppliedIndex() < index {
				return false, nil
			}
		}
		return leader != "", nil
	})
	return leader, err
}

// world is one world of a view, empty if it is not there.
func world(view *musterv1.ViewResponse, name string) *musterv1.WorldView {
	for _, w := range view.GetWorlds() {
		if w.GetWorld() == name {
			return w
		}
	}
	return &musterv1.WorldView{}
}

// disconnect ends the client, if there is one.
func (d *demo) disconnect() error {
	if d.client == nil {
		return nil
	}
	err := d.client.Close()
	d.client = nil
	return err
}
