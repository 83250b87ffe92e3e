package raftnode

import (
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// AfterReadIndex has f called between the index of a read and the proof of leadership.
func AfterReadIndex(c *Config, f func()) { c.afterReadIndex = f }

// BeforeLook has f called before the goroutine that leads looks at what has happened, with the published term.
func BeforeLook(c *Config, f func(*Term)) { c.beforeLook = f }

// BeforeBootstrap has f called when all nodes have adopted the cluster; an error ends the founding there.
func BeforeBootstrap(c *Config, f func() error) { c.beforeBootstrap = f }

// Stores are the log and the stable store as Raft gets them.
func (s *Storage) Stores() (raft.LogStore, raft.StableStore) { return s.logs, s.stable }

// Join makes a cluster the storage's.
func (s *Storage) Join(clusterID string) error { return s.join(clusterID) }

// NewDrainedPipeline wraps a pipeline as the transport does.
func NewDrainedPipeline(p raft.AppendPipeline) raft.AppendPipeline { return newDrainedPipeline(p, nil) }

// Raft is the Raft of a node that has found its cluster.
func (n *Node) Raft() *raft.Raft { return n.raft.Load().Raft }

// TermOf is a Term of that number which nobody has ended.
func (n *Node) TermOf(number uint64) *Term { return newTerm(n, number) }

// ApplyRaw hands bytes to Raft behind the sealing goroutine's back.
func (n *Node) ApplyRaw(data []byte) error { return n.raft.Load().Apply(data, 0).Error() }

// Greeting parts for tests that speak the protocol themselves.
var (
	WriteFrame = writeFrame
	ReadFrame  = readFrame
)

const PeerMagic = peerMagic

// NewTransport is the transport that a node gives to Raft.
func NewTransport(layer raft.StreamLayer) raft.Transport {
	return newTransport(layer, nil, func(*raft.RequestPreVoteRequest) (granted, ok bool) { return false, false }, hclog.NewNullLogger())
}

// CompareInterval is how often nodes compare digests.
const CompareInterval = compareInterval

// Demote takes a server's vote.
func (n *Node) Demote(id string) error { return n.Raft().DemoteVoter(raft.ServerID(id), 0, 0).Error() }

// OnDisk has every write of a storage in memory, and every probe, pass through f.
func OnDisk(s *Storage, f func(write func() error) error) {
	s.log.LogStore = diskLog{s.log.LogStore, f}
	s.votes.StableStore = diskStable{s.votes.StableStore, f}
	s.probe = func() error { return f(noError) }
}

type diskLog struct {
	raft.LogStore
	write func(func() error) error
}

func (d diskLog) StoreLogs(logs []*raft.Log) error {
	return d.write(func() error { return d.LogStore.StoreLogs(logs) })
}

func (d diskLog) DeleteRange(first, last uint64) error {
	return d.write(func() error { return d.LogStore.DeleteRange(first, last) })
}

type diskStable struct {
	raft.StableStore
	write func(func() error) error
}

func (d diskStable) Set(key, v []byte) error {
	return d.write(func() error { return d.StableStore.Set(key, v) })
}

func (d diskStable) SetUint64(key []byte, v uint64) error {
	return d.write(func() error { return d.StableStore.SetUint64(key, v) })
}

// Fence of a node.
func (n *Node) Fence() (closed, mayStand bool) { return n.fence.closed(), n.fence.mayStand() }

// Probation is how long a disk that refused a write must take writes.
const Probation = probation

// Transport is what the node's Raft speaks through.
func (n *Node) Transport() raft.Transport { return n.raft.Load().transport }

// OpenSnapshots opens the snapshots of a data directory as a node does.
func OpenSnapshots(dir string) (raft.SnapshotStore, error) {
	return openSnapshotFiles(dir, hclog.NewNullLogger())
}

// Resent is resent.
var Resent = resent
