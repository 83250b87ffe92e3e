package raftnode

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// snapshotStore tells who opens a snapshot which one it is, and remembers how far the newest reaches and how large it is.
type snapshotStore struct {
	raft.SnapshotStore
	newest atomic.Uint64 // index
	bytes  atomic.Int64
}

// openSnapshotFiles keeps snapshots under dir, two of them.
func openSnapshotFiles(dir string, logger hclog.Logger) (*snapshotStore, error) {
	if err := removeLeftovers(filepath.Join(dir, "snapshots")); err != nil {
		return nil, err
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, logger)
	if err != nil {
		return nil, fmt.Errorf("open snapshots in %s: %w", dir, err)
	}
	return &snapshotStore{SnapshotStore: files}, nil
}

// removeLeftovers deletes snapshots whose writing a crash cut short; Raft only warns of them.
func removeLeftovers(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read snapshots: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove an unfinished snapshot: %w", err)
			}
		}
	}
	return nil
}

func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	metas, err := s.SnapshotStore.List()
	for _, m := range metas {
		s.reached(m.Index, m.Size)
	}
	return metas, err
}

func (s *snapshotStore) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, cIndex uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, cIndex, t)
	if err != nil {
		return nil, err
	}
	return &snapshotSink{SnapshotSink: sink, store: s, index: index}, nil
}

func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := s.SnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	return meta, &openSnapshot{r, meta.Index}, nil
}

func (s *snapshotStore) reached(index uint64, bytes int64) {
	for old := s.newest.Load(); old < index; old = s.newest.Load() {
		if s.newest.CompareAndSwap(old, index) {
			s.bytes.Store(bytes)
		}
	}
}

type snapshotSink struct {
	raft.SnapshotSink
	store *snapshotStore
	index uint64
	bytes int64
}

func (s *snapshotSink) Write(p []byte) (int, error) {
	n, err := s.SnapshotSink.Write(p)
	s.bytes += int64(n)
	return n, err
}

func (s *snapshotSink) Close() error {
	err := s.SnapshotSink.Close()
	if err == nil {
		s.store.reached(s.index, s.bytes)
	}
	return err
}

// openSnapshot carries the index of a snapshot to the state machine, which Raft does not tell.
type openSnapshot struct {
	io.ReadCloser
	index uint64
}

// snapshotIndex returns the index of a snapshot that Raft hands to the state machine.
func snapshotIndex(r io.ReadCloser) (uint64, bool) {
	for {
		switch s := r.(type) {
		case *openSnapshot:
			return s.index, true
		case raft.ReadCloserWrapper:
			r = s.WrappedReadCloser()
		default:
			return 0, false
		}
	}
}
