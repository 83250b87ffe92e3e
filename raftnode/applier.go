package raftnode

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/wire"
)

// entryFormat is the only format of Entry that this version knows.
const entryFormat = 1

// applied is what an entry came to, as Raft's future returns it on the node that proposed it.
type applied struct {
	term     uint64 // of the log entry
	outcomes []*musterv1.Outcome
	dropped  bool
	err      error
}

// applier drives the state machine from Raft's FSM goroutine.
type applier struct {
	machine StateMachine
	logger  hclog.Logger
	limit   int64         // bytes of log between snapshots
	full    chan struct{} // capacity one: limit was passed
	onPark  func()

	mu      sync.RWMutex // write: Apply, swap; read: Read, Freeze
	index   watermark
	digests digestRing
	bytes   atomic.Int64  // log applied since the last snapshot
	entries atomic.Uint64 // applied, ever
	parked  atomic.Pointer[string]
	// configIndex is the last configuration entry applied; 0 if a snapshot hides it.
	configIndex atomic.Uint64
}

var _ raft.BatchingFSM = (*applier)(nil)

// ApplyBatch applies entries in order. Raft panics unless it gets as many results as entries.
func (a *applier) ApplyBatch(logs []*raft.Log) []any {
	results := make([]any, len(logs))
	for i, l := range logs {
		results[i] = a.apply(l)
	}
	return results
}

// Apply is the same for one entry.
func (a *applier) Apply(l *raft.Log) any { return a.apply(l) }

func (a *applier) apply(l *raft.Log) *applied {
	if a.parked.Load() != nil {
		return &applied{term: l.Term, err: ErrNotServing}
	}
	if l.Type == raft.LogConfiguration {
		a.configIndex.Store(l.Index)
		a.index.advance(l.Index)
		return &applied{term: l.Term}
	}
	res, err := a.applyCommand(l)
	if err != nil {
		a.park(l.Index, err)
		return &applied{term: l.Term, err: ErrNotServing}
	}
	a.entries.Add(1)
	if a.bytes.Add(int64(len(l.Data))); a.isFull() {
		select {
		case a.full <- struct{}{}:
		default:
		}
	}
	return res
}

// isFull tells whether enough was applied since the last snapshot for another one.
func (a *applier) isFull() bool { return a.bytes.Load() >= a.limit }

func (a *applier) applyCommand(l *raft.Log) (res *applied, err error) {
	entry := &musterv1.Entry{}
	if err := wire.Unmarshal(l.Data, entry); err != nil {
		return nil, fmt.Errorf("it cannot be decoded: %w", err)
	}
	if entry.GetFormat() != entryFormat {
		return nil, fmt.Errorf("it has format %d, this version knows %d: this node needs a newer version", entry.GetFormat(), entryFormat)
	}
	res = &applied{term: l.Term}
	a.mu.Lock()
	defer a.mu.Unlock()
	// A panic would stop every node at the same entry, at each restart again. A parked node keeps its files and can be asked why.
	defer func() {
		if p := recover(); p != nil {
			a.logger.Error("the state machine panicked", "index", l.Index, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("the state machine panicked: %v", p)
		}
	}()
	if res.outcomes, res.dropped, err = a.machine.Apply(l.Index, l.Term, entry); err != nil {
		return nil, err
	}
	if !res.dropped {
		a.digests.add(l.Index, a.machine.Digest())
	}
	a.index.advance(l.Index)
	return res, nil
}

// park stops applying for good, or until a snapshot from the leader leads past the entry.
func (a *applier) park(index uint64, reason error) {
	a.parkFor(fmt.Sprintf("parked: the entry at index %d cannot be applied here: %v. The node keeps its files and applies nothing more; "+
		"start a version that knows the entry", index, reason))
}

func (a *applier) parkFor(reason string) {
	a.parked.Store(&reason)
	a.logger.Error("node parks", "reason", reason)
	a.onPark()
}

// problem returns why the node has parked, or "".
func (a *applier) problem() string {
	if p := a.parked.Load(); p != nil {
		return *p
	}
	return ""
}

// Snapshot freezes the state.
func (a *applier) Snapshot() (raft.FSMSnapshot, error) {
	if p := a.problem(); p != "" {
		return nil, errors.New(p)
	}
	a.mu.Lock() // a machine may note that it is frozen
	defer a.mu.Unlock()
	frozen, err := a.machine.Freeze()
	if err != nil {
		return nil, err
	}
	return &frozenState{frozen, a, a.bytes.Load()}, nil
}

// Restore replaces the state by a snapshot: at the start, or when the leader's log no longer reaches back to where this node is.
func (a *applier) Restore(r io.ReadCloser) error {
	index, known := snapshotIndex(r)
	if !known {
		return errors.New("restore a snapshot whose index is not known")
	}
	swap, err := a.machine.Decode(bufio.NewReaderSize(r, 1<<16))
	if err != nil {
		return fmt.Errorf("decode the snapshot at index %d: %w", index, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	swap()
	a.digests.clear()
	a.bytes.Store(0)
	a.configIndex.Store(0)
	a.parked.Store(nil)
	a.index.advance(index)
	return nil
}

// frozenState writes a frozen state machine into a snapshot.
type frozenState struct {
	frozen Frozen
	a      *applier
	bytes  int64 // log that it stands for
}

func (s *frozenState) Persist(sink raft.SnapshotSink) error {
	w := bufio.NewWriterSize(sink, 1<<16)
	_, err := s.frozen.WriteTo(w)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return err
	}
	s.a.bytes.Add(-s.bytes)
	return nil
}

func (s *frozenState) Release() {}

// watermark is an index that only grows, and that can be waited for.
type watermark struct {
	index atomic.Uint64
	mu    sync.Mutex
	grown chan struct{} // closed and forgotten at the next advance; nil if nobody waits
}

func (w *watermark) advance(index uint64) {
	w.index.Store(index)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.grown != nil {
		close(w.grown)
		w.grown = nil
	}
}

// wait returns when the index has reached i, or with the cause of ctx's end.
func (w *watermark) wait(ctx context.Context, i uint64) error {
	for {
		w.mu.Lock()
		if w.index.Load() >= i {
			w.mu.Unlock()
			return nil
		}
		if w.grown == nil {
			w.grown = make(chan struct{})
		}
		grown := w.grown
		w.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
