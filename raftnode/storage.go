package raftnode

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// LogStore is what keeps a node's log.
type LogStore string

const (
	// Bolt keeps the log in one bbolt file, beside term and vote. It is the default.
	Bolt LogStore = "boltdb"
	// WAL keeps the log in segments of hashicorp/raft-wal, term and vote in the same file as ever: a write is one sync and not two.
	WAL LogStore = "wal"
)

const (
	logFile = "raft.db"
	// cachedEntries bounds the cache of the newest log entries; an entry is at most about 256 KiB.
	cachedEntries = 64
	// keptSnapshots: with two, a damaged newest one does not cost the node its state.
	keptSnapshots = 2
)

// clusterKey holds the cluster id beside the log, so that a log which went missing under a kept identity is noticed.
var clusterKey = []byte("MusterClusterID")

// Storage is what a node keeps over a restart: log, vote, snapshots, identity. One node uses it at a time and closes it.
type Storage struct {
	name string
	dir  string // empty: in memory

	logs      raft.LogStore
	log       *logStore // beneath the cache
	stable    raft.StableStore
	votes     *voteStore // the same
	snapshots *snapshotStore
	mark      raft.StableStore // what keeps the cluster id beside the log
	close     func() error
	probe     func() error // tries whether the disk takes writes
	free      func() (int64, error)

	mu       sync.Mutex
	identity identity
}

// OpenStorage opens the data directory of the node with that name, and makes it one if it is empty or does not exist. It
// refuses a directory of another node, one that another process holds, one whose log is in another store than kind says, and one whose
// parts do not belong together. No kind is Bolt.
func OpenStorage(dir, name string, kind LogStore) (*Storage, error) {
	if !nodeName.MatchString(name) {
		return nil, fmt.Errorf("node name %q: use 1 to 63 letters, digits, '.', '_' or '-', a letter or digit first", name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	// The name is looked at before the log is opened, so that the wrong directory stays as it is.
	id, found, err := loadIdentity(dir)
	if err != nil {
		return nil, err
	}
	if found && id.Name != name {
		return nil, fmt.Errorf("%s belongs to node %s, this node is %s: give it its own data directory", dir, id.Name, name)
	}
	bolt, err := openBolt(dir)
	if err != nil {
		return nil, err
	}
	s, err := newFileStorage(dir, name, kind, bolt)
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return s, nil
}

func openBolt(dir string) (*raftboltdb.BoltStore, error) {
	path := filepath.Join(dir, logFile)
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path:                    path,
		MsgpackUseNewTimeFormat: true,
		BoltOptions: &bbolt.Options{
			Timeout:         time.Second,
			NoFreelistSync:  true,
			FreelistType:    bbolt.FreelistMapType,
			InitialMmapSize: 1 << 30, // address space only; readers then never wait for a writer that maps the file anew
		},
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is held by another process: is this node running already?", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return bolt, nil
}

// newFileStorage reads the identity while the lock on the log keeps other processes out.
func newFileStorage(dir, name string, kind LogStore, bolt *raftboltdb.BoltStore) (_ *Storage, err error) {
	snapshots, err := openSnapshotFiles(dir, hclog.NewNullLogger())
	if err != nil {
		return nil, err
	}
	id, found, err := loadIdentity(dir)
	if err != nil {
		return nil, err
	}
	log, err := openLog(dir, kind, bolt)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && log != logBackend(bolt) {
			err = errors.Join(err, log.Close())
		}
	}()
	s := &Storage{name: name, dir: dir, snapshots: snapshots, mark: log, probe: func() error { return probeDir(dir) }, identity: id}
	s.close = func() error {
		if log == logBackend(bolt) {
			return bolt.Close()
		}
		return errors.Join(log.Close(), bolt.Close())
	}
	s.free = func() (int64, error) { return freeBytes(dir) }
	if err := s.wrap(log, bolt); err != nil {
		return nil, err
	}
	if !found {
		if s.identity, err = newIdentity(name); err != nil {
			return nil, err
		}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	if !found {
		err = s.identity.save(dir)
	}
	return s, err
}

// MemoryStorage keeps everything in memory, for tests in virtual time. It outlives the nodes that use it, one after another.
func MemoryStorage(name string) *Storage {
	store := raft.NewInmemStore()
	s := &Storage{
		name: name, snapshots: &snapshotStore{SnapshotStore: &memorySnapshots{}}, mark: store, close: noError, probe: noError, free: boundless,
	}
	if err := s.wrap(store, store); err != nil {
		panic(err) // an empty map has nothing that could fail
	}
	id, err := newIdentity(name)
	if err != nil {
		panic(err)
	}
	s.identity = id
	return s
}

func (s *Storage) wrap(logs raft.LogStore, stable raft.StableStore) (err error) {
	s.log = &logStore{LogStore: logs}
	if s.logs, err = raft.NewLogCache(cachedEntries, s.log); err != nil {
		return err
	}
	s.votes, err = newVoteStore(stable)
	s.stable = s.votes
	return err
}

// watchedBy has the writes of log and votes watched from now on.
func (s *Storage) watchedBy(f *fence) { s.log.fence, s.votes.fence = f, f }

func noError() error { return nil }

func boundless() (int64, error) { return math.MaxInt64, nil }

// Close releases the files. A node that was started over the storage does it itself.
func (s *Storage) Close() error { return s.close() }

// empty says whether Raft has never run here.
func (s *Storage) empty() (bool, error) {
	some, err := raft.HasExistingState(s.logs, s.stable, s.snapshots)
	return !some, err
}

// check refuses a directory whose parts do not belong together: a node that lost its log, but not its name, could vote
// committed entries away.
func (s *Storage) check() error {
	marked, err := s.mark.Get(clusterKey)
	if err != nil && err.Error() != errNotFound.Error() {
		return fmt.Errorf("read %s: %w", filepath.Join(s.dir, logFile), err)
	}
	empty, err := s.empty()
	if err != nil {
		return fmt.Errorf("read %s: %w", s.dir, err)
	}
	const remedy = "bring the missing file back, or move the whole directory away, start the node empty and run `muster cluster rejoin %s`"
	switch {
	case s.identity.ClusterID != "" && string(marked) != s.identity.ClusterID:
		return fmt.Errorf("%s says that this node is in cluster %s, but %s is not that cluster's log: "+remedy,
			filepath.Join(s.dir, identityFile), s.identity.ClusterID, s.logName(), s.name)
	case s.identity.ClusterID == "" && !empty:
		return fmt.Errorf("%s has a log but no %s that names its cluster: "+remedy, s.dir, identityFile, s.name)
	}
	return s.checkGap()
}

// checkGap notices snapshots that went missing under a log which begins behind them.
func (s *Storage) checkGap() error {
	first, err := s.logs.FirstIndex()
	if err != nil || first <= 1 {
		return err
	}
	metas, err := s.snapshots.List()
	if err != nil {
		return fmt.Errorf("list snapshots in %s: %w", s.dir, err)
	}
	var newest uint64
	for _, m := range metas {
		newest = max(newest, m.Index)
	}
	if newest+1 < first {
		return fmt.Errorf("%s: the log begins at %d but the newest readable snapshot ends at %d; the state between is gone: "+
			"move the directory away, start the node empty and run `muster cluster rejoin %s`", s.dir, first, newest, s.name)
	}
	return nil
}

// who returns the identity.
func (s *Storage) who() identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

// errOtherCluster refuses a second cluster id.
var errOtherCluster = errors.New("this node belongs to another cluster")

// join makes clusterID the node's cluster. It is on disk when join returns. Joining the same cluster again changes nothing.
func (s *Storage) join(clusterID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.identity.ClusterID {
	case clusterID:
		return nil
	case "":
		return s.enter(clusterID, nil)
	}
	return fmt.Errorf("%w: %s", errOtherCluster, s.identity.ClusterID)
}

// found makes clusterID the node's cluster with the servers that it is about to bootstrap.
func (s *Storage) found(clusterID string, servers []Server) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.identity.ClusterID; have != "" && have != clusterID {
		return fmt.Errorf("%w: %s", errOtherCluster, have)
	}
	return s.enter(clusterID, servers)
}

func (s *Storage) enter(clusterID string, founding []Server) error {
	// The mark beside the log goes first: with the mark alone the node still counts as empty.
	if err := s.mark.Set(clusterKey, []byte(clusterID)); err != nil {
		return fmt.Errorf("keep the cluster id: %w", err)
	}
	next := s.identity
	next.ClusterID, next.Founding = clusterID, founding
	return s.keep(next)
}

// founded forgets the servers to bootstrap, after the bootstrap.
func (s *Storage) founded() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.identity
	next.Founding = nil
	return s.keep(next)
}

func (s *Storage) keep(next identity) error {
	if s.dir != "" {
		if err := next.save(s.dir); err != nil {
			return err
		}
	}
	s.identity = next
	return nil
}

// bootstrap writes the first configuration into an empty log. It may be repeated after a crash at any point.
func (s *Storage) bootstrap(servers []Server) error {
	last, err := s.logs.LastIndex()
	if err != nil || last > 0 {
		return err
	}
	var c raft.Configuration
	for _, v := range servers {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(v.ID), Address: raft.ServerAddress(v.Address)})
	}
	if err := s.stable.SetUint64(currentTermKey, 1); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	first := &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(c)}
	if err := s.logs.StoreLog(first); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}
