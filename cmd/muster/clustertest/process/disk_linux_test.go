package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// mount mounts a file system for the test; whatever uses it must end before.
func mount(t *testing.T, source, fstype, options string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount(source, dir, fstype, 0, options); err != nil {
		t.Skipf("a file system of its own cannot be mounted here (%v): run the test as root", err)
	}
	t.Cleanup(func() {
		for range 100 { // a process that has just ended may still hold it
			if syscall.Unmount(dir, 0) == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("%s cannot be unmounted", dir)
	})
	return dir
}

// move has a server go on with its data below another directory.
func move(t *testing.T, s *Server, dir string) {
	t.Helper()
	require.Zero(t, s.Stop())
	old := s.Dir
	s.Dir = filepath.Join(dir, s.Name)
	require.NoError(t, os.CopyFS(s.Dir, os.DirFS(old)))
	s.Start()
}

// fill leaves so many bytes free on the file system of dir; it returns the file that takes the rest.
func fill(t *testing.T, dir string, leave int64) string {
	t.Helper()
	ballast := filepath.Join(dir, "ballast")
	f, err := os.OpenFile(ballast, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer f.Close()
	for {
		var s syscall.Statfs_t
		require.NoError(t, syscall.Statfs(dir, &s))
		more := int64(s.Bavail)*s.Bsize - leave
		if more <= 0 {
			return ballast
		}
		if _, err := f.Write(make([]byte, min(more, 1<<20))); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC) // somebody was faster
			return ballast
		}
	}
}

// TestDiskFull_ReadsAndStopGoOn fills up the disk of all nodes. Below the watermark what is new is refused, with a reason and what to do;
// what runs is kept, read and ended as ever. With no byte left nothing is written any more, but no process ends, and all of them can
// be asked; when there is room again the cluster goes on by itself.
func TestDiskFull_ReadsAndStopGoOn(t *testing.T) {
	dir := mount(t, "tmpfs", "tmpfs", "size=64m")
	c := NewIn(t, dir, "--min-free", "16777216", "--snapshot-bytes", "20000")
	cl := c.Client()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	join := func(ctx context.Context, world string, rank uint32) (*client.Member, error) {
		return cl.Join(ctx, client.MemberConfig{World: world, Rank: rank, Key: "key"})
	}
	for _, world := range []string{"kept", "ended"} {
		code, _, errs := c.Muster("world", "create", world, "--procs", "2")
		require.Zero(t, code, errs)
	}
	var kept [2]*client.Member
	var err error
	for rank := range kept {
		kept[rank], err = join(ctx, "kept", uint32(rank))
		require.NoError(t, err)
	}
	leaves, err := join(ctx, "ended", 0)
	require.NoError(t, err)

	t.Log("below the watermark")
	ballast := fill(t, dir, 8<<20)
	c.Eventually("an alarm of each node", func() bool {
		_, out, _ := c.Muster("status")
		return len(regexp.MustCompile(`the disk of node n[123] is short of room: [78]\.\d MiB are free, --min-free is 16\.0 MiB`).FindAllString(out, -1)) == 3
	})
	code, _, errs := c.Muster("world", "create", "new", "--procs", "2", "--timeout", "1s")
	require.NotZero(t, code)
	require.Contains(t, errs, "is short of room")
	soon, cancelSoon := context.WithTimeout(ctx, time.Second)
	_, err = join(soon, "ended", 1)
	cancelSoon()
	require.Equal(t, musterv1.Reason_REASON_DISK, client.RefusalOf(err).GetReason(), "%v", err)
	_, err = join(ctx, "kept", 0) // the same holder, as a new incarnation
	require.NoError(t, err)
	require.NoError(t, leaves.Leave(ctx))
	code, _, errs = c.Muster("world", "stop", "ended")
	require.Zero(t, code, errs)
	code, out, errs := c.Muster("ps", "kept")
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^1 +Alive`, out)

	t.Log("no byte left")
	fill(t, dir, 0)
	large := map[string]string{"large": strings.Repeat("x", 4000)} // makes the log grow
	c.Eventually("a node that says so", func() bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		for err := error(nil); err == nil; {
			_, err = cl.Join(ctx, client.MemberConfig{World: "kept", Rank: 0, Key: "key", Labels: large})
		}
		_, out, _ := c.Muster("status")
		return regexp.MustCompile(`the disk refuses writes: .*no space left on device`).MatchString(out)
	})
	time.Sleep(12 * time.Second) // longer than a hung write is waited for
	for _, s := range c.Servers {
		code, out, errs = s.Muster("view", "--stale")
		require.Zero(t, code, errs)
		require.Contains(t, out, "kept")
	}

	t.Log("room again")
	require.NoError(t, os.Remove(ballast))
	code, _, errs = c.Muster("world", "create", "new", "--procs", "2", "--timeout", "30s")
	require.Zero(t, code, errs)
	c.WaitReady()
	c.RequireConverged()
	select {
	case <-kept[1].Done():
		t.Fatalf("a member that lived was ended: %v", kept[1].Err())
	default:
	}
	c.Eventually("health", func() bool {
		_, out, _ := c.Muster("ps", "kept")
		return regexp.MustCompile(`(?m)^1 +Alive`).MatchString(out)
	})
	leftovers, err := filepath.Glob(filepath.Join(dir, "*", "snapshots", "*.tmp"))
	require.NoError(t, err)
	require.Empty(t, leftovers)
}

// TestDiskHangs_ServerEnds freezes the file system of a leader. The others elect, it ends with an exit code of its own, and goes on from
// where it was when it is started again.
func TestDiskHangs_ServerEnds(t *testing.T) { diskHangs(t, false) }

// TestDiskHangs_AskedToStop is the same of a leader that is asked to stop meanwhile. It takes long, and is part of make test-long.
func TestDiskHangs_AskedToStop(t *testing.T) {
	if os.Getenv("MUSTER_LONG") == "" {
		t.Skip("set MUSTER_LONG=1, or run make test-long")
	}
	diskHangs(t, true)
}

func diskHangs(t *testing.T, asked bool) {
	for _, tool := range []string{"mkfs.ext4", "losetup", "fsfreeze"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s here", tool)
		}
	}
	run := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Skipf("%s %v: %v: %s: run the test as root", name, args, err, out)
		}
		return string(out)
	}
	image := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 128<<20))
	run("mkfs.ext4", "-q", image)
	loop := regexp.MustCompile(`\S+`).FindString(run("losetup", "--find", "--show", image))
	t.Cleanup(func() { assert.NoError(t, exec.Command("losetup", "--detach", loop).Run()) })
	dir := mount(t, loop, "ext4", "")

	c := New(t, "--min-free", "-1")
	leader := c.Leader()
	move(t, leader, dir)
	c.WaitReady()
	for c.Leader() != leader {
		require.Zero(t, c.Leader().Stop())
		for _, s := range c.Servers {
			if !s.Running() {
				s.Start()
			}
		}
		c.WaitReady()
	}
	code, _, errs := c.Muster("world", "create", "before", "--procs", "2")
	require.Zero(t, code, errs)

	thawed := false
	thaw := func() {
		if !thawed {
			thawed = true
			require.NoError(t, exec.Command("fsfreeze", "--unfreeze", dir).Run())
		}
	}
	t.Cleanup(thaw)
	run("fsfreeze", "--freeze", dir)
	frozen := time.Now()
	code, _, errs = c.Muster("world", "create", "during", "--procs", "2", "--timeout", "20s")
	require.Zero(t, code, errs)
	t.Logf("a world was created %v after the disk began to hang", time.Since(frozen))
	if asked {
		leader.Interrupt()
	}
	c.Eventually("the port closed", func() bool {
		code, _, _ := leader.Muster("status", "--local", "--timeout", "1s")
		return code == 3
	})
	c.Eventually("the end", func() bool { return strings.Contains(leader.Log(), "muster: the disk of "+leader.Dir+" hangs") })
	thaw() // the kernel lets nobody end who waits for a frozen file system
	require.Equal(t, 5, leader.Ended())
	require.Contains(t, leader.Log(), "muster: the disk of "+leader.Dir+" hangs: a write to the log has not come back from the disk for 10s")
	leader.Start()
	c.WaitReady()
	c.RequireConverged()
	for _, world := range []string{"before", "during"} {
		code, _, errs = c.Muster("world", "get", world)
		require.Zero(t, code, errs)
	}
}
