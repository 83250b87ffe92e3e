package raftnode

import (
	"os"
	"path/filepath"
	"time"
)

// Observer is told of what has to be measured where it happens. Its methods are called concurrently, once per log entry or write,
// and must not block.
type Observer interface {
	// Sealed: an entry of so many commands and bytes was handed to Raft.
	Sealed(commands, bytes int)
	// Committed: such an entry was applied here, so long after it was handed to Raft.
	Committed(time.Duration)
	// Stored: a write of entries into this node's log took so long, until they were safe on disk.
	Stored(time.Duration)
}

// unobserved is the Observer of who wants none.
type unobserved struct{}

func (unobserved) Sealed(int, int)         {}
func (unobserved) Committed(time.Duration) {}
func (unobserved) Stored(time.Duration)    {}

// Stats are numbers for people who watch a node from outside. Counts begin with the process.
type Stats struct {
	// Elections is how often this node was elected.
	Elections uint64
	// Entries is how many log entries were applied here, those read again at the start among them.
	Entries uint64
	// Parked: nothing is applied here any more; Status.Problem says why.
	Parked bool
	// Silent: the node's disk hangs or refuses writes, and it neither leads nor votes.
	Silent bool
	// FreeBytes are free on the disk; 0 if nobody knows.
	FreeBytes int64
	// Waiting is how many commands wait to be put into an entry; 0 where no term is published.
	Waiting int
	// LogBytes is the size of the log's files; 0 in memory.
	LogBytes int64
	// FreshLogBytes is how much log was applied since the newest snapshot began, in bytes.
	FreshLogBytes int64
	// SnapshotBytes is the size of the newest snapshot; 0 without one.
	SnapshotBytes int64
	// Followers is, on a leader, how long ago each other server last agreed to a message; one that never did is not in it. By name.
	Followers map[string]time.Duration
}

// Stats reads memory, and asks for the size of one file.
func (n *Node) Stats() Stats {
	s := Stats{
		Elections: n.elections.Load(), Entries: n.applier.entries.Load(), Parked: n.applier.problem() != "",
		Silent: n.fence.closed(), FreeBytes: n.Space().Free,
		LogBytes: n.storage.logBytes(), FreshLogBytes: n.applier.bytes.Load(), SnapshotBytes: n.storage.snapshots.bytes.Load(),
		Followers: map[string]time.Duration{},
	}
	if t := n.current.Load(); t != nil {
		t.mu.Lock()
		s.Waiting = len(t.waiting)
		t.mu.Unlock()
		for id, at := range n.raft.Load().transport.contacts.lastAgreed(n.servers()) {
			s.Followers[nameOf(id)] = time.Since(at)
		}
	}
	return s
}

// logBytes is the size of the log's files; 0 if there are none.
func (s *Storage) logBytes() int64 {
	if s.dir == "" {
		return 0
	}
	var bytes int64
	segments, _ := filepath.Glob(filepath.Join(s.dir, walDir, "*"))
	for _, file := range append(segments, filepath.Join(s.dir, logFile)) {
		if info, err := os.Stat(file); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}
