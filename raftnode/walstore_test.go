package raftnode_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// patient has a busy machine, whose disk these tests write to, cost no leader.
func patient(rc *raftnode.Config) {
	rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = time.Second, time.Second, time.Second
}

// restart ends all nodes and starts them again.
func restart(c *raftnodetest.Cluster) {
	for _, m := range c.Members {
		c.Kill(m.Name)
	}
	for _, m := range c.Members {
		c.Restart(m.Name)
	}
}

// TestWAL_KeepsTheLog over what is hard for segments: a follower that is sent a snapshot, whose log begins anew behind it; a leader that was
// cut off, whose entries are taken back; and restarts after each.
func TestWAL_KeepsTheLog(t *testing.T) {
	dirs := newDirs(t)
	dirs.configure = patient
	dirs.snapshotBytes = 32 << 10
	dirs.logs = map[string]raftnode.LogStore{"n1": raftnode.WAL, "n2": raftnode.WAL, "n3": raftnode.WAL}
	c := dirs.cluster(t, 3)
	defer c.Close()
	write(t, c, "before")
	_, others := followers(c)
	away := others[0].Name
	c.Kill(away)
	fill(t, c, c.Leader().Node.Status().SnapshotIndex)
	c.Restart(away)
	c.RequireConverged()
	sent, err := os.ReadDir(filepath.Join(dirs.of(away), "snapshots"))
	require.NoError(t, err)
	require.NotEmpty(t, sent)
	restart(c)
	c.RequireConverged()

	write(t, c, "between")
	for range 3 {
		old := c.Leader()
		term := old.Term()
		for _, m := range c.Running() {
			if m != old {
				c.Kill(m.Name)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := term.Propose(ctx, line("never agreed to"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		cancel()
		c.Kill(old.Name)
		for _, m := range c.Members {
			if m != old {
				c.Restart(m.Name)
			}
		}
		write(t, c, "without "+old.Name)
		c.Restart(old.Name)
		c.RequireConverged()
		restart(c)
		write(t, c, "with "+old.Name)
		c.RequireConverged()
	}
}

// TestMigrateLog_NodeByNode: each node in turn gets the other store and comes back with all that it had, there and back again.
func TestMigrateLog_NodeByNode(t *testing.T) {
	dirs := newDirs(t)
	dirs.configure = patient
	dirs.snapshotBytes = 32 << 10
	dirs.logs = map[string]raftnode.LogStore{}
	c := dirs.cluster(t, 3)
	defer c.Close()
	fill(t, c, 0)
	for _, to := range []raftnode.LogStore{raftnode.WAL, raftnode.Bolt} {
		for _, m := range c.Members {
			c.Kill(m.Name)
			entries, err := raftnode.MigrateLog(t.Context(), dirs.of(m.Name), to)
			require.NoError(t, err)
			require.NotZero(t, entries)
			again, err := raftnode.MigrateLog(t.Context(), dirs.of(m.Name), to)
			require.NoError(t, err)
			require.Zero(t, again)
			_, err = raftnode.OpenStorage(dirs.of(m.Name), m.Name, dirs.logs[m.Name])
			require.ErrorContains(t, err, "is in the store "+string(to)+": start the server with --log-store "+string(to))
			dirs.logs[m.Name] = to
			c.Restart(m.Name)
			write(t, c, m.Name+" into "+string(to))
			c.RequireConverged()
		}
		restart(c)
		c.RequireConverged()
	}
	require.NoDirExists(t, filepath.Join(dirs.of("n1"), "wal"))
}

// TestMigrateLog_Interrupted: wherever it was, no server starts over half of a log, and the same again moves all of it.
func TestMigrateLog_Interrupted(t *testing.T) {
	dirs := newDirs(t)
	dirs.configure = patient
	dirs.logs = map[string]raftnode.LogStore{}
	c := dirs.cluster(t, 1)
	for range 20 {
		write(t, c, "kept")
	}
	c.Kill("n1")
	dir := dirs.of("n1")
	bolt, before := filepath.Join(dir, "raft.db"), filepath.Join(t.TempDir(), "raft.db")
	file, err := os.ReadFile(bolt)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(before, file, 0o600))

	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = raftnode.MigrateLog(over, dir, raftnode.WAL)
	require.ErrorIs(t, err, context.Canceled)
	open(t, dir, "n1").Close() // nothing has changed
	entries, err := raftnode.MigrateLog(t.Context(), dir, raftnode.WAL)
	require.NoError(t, err)
	require.NotZero(t, entries)

	// As if it had been interrupted between the two: the segments are there, and so is what they were copied from.
	for _, to := range []raftnode.LogStore{raftnode.Bolt, raftnode.WAL} {
		require.NoError(t, os.WriteFile(bolt, file, 0o600))
		for _, kind := range []raftnode.LogStore{raftnode.Bolt, raftnode.WAL} {
			_, err = raftnode.OpenStorage(dir, "n1", kind)
			require.ErrorContains(t, err, "was interrupted: run `muster server migrate-log --data-dir "+dir)
		}
		_, err = raftnode.MigrateLog(over, dir, to)
		if to == raftnode.Bolt {
			require.ErrorIs(t, err, context.Canceled)
		}
		moved, err := raftnode.MigrateLog(t.Context(), dir, to)
		require.NoError(t, err)
		if to == raftnode.Bolt {
			require.Equal(t, entries, moved)
			_, err = raftnode.MigrateLog(t.Context(), dir, raftnode.WAL)
			require.NoError(t, err)
		}
	}
	dirs.logs["n1"] = raftnode.WAL
	c.Restart("n1")
	write(t, c, "more")
	m := c.Member("n1")
	m.Node.Read(func() { require.Len(t, m.Machine.(*journal).lines, 21) })
	c.Close()
}

// TestWAL_RefusesAHalfLostDirectory: a node that has lost its segments, but not its name, is stopped.
func TestWAL_RefusesAHalfLostDirectory(t *testing.T) {
	dirs := newDirs(t)
	dirs.configure = patient
	dirs.logs = map[string]raftnode.LogStore{"n1": raftnode.WAL}
	c := dirs.cluster(t, 1)
	write(t, c, "kept")
	c.Close()
	require.NoError(t, os.RemoveAll(filepath.Join(dirs.of("n1"), "wal")))
	_, err := raftnode.OpenStorage(dirs.of("n1"), "n1", raftnode.WAL)
	require.ErrorContains(t, err, "muster cluster rejoin n1")
}
