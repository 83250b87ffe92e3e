package raftnode

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// memorySnapshots keeps the newest finished snapshot. Unlike Raft's own it never shows one that is still being written.
type memorySnapshots struct {
	mu   sync.Mutex
	meta *raft.SnapshotMeta
	data []byte
}

func (m *memorySnapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, cIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &memorySink{store: m, meta: raft.SnapshotMeta{
		Version: v, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term, Configuration: c.Clone(), ConfigurationIndex: cIndex,
	}}, nil
}

func (m *memorySnapshots) List() ([]*raft.SnapshotMeta, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meta == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{m.meta}, nil
}

func (m *memorySnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meta == nil || m.meta.ID != id {
		return nil, nil, fmt.Errorf("no snapshot %s", id)
	}
	return m.meta, io.NopCloser(bytes.NewReader(m.data)), nil
}

type memorySink struct {
	store *memorySnapshots
	meta  raft.SnapshotMeta
	buf   bytes.Buffer
	done  bool
}

func (s *memorySink) ID() string                  { return s.meta.ID }
func (s *memorySink) Write(p []byte) (int, error) { return s.buf.Write(p) }

func (s *memorySink) Cancel() error {
	s.done = true
	return nil
}

func (s *memorySink) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	s.meta.Size = int64(s.buf.Len())
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.meta, s.store.data = &s.meta, s.buf.Bytes()
	return nil
}
