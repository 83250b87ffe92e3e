package raftnode_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"muster/raftnode"
)

// TestSnapshot_OnFullDiskLeavesNothing: a snapshot for which there is no room gives back what it has taken, however often it is tried, and
// leaves one alone that is being written beside it.
func TestSnapshot_OnFullDiskLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a file system of its own cannot be mounted here (%v): run the test as root", err)
	}
	defer func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) }()
	snapshots, err := raftnode.OpenSnapshots(dir)
	require.NoError(t, err)
	create := func(index uint64) raft.SnapshotSink {
		s, err := snapshots.Create(1, index, 1, raft.Configuration{}, 1, nil)
		require.NoError(t, err)
		return s
	}
	small := create(1)
	for range 5 {
		for _, end := range []func(raft.SnapshotSink) error{raft.SnapshotSink.Cancel, raft.SnapshotSink.Close} {
			s := create(2)
			_, err := s.Write(make([]byte, 2<<20))
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.Error(t, end(s))
			var space syscall.Statfs_t
			require.NoError(t, syscall.Statfs(dir, &space))
			require.Greater(t, space.Bavail*uint64(space.Bsize), uint64(900<<10))
		}
	}
	_, err = small.Write([]byte("state"))
	require.NoError(t, err)
	require.NoError(t, small.Close())
	metas, err := snapshots.List()
	require.NoError(t, err)
	require.Len(t, metas, 1)
	left, err := filepath.Glob(filepath.Join(dir, "snapshots", "*.tmp"))
	require.NoError(t, err)
	require.Empty(t, left)
	_, err = os.Stat(filepath.Join(dir, "snapshots", metas[0].ID))
	require.NoError(t, err)
}

// TestFreeBytes_OfAFile: a node on files knows how much room there is.
func TestFreeBytes_OfAFile(t *testing.T) {
	d := newDirs(t)
	c := d.cluster(t, 1)
	defer c.Close()
	var s syscall.Statfs_t
	require.NoError(t, syscall.Statfs(t.TempDir(), &s))
	free := int64(s.Bavail) * s.Bsize
	require.InEpsilon(t, free, c.Members[0].Node.Space().Free, 0.2)
}
