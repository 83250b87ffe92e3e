package raftnode

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// snapshotStore tells who opens a snapshot which one it is, and remembers how far the newest reaches and how large it is.
type snapshotStore struct {
	raft.SnapshotStore
	newest atomic.Uint64 // index
	bytes  atomic.Int64

	dir     string // of the snapshots; empty: in memory
	mu      sync.Mutex
	writing map[string]struct{} // ids
}

// openSnapshotFiles keeps snapshots under dir, two of them.
func openSnapshotFiles(dir string, logger hclog.Logger) (*snapshotStore, error) {
	path := filepath.Join(dir, "snapshots")
	if err := removeLeftovers(path, nil); err != nil {
		return nil, err
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, logger)
	if err != nil {
		return nil, fmt.Errorf("open snapshots in %s: %w", dir, err)
	}
	return &snapshotStore{SnapshotStore: files, dir: path, writing: map[string]struct{}{}}, nil
}

// How the directory of a snapshot ends while it is written, and the file in it that is large.
const (
	unfinished = ".tmp"
	stateFile  = "state.bin" // as Raft calls it
)

// removeLeftovers deletes snapshots whose writing was cut short by a crash or a full disk, but those that are being written; Raft only
// warns of them.
func removeLeftovers(dir string, writing map[string]struct{}) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read snapshots: %w", err)
	}
	for _, e := range entries {
		id, leftover := strings.CutSuffix(e.Name(), unfinished)
		if _, busy := writing[id]; !leftover || busy {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove an unfinished snapshot: %w", err)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	sink, err := s.SnapshotStore.Create(v, index, term, c, cIndex, t)
	if err != nil {
		return nil, errors.Join(err, s.sweep())
	}
	w := &snapshotSink{SnapshotSink: sink, store: s, index: index}
	if s.dir != "" {
		s.writing[sink.ID()] = struct{}{}
		w.file, _ = os.OpenFile(filepath.Join(s.dir, sink.ID()+unfinished, stateFile), os.O_WRONLY, 0)
	}
	return w, nil
}

// sweep removes what a failed snapshot has left behind. Called with mu held.
func (s *snapshotStore) sweep() error {
	if s.dir == "" {
		return nil
	}
	return removeLeftovers(s.dir, s.writing)
}

// written ends the writing of a snapshot, with the error that it came to.
func (s *snapshotStore) written(w *snapshotSink, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.writing, w.ID())
	if err != nil {
		err = errors.Join(err, s.sweep())
	}
	if w.file != nil {
		if err != nil {
			_ = w.file.Truncate(0)
		}
		_ = w.file.Close()
		w.file = nil
	}
	return err
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
	// file is the state once more: when its writing fails Raft forgets to close it, and its room would not be free before it does.
	file *os.File
}

func (s *snapshotSink) Write(p []byte) (int, error) {
	n, err := s.SnapshotSink.Write(p)
	s.bytes += int64(n)
	return n, err
}

func (s *snapshotSink) Close() error {
	err := s.store.written(s, s.SnapshotSink.Close())
	if err == nil {
		s.store.reached(s.index, s.bytes)
	}
	return err
}

func (s *snapshotSink) Cancel() error {
	return s.store.written(s, s.SnapshotSink.Cancel())
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
