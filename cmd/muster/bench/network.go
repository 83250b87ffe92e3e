package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// networkVariable tells a process that it runs in the network that Enter made, and the names of its namespaces begin with.
const networkVariable = "MUSTER_BENCH_NETWORK"

const (
	networkPort = "7380"
	nodes       = 3
)

// network is three servers' machines as network namespaces of their own, each on a wire to a bridge in a fourth, where this process is.
// Nothing outside of them is touched.
type network struct{ prefix string }

// insideNetwork is the network that this process runs in.
func insideNetwork() (*network, error) {
	prefix := os.Getenv(networkVariable)
	if prefix == "" {
		return nil, errors.New("to cut servers off they must run in a network of their own: see Enter")
	}
	return &network{prefix}, nil
}

// Inside tells whether this process runs in a network that can be cut.
func Inside() bool { return os.Getenv(networkVariable) != "" }

// Enter makes a network and runs a command in it, which finds Inside true. It needs the rights to make network namespaces and the program
// ip. What it made is gone when it returns.
func Enter(cmd *exec.Cmd) (err error) {
	n := &network{fmt.Sprintf("muster-bench-%d", os.Getpid())}
	defer func() { err = errors.Join(err, n.remove()) }()
	if err := n.make(); err != nil {
		return fmt.Errorf("making network namespaces, which takes root and iproute2: %w", err)
	}
	cmd.Args = append([]string{"ip", "netns", "exec", n.middle(), cmd.Path}, cmd.Args[1:]...)
	if cmd.Path, err = exec.LookPath("ip"); err != nil {
		return err
	}
	cmd.Env = append(os.Environ(), networkVariable+"="+n.prefix)
	return cmd.Run()
}

func (n *network) middle() string          { return n.prefix + "-middle" }
func (n *network) end(name string) string  { return n.prefix + "-" + name }
func (n *network) address(i int) string    { return fmt.Sprintf("10.213.77.%d", i) }
func (n *network) wire(name string) string { return "wire-" + name }

// names are the servers'.
func (n *network) names() (names []string) {
	for i := range nodes {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	return names
}

// make makes the namespaces and the wires.
func (n *network) make() error {
	middle := n.middle()
	lines := []string{
		"netns add " + middle,
		"-n " + middle + " link set lo up",
		"-n " + middle + " link add bridge type bridge forward_delay 0",
		"-n " + middle + " address add " + n.address(254) + "/24 dev bridge",
		"-n " + middle + " link set bridge up",
	}
	for i, name := range n.names() {
		end, wire := n.end(name), n.wire(name)
		lines = append(lines,
			"netns add "+end,
			"-n "+end+" link set lo up",
			"-n "+middle+" link add "+wire+" type veth peer name wire netns "+end,
			"-n "+middle+" link set "+wire+" master bridge up",
			"-n "+end+" address add "+n.address(i+1)+"/24 dev wire",
			"-n "+end+" link set wire up",
		)
	}
	for _, line := range lines {
		if err := ip(line); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the namespaces, and with them all that is in them.
func (n *network) remove() error {
	var errs []error
	for _, namespace := range append([]string{n.middle()}, n.end("n1"), n.end("n2"), n.end("n3")) {
		if _, err := os.Stat("/run/netns/" + namespace); err == nil {
			errs = append(errs, ip("netns delete "+namespace))
		}
	}
	return errors.Join(errs...)
}

// places are where the servers listen.
func (n *network) places() (places []string) {
	for i := range n.names() {
		places = append(places, n.address(i+1)+":"+networkPort)
	}
	return places
}

// within is the command line that runs something where a server is.
func (n *network) within(server string) []string {
	return []string{"ip", "netns", "exec", n.end(server)}
}

// cut takes a server's wire off the bridge, or puts it back: packets are lost, and nobody is told.
func (n *network) cut(server string, off bool) error {
	state := "up"
	if off {
		state = "down"
	}
	return ip("link set " + n.wire(server) + " " + state)
}

// ip runs the program of that name.
func ip(line string) error {
	if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", line, err, strings.TrimSpace(string(out)))
	}
	return nil
}
