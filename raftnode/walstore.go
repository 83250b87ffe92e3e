package raftnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/migrate"
)

const (
	// walDir holds the segments. Where it is, it is the node's whole log.
	walDir = "wal"
	// walPartial is one that is being filled, walFormer one that is not needed any more.
	walPartial, walFormer = walDir + ".tmp", walDir + ".old"
	// copyBatch is how many bytes of log are copied at once.
	copyBatch = 1 << 20
)

// logBackend is what a LogStore is made of.
type logBackend interface {
	raft.LogStore
	raft.StableStore
	io.Closer
}

// openLog opens the store that holds the log. It refuses where another one does.
func openLog(dir string, kind LogStore, bolt *raftboltdb.BoltStore) (logBackend, error) {
	if kind == "" {
		kind = Bolt
	}
	inWAL, err := exists(filepath.Join(dir, walDir))
	if err != nil {
		return nil, err
	}
	inBolt, err := bolt.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, logFile), err)
	}
	const remedy = "%s: start the server with --log-store %s, or run `muster server migrate-log --data-dir %s --to %s` first"
	switch {
	case inWAL && inBolt > 0:
		return nil, fmt.Errorf("a migration of the log in %s was interrupted: run `muster server migrate-log --data-dir %s --to %s` again", dir, dir, kind)
	case kind == Bolt && inWAL:
		return nil, fmt.Errorf("the log of %s is in the store "+remedy, dir, WAL, WAL, dir, Bolt)
	case kind == WAL && inBolt > 0:
		return nil, fmt.Errorf("the log of %s is in the store "+remedy, dir, Bolt, Bolt, dir, WAL)
	case kind == Bolt:
		return bolt, nil
	case kind == WAL:
		return openWAL(filepath.Join(dir, walDir))
	}
	return nil, fmt.Errorf("log store %q: choose %s or %s", kind, Bolt, WAL)
}

func openWAL(dir string) (*wal.WAL, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	w, err := wal.Open(dir, wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return nil, fmt.Errorf("open the log in %s: %w", dir, err)
	}
	return w, nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// logName is the file or directory of the log.
func (s *Storage) logName() string {
	if _, ok := s.mark.(*wal.WAL); ok {
		return walDir
	}
	return logFile
}

// MigrateLog moves the log of a data directory, which no server may use meanwhile, into another store. It may be interrupted anywhere and is
// run again then; until it has succeeded no server starts there. entries is how many it moved: 0 where the log was there already.
func MigrateLog(ctx context.Context, dir string, to LogStore) (entries uint64, err error) {
	if to != Bolt && to != WAL {
		return 0, fmt.Errorf("log store %q: choose %s or %s", to, Bolt, WAL)
	}
	if there, err := exists(filepath.Join(dir, logFile)); err != nil || !there {
		return 0, errors.Join(fmt.Errorf("%s is not the data directory of a node: there is no %s", dir, logFile), err)
	}
	bolt, err := openBolt(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, bolt.Close()) }()
	for _, leftover := range []string{walPartial, walFormer} {
		if err := os.RemoveAll(filepath.Join(dir, leftover)); err != nil {
			return 0, fmt.Errorf("remove what an earlier migration left: %w", err)
		}
	}
	inWAL, err := exists(filepath.Join(dir, walDir))
	switch {
	case err != nil:
		return 0, err
	case to == WAL && !inWAL:
		entries, err = intoWAL(ctx, dir, bolt)
		if err != nil {
			return 0, err
		}
	case to == Bolt && inWAL:
		return intoBolt(ctx, dir, bolt)
	case to == Bolt:
		return 0, nil
	}
	return entries, clearLog(bolt) // only now that the segments are complete
}

// intoWAL makes segments of what bolt holds.
func intoWAL(ctx context.Context, dir string, bolt *raftboltdb.BoltStore) (entries uint64, err error) {
	partial := filepath.Join(dir, walPartial)
	w, err := openWAL(partial)
	if err != nil {
		return 0, err
	}
	entries, err = copyLog(ctx, w, bolt)
	if err = errors.Join(err, w.Close()); err != nil {
		return 0, err
	}
	return entries, renameSynced(partial, filepath.Join(dir, walDir))
}

// intoBolt copies the segments, and removes them when all is there.
func intoBolt(ctx context.Context, dir string, bolt *raftboltdb.BoltStore) (entries uint64, err error) {
	if err := clearLog(bolt); err != nil { // what an interrupted migration has left
		return 0, err
	}
	w, err := openWAL(filepath.Join(dir, walDir))
	if err != nil {
		return 0, err
	}
	entries, err = copyLog(ctx, bolt, w)
	if err = errors.Join(err, w.Close()); err != nil {
		return 0, err
	}
	former := filepath.Join(dir, walFormer)
	if err := renameSynced(filepath.Join(dir, walDir), former); err != nil {
		return 0, err
	}
	return entries, os.RemoveAll(former)
}

// copyLog copies entries and mark into an empty store.
func copyLog(ctx context.Context, to, from logBackend) (entries uint64, err error) {
	first, err := from.FirstIndex()
	if err != nil {
		return 0, fmt.Errorf("read the log: %w", err)
	}
	last, err := from.LastIndex()
	if err != nil {
		return 0, fmt.Errorf("read the log: %w", err)
	}
	if last > 0 {
		if err := migrate.CopyLogs(ctx, to, from, copyBatch, nil); err != nil {
			return 0, fmt.Errorf("copy the log: %w", err)
		}
		entries = last - first + 1
	}
	mark, err := from.Get(clusterKey)
	if err != nil && err.Error() != errNotFound.Error() {
		return 0, fmt.Errorf("read the cluster id: %w", err)
	}
	if len(mark) > 0 {
		if err := to.Set(clusterKey, mark); err != nil {
			return 0, fmt.Errorf("keep the cluster id: %w", err)
		}
	}
	return entries, nil
}

// clearLog deletes whatever entries there are.
func clearLog(bolt *raftboltdb.BoltStore) error {
	last, err := bolt.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	first, err := bolt.FirstIndex()
	if err != nil {
		return err
	}
	return (&logStore{LogStore: bolt}).DeleteRange(first, last)
}

// renameSynced gives a directory its name for good.
func renameSynced(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}
