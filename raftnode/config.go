package raftnode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"time"

	"github.com/hashicorp/go-hclog"

	musterv1 "muster/proto/muster/v1"
)

// Peer is a node of the cluster as the operator configured it.
type Peer struct {
	// Name of the node.
	Name string
	// Address is its one port, host:port.
	Address string
}

// Config says what a node is made of. Zero timeouts and sizes mean the defaults.
type Config struct {
	// Name of this node: letters, digits, '.', '_' and '-', at most 63.
	Name string
	// Advertise is the address that other nodes reach this one at, host:port.
	Advertise string
	// Peers are all nodes of the cluster, this one among them. Empty: a cluster of one.
	Peers []Peer
	// Storage keeps log, votes, snapshots and identity. The node closes it.
	Storage *Storage
	// Listener yields the connections of other nodes (those whose first byte is 'M'). The node closes it.
	Listener net.Listener
	// Dial connects to a node's one port.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Machine is what the log drives.
	Machine StateMachine
	// TermStart gives the settings, wall clock and execution id for the first entry of a leadership term. The node fills in
	// server id, cluster id and voters. Called by the node's own goroutine.
	TermStart func() *musterv1.TermStart

	// HeartbeatTimeout is how long a follower hears nothing before it looks for another leader. A leader that crashes is
	// replaced after about twice that, four times at worst; shorter than the pauses of the machine it costs needless elections.
	HeartbeatTimeout time.Duration
	// ElectionTimeout is how long a candidate waits for votes; at least HeartbeatTimeout.
	ElectionTimeout time.Duration
	// LeaderLeaseTimeout is how long a leader goes on without hearing from a majority; at most HeartbeatTimeout.
	LeaderLeaseTimeout time.Duration

	// SnapshotBytes is how much log is applied before a snapshot is taken.
	SnapshotBytes int64
	// TrailingLogs is how many entries stay in the log behind a snapshot, so that a follower that was away for a moment needs
	// no snapshot.
	TrailingLogs uint64

	// DiskFence is how late a write to the disk may be before the node falls silent, so that another leads.
	DiskFence time.Duration
	// DiskHangs is called, with what hangs in words, when a write is later than HangLimit. The process should end: the write cannot be
	// given up, and the node takes part in nothing while it hangs. nil: only the log tells.
	DiskHangs func(what string)

	// MinFree is how many bytes should be free on the disk of the storage: see Node.Space. 0: the default, negative: any number will do.
	MinFree int64
	// FreeBytes tells how many are free. nil: the file system's word.
	FreeBytes func() (int64, error)

	// Observer is told what is measured where it happens. nil: nobody is.
	Observer Observer

	// Logger for the node and, named "raft", for Raft. nil: silent.
	Logger hclog.Logger

	// For this package's tests.
	afterReadIndex  func()       // between the index of a read and the proof of leadership
	beforeLook      func(*Term)  // before the run goroutine looks at what has happened; with the published term
	beforeBootstrap func() error // when all have adopted; an error stops the start procedure there
}

// Profile is how far apart the nodes are, and the timeouts (heartbeat, election and leader's lease alike) that go with it.
type Profile struct {
	// Name as an operator gives it.
	Name string
	// Timeout is ten round trips at least. One that is lost, or a pause of a machine, must not cost an election.
	Timeout time.Duration
	// Distance in words.
	Distance string
}

// Profiles are all there are, the default first.
var Profiles = []Profile{
	{Name: "lan", Timeout: DefaultTimeout, Distance: "nodes of one data center, round trips below 10ms"},
	{Name: "wan", Timeout: 1500 * time.Millisecond, Distance: "nodes of several regions, round trips to 150ms"},
}

// Defaults of Config.
const (
	// DefaultTimeout: with 200 ms no leader was lost in ten minutes of full load beside two busy loops on two cores.
	DefaultTimeout       = 200 * time.Millisecond
	DefaultSnapshotBytes = 64 << 20
	DefaultTrailingLogs  = 4096
	// DefaultMinFree holds unless SnapshotBytes is large: then it is a few of those.
	DefaultMinFree = 256 << 20

	// minFreeSnapshots: the log grows until a snapshot is written, beside which there are two older ones.
	minFreeSnapshots = 4

	minTimeout = 50 * time.Millisecond
)

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// withDefaults fills what is zero.
func (c Config) withDefaults() Config {
	for _, d := range []*time.Duration{&c.HeartbeatTimeout, &c.ElectionTimeout, &c.LeaderLeaseTimeout} {
		if *d == 0 {
			*d = DefaultTimeout
		}
	}
	if c.DiskFence == 0 {
		c.DiskFence = DefaultDiskFence
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = DefaultSnapshotBytes
	}
	if c.MinFree == 0 {
		c.MinFree = max(DefaultMinFree, minFreeSnapshots*c.SnapshotBytes)
	}
	if c.TrailingLogs == 0 {
		c.TrailingLogs = DefaultTrailingLogs
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Observer == nil {
		c.Observer = unobserved{}
	}
	if len(c.Peers) == 0 {
		c.Peers = []Peer{{Name: c.Name, Address: c.Advertise}}
	}
	return c
}

// Validate says what does not fit, naming the fields that collide. Zero values count as their defaults.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case !nodeName.MatchString(c.Name):
		return fmt.Errorf("node name %q: use 1 to 63 letters, digits, '.', '_' or '-', a letter or digit first", c.Name)
	case c.Advertise == "":
		return errors.New("no address to advertise: say at which host:port the other nodes reach this one")
	case c.Storage == nil || c.Listener == nil || c.Dial == nil || c.Machine == nil || c.TermStart == nil:
		return errors.New("storage, listener, dial, machine and term start are all needed")
	case c.Storage.name != c.Name:
		return fmt.Errorf("the storage is of node %s, this node is %s", c.Storage.name, c.Name)
	case c.HeartbeatTimeout < minTimeout:
		return fmt.Errorf("heartbeat timeout %v is below %v: every pause of the machine would cost an election", c.HeartbeatTimeout, minTimeout)
	case c.ElectionTimeout < c.HeartbeatTimeout:
		return fmt.Errorf("election timeout %v is below heartbeat timeout %v: raise the one or lower the other", c.ElectionTimeout, c.HeartbeatTimeout)
	case c.LeaderLeaseTimeout > c.HeartbeatTimeout:
		return fmt.Errorf("leader lease timeout %v is above heartbeat timeout %v: two leaders could overlap; lower it", c.LeaderLeaseTimeout, c.HeartbeatTimeout)
	case c.LeaderLeaseTimeout < minTimeout/2:
		return fmt.Errorf("leader lease timeout %v is below %v", c.LeaderLeaseTimeout, minTimeout/2)
	case c.DiskFence < 0 || c.DiskFence >= HangLimit:
		return fmt.Errorf("disk fence %v: give more than 0 and less than %v", c.DiskFence, HangLimit)
	case c.SnapshotBytes < 0:
		return fmt.Errorf("snapshot bytes %d is negative", c.SnapshotBytes)
	}
	return c.validatePeers()
}

func (c Config) validatePeers() error {
	names, addresses := map[string]bool{}, map[string]string{}
	for _, p := range c.Peers {
		if !nodeName.MatchString(p.Name) || p.Address == "" {
			return fmt.Errorf("peer %q at %q: each peer needs a name and an address", p.Name, p.Address)
		}
		if names[p.Name] {
			return fmt.Errorf("peer %s is listed twice", p.Name)
		}
		if other, taken := addresses[p.Address]; taken {
			return fmt.Errorf("peers %s and %s have the same address %s", other, p.Name, p.Address)
		}
		names[p.Name], addresses[p.Address] = true, p.Name
	}
	if !names[c.Name] {
		return fmt.Errorf("node %s is not among its peers: list all nodes of the cluster, this one too", c.Name)
	}
	if addresses[c.Advertise] != c.Name {
		return fmt.Errorf("node %s advertises %s, which is not its address in the list of peers", c.Name, c.Advertise)
	}
	return nil
}
