package process

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hostDir is what an agent of a test has.
type hostDir string

// startHost starts the agent of a machine of that name. args are its worlds and further flags.
func startHost(t *testing.T, c *Cluster, machine string, args ...string) (*Program, hostDir) {
	t.Helper()
	dir := t.TempDir()
	args = append([]string{"host", "--servers", c.Addresses(), "--machine", machine, "--state-dir", dir}, args...)
	return Start(t, machine, args...), hostDir(dir)
}

// create makes a world with two ranks a host that run a script. Ranks write what is to be seen from outside below DIR.
func (c *Cluster) create(t *testing.T, world string, procs int, script string, flags ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	args := append([]string{"world", "create", world, "--procs", strconv.Itoa(procs), "--procs-per-host", "2", "--env", "DIR=" + dir}, flags...)
	code, _, errs := c.Muster(append(args, "--", "sh", "-c", script)...)
	require.Zero(t, code, errs)
	return dir
}

// wait runs `muster world wait` and requires the exit code.
func (c *Cluster) wait(t *testing.T, want int, world, until string) (text string) {
	t.Helper()
	code, out, errs := c.Muster("world", "wait", world, "--for", until, "--timeout", "30s")
	require.Equal(t, want, code, "%s%s", out, errs)
	return out + errs
}

// pids are the numbers in all files below dir, of which there must be so many.
func pids(t *testing.T, c *Cluster, dir string, want int) []int {
	t.Helper()
	var found []int
	c.Eventually(fmt.Sprintf("%d process ids", want), func() bool {
		found = nil
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, f := range files {
			b, _ := os.ReadFile(f)
			for _, word := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(word); err == nil {
					found = append(found, pid)
				}
			}
		}
		return len(found) == want
	})
	return found
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !regexp.MustCompile(`\) [ZX] `).Match(b)
}

func requireGone(t *testing.T, c *Cluster, pids []int) {
	t.Helper()
	require.NotEmpty(t, pids)
	for _, pid := range pids {
		c.Eventually(fmt.Sprintf("process %d to be gone", pid), func() bool { return !alive(pid) })
	}
}

// family forks a child, and a grandchild in a session of its own that ignores what can be ignored and whose parent has gone; all three
// write their process ids.
const family = `
echo $$ > $DIR/$RANK.parent
sh -c 'echo $$ > $DIR/$RANK.child; sleep 1000' &
(setsid sh -c 'trap "" TERM HUP INT; echo $$ > $DIR/$RANK.daemon; while :; do sleep 1000; done' &)
wait
`

// Programs of every bad habit, on two agents that share this machine.
func TestPrograms(t *testing.T) {
	c := New(t)
	worlds := []string{"flood", "deaf", "missing", "cwd", "fails", "killed"}
	var args []string
	for _, w := range worlds {
		args = append(args, "--world", w)
	}
	args = append(args, "--stay")
	a, dirA := startHost(t, c, "machine-a", args...)
	b, _ := startHost(t, c, "machine-b", args...)

	t.Run("floods its output and leaves a daemon behind", func(t *testing.T) {
		dir := c.create(t, "flood", 4, `
(setsid sh -c 'trap "" TERM HUP INT; echo $$ > $DIR/$RANK.daemon; while :; do sleep 1000; done' &)
i=0; while [ $i -lt 50000 ]; do echo "rank $RANK says a lot, and this is number $i"; i=$((i+1)); done
while ! [ -s $DIR/$RANK.daemon ]; do sleep 0.01; done`)
		require.Contains(t, c.wait(t, 0, "flood", "completed"), "World flood is Completed")
		requireGone(t, c, pids(t, c, dir, 4))
		logs, err := filepath.Glob(filepath.Join(string(dirA), "logs", "flood", "*", "*.log"))
		require.NoError(t, err)
		require.Len(t, logs, 2)
		rank := strings.TrimSuffix(filepath.Base(logs[0]), ".log")
		code, out, errs := c.Muster("logs", "flood/"+rank, "--state-dir", string(dirA), "-n", "1")
		require.Zero(t, code, errs)
		require.Equal(t, "rank "+rank+" says a lot, and this is number 49999\n", out)
	})

	t.Run("ignores that it is asked to end", func(t *testing.T) {
		dir := c.create(t, "deaf", 4, `trap 'echo asked >> $DIR/$RANK.asked' TERM; echo $$ > $DIR/$RANK.pid; while :; do sleep 0.05; done`)
		c.wait(t, 0, "deaf", "live")
		running := pids(t, c, dir, 4)
		code, out, errs := c.Muster("world", "stop", "deaf", "--wait", "--proc-timeout", "1s", "--timeout", "30s")
		require.Zero(t, code, errs)
		for _, pid := range running {
			require.False(t, alive(pid), "process %d is left when the stop is over:\n%s", pid, out)
		}
		for rank := range 4 {
			text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%d.asked", rank)))
			require.NoError(t, err)
			require.Equal(t, "asked\n", string(text), "rank %d was asked twice", rank)
		}
		require.Contains(t, c.wait(t, 0, "deaf", "ended"), "Stopped")
	})

	t.Run("is not there", func(t *testing.T) {
		code, _, errs := c.Muster("world", "create", "missing", "--procs", "4", "--procs-per-host", "2", "--", "no-such-program")
		require.Zero(t, code, errs)
		text := c.wait(t, 1, "missing", "completed")
		require.Regexp(t, `world missing .* will not be completed: it is Failed`, text)
		require.Regexp(t, `rank [0-3] on machine-[ab] could not be started: program "no-such-program" was not found in PATH`, text)
		code, out, errs := c.Muster("explain", "missing")
		require.Zero(t, code, errs)
		require.Regexp(t, `why: rank [0-3] on machine-[ab] could not be started: program "no-such-program" was not found in PATH`, out)
	})

	t.Run("has no directory to work in", func(t *testing.T) {
		code, _, errs := c.Muster("world", "create", "cwd", "--procs", "4", "--procs-per-host", "2", "--cwd", "/no/such/directory", "--", "true")
		require.Zero(t, code, errs)
		require.Contains(t, c.wait(t, 1, "cwd", "completed"), `working directory "/no/such/directory" does not exist on this machine`)
	})

	t.Run("one rank fails", func(t *testing.T) {
		dir := c.create(t, "fails", 4, `
echo $$ > $DIR/$RANK.pid
if [ $RANK = 2 ]; then while [ $(ls $DIR | wc -l) -lt 4 ]; do sleep 0.01; done; echo the data are bad >&2; exit 17; fi
trap 'touch $DIR/$RANK.stopped; exit' TERM
while :; do sleep 0.05; done`)
		text := c.wait(t, 1, "fails", "completed")
		require.Contains(t, text, "the data are bad")
		requireGone(t, c, pids(t, c, dir, 4))
		code, out, errs := c.Muster("explain", "fails")
		require.Zero(t, code, errs)
		require.Regexp(t, `why: rank 2 on machine-[ab] exited with code 17`, out)
		require.Contains(t, out, "the data are bad")
		stopped, err := filepath.Glob(filepath.Join(dir, "*.stopped"))
		require.NoError(t, err)
		require.Len(t, stopped, 3, "the others were not asked to end")
	})

	t.Run("its agent is killed", func(t *testing.T) {
		dir := c.create(t, "killed", 4, family, "--eviction", "1s")
		c.wait(t, 0, "killed", "live")
		all := pids(t, c, dir, 12)
		b.Kill()
		killed := 0
		c.Eventually("half of the processes to be gone, with their agent", func() bool {
			killed = 0
			for _, pid := range all {
				if !alive(pid) {
					killed++
				}
			}
			return killed == 6
		})
		// The cluster takes it for dead when its lease is over, and stops what is left of the world.
		text := c.wait(t, 1, "killed", "completed")
		require.Contains(t, text, "machine-b")
		requireGone(t, c, all)
	})
	require.True(t, a.Running())
	require.Zero(t, a.Stop())
}

// An agent whose rank's lease still runs is not put aside by another one with the same rank; told to, it is.
func TestHost_TwoAgentsWithOneRank(t *testing.T) {
	c := New(t)
	first, _ := startHost(t, c, "machine-a", "--world", "w", "--rank", "0")
	dir := c.create(t, "w", 2, family)
	c.wait(t, 0, "w", "live")
	before := pids(t, c, dir, 6)

	second, _ := startHost(t, c, "machine-b", "--world", "w", "--rank", "0")
	require.Equal(t, 1, second.Ended())
	require.Regexp(t, `world w: .*host:w\[0\].* machine "machine-a".*\(--take-over\)`, second.Log())
	for _, pid := range before {
		require.True(t, alive(pid))
	}

	third, _ := startHost(t, c, "machine-c", "--world", "w", "--rank", "0", "--take-over")
	require.Equal(t, 1, first.Ended())
	require.Contains(t, first.Log(), "another agent has taken host rank 0")
	requireGone(t, c, before)
	require.Contains(t, c.wait(t, 1, "w", "completed"), "machine-a")
	require.Equal(t, 1, third.Ended())
}

func TestHost_WorldThatEnds(t *testing.T) {
	c := New(t)
	agent, _ := startHost(t, c, "machine-a", "--world", "w")
	c.create(t, "w", 2, "exit 0")
	c.wait(t, 0, "w", "completed")
	require.Zero(t, agent.Ended())

	late, _ := startHost(t, c, "machine-b", "--world", "w")
	require.Equal(t, 1, late.Ended())
	require.Contains(t, late.Log(), "world w")
	require.Contains(t, late.Log(), "--stay")

	// One that stays is there for the next creation.
	stays, _ := startHost(t, c, "machine-c", "--world", "w", "--stay")
	c.Eventually("the agent to wait", func() bool {
		return strings.Contains(stays.Log(), "not joined yet") || strings.Contains(stays.Log(), "joined")
	})
	code, _, errs := c.Muster("world", "create", "w", "--replace", "--procs", "2", "--procs-per-host", "2", "--", "true")
	require.Zero(t, code, errs)
	c.wait(t, 0, "w", "completed")
	require.Zero(t, stays.Stop())
}

// An agent that is asked to end asks its programs first, tells how they have ended, and leaves: the cluster need not wait for a lease.
func TestHost_AskedToEnd(t *testing.T) {
	c := New(t)
	first, _ := startHost(t, c, "machine-a", "--world", "w")
	second, _ := startHost(t, c, "machine-b", "--world", "w")
	dir := c.create(t, "w", 4, `trap 'touch $DIR/$RANK.asked; echo had to go; exit 3' TERM; echo $$ > $DIR/$RANK.pid; while :; do sleep 0.05; done`, "--lease", "1m", "--delivery-timeout", "1m")
	c.wait(t, 0, "w", "live")
	all := pids(t, c, dir, 4)
	require.Zero(t, first.Stop())
	require.Regexp(t, `rank [0-3] on machine-a exited with code 3: had to go`, c.wait(t, 1, "w", "completed"))
	code, out, errs := c.Muster("explain", "w")
	require.Zero(t, code, errs)
	require.Regexp(t, `why: rank [0-3] on machine-a exited with code 3\n(  \| .*\n)*  \| had to go\n`, out)
	require.Equal(t, 1, second.Ended())
	for _, pid := range all {
		require.False(t, alive(pid))
	}
	asked, err := filepath.Glob(filepath.Join(dir, "*.asked"))
	require.NoError(t, err)
	require.Len(t, asked, 4)
}

// Without a cluster programs end when its settings say so, unless their agent was told that they go on.
func TestHost_Orphans(t *testing.T) {
	c := New(t, "--orphan-stop", "--orphan-timeout", "5s")
	goesOn, _ := startHost(t, c, "machine-a", "--world", "w", "--rank", "0", "--orphan", "continue")
	stops, _ := startHost(t, c, "machine-b", "--world", "w", "--rank", "1")
	dir := c.create(t, "w", 4, `echo $$ > $DIR/$RANK.pid; sleep 1000`)
	c.wait(t, 0, "w", "live")
	pids(t, c, dir, 4)
	of := func(rank int) int {
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%d.pid", rank)))
		require.NoError(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		require.NoError(t, err)
		return pid
	}
	for _, s := range c.Servers {
		s.Kill()
	}
	for _, rank := range []int{2, 3} {
		require.Eventually(t, func() bool { return !alive(of(rank)) }, patience, 20*time.Millisecond)
	}
	require.Contains(t, stops.Log(), "no leader was reached for too long")
	for _, rank := range []int{0, 1} {
		require.True(t, alive(of(rank)))
	}
	// The cluster comes back, and is told.
	for _, s := range c.Servers {
		s.Start()
	}
	require.Contains(t, c.wait(t, 1, "w", "completed"), "machine-b")
	require.Equal(t, 1, goesOn.Ended())
	require.Equal(t, 1, stops.Ended())
	require.False(t, alive(of(0)))
}
