package raftnode

import (
	"time"

	"github.com/hashicorp/raft"
)

// deleteChunk is how many entries one transaction deletes. One delete of 90,000 entries would keep appends waiting for a tenth
// of a second.
const deleteChunk = 2048

// logStore mends two habits of the stores beneath it, has their writes watched, and tells how long they take.
type logStore struct {
	raft.LogStore
	fence *fence // nil before the node starts
	// emptied is called on Raft's goroutine when the whole log was deleted, with the last index that it had. It may be nil.
	emptied func(last uint64)
	// stored is called on Raft's goroutine with the time that a write took. It may be nil.
	stored func(time.Duration)
}

// StoreLog stores one entry.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries in one transaction.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	begin := time.Now()
	err := s.fence.write("a write to the log", func() error { return s.LogStore.StoreLogs(logs) })
	if err == nil && s.stored != nil {
		s.stored(time.Since(begin))
	}
	return err
}

// IsMonotonic tells Raft to empty the log after a snapshot was installed. Without it a follower whose log differs from the
// leader's behind the snapshot installs it again and again (raft#697).
func (s *logStore) IsMonotonic() bool { return true }

// DeleteRange deletes a prefix of the log in pieces; a crash between two leaves a shorter prefix. A suffix goes in one
// transaction: a piece of it left behind would be a hole.
func (s *logStore) DeleteRange(first, last uint64) error {
	begin, err := s.FirstIndex()
	if err != nil {
		return err
	}
	end, err := s.LastIndex()
	if err != nil {
		return err
	}
	whole := first <= begin && last >= end
	if first <= begin {
		for ; last-first >= deleteChunk; first += deleteChunk {
			if err := s.deleteRange(first, first+deleteChunk-1); err != nil {
				return err
			}
		}
	}
	if err := s.deleteRange(first, last); err != nil {
		return err
	}
	if whole && s.emptied != nil {
		s.emptied(end)
	}
	return nil
}

func (s *logStore) deleteRange(first, last uint64) error {
	return s.fence.write("a deletion from the log", func() error { return s.LogStore.DeleteRange(first, last) })
}
