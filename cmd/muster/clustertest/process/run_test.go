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

func TestRun_AClusterOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	start := func(args ...string) *Program {
		t.Helper()
		t.Setenv("MUSTER_SERVERS", "")
		return Start(t, "run", append([]string{"run", "--log-level", "warn", "--env", "DIR=" + dir}, args...)...)
	}
	t.Run("completes", func(t *testing.T) {
		p := start("-n", "3", "--", "sh", "-c", `echo "rank $RANK of $WORLD_SIZE, $LOCAL_RANK of $LOCAL_WORLD_SIZE"`)
		require.Zero(t, p.Ended())
		for rank := range 3 {
			require.Contains(t, p.Log(), fmt.Sprintf("[%d] rank %d of 3, %d of 3\n", rank, rank, rank))
		}
	})
	t.Run("fails with the first rank's code", func(t *testing.T) {
		p := start("-n", "3", "--", "sh", "-c", `test $RANK != 1 || { sleep 0.3; echo bad; exit 17; }; sleep 1000`)
		require.Equal(t, 17, p.Ended())
		require.Contains(t, p.Log(), "[1] bad\n")
		require.Contains(t, p.Log(), "exited with code 17")
	})
	t.Run("is killed", func(t *testing.T) {
		p := start("-n", "2", "--", "sh", "-c", `test $RANK != 1 || kill -KILL $$; sleep 1000`)
		require.Equal(t, 137, p.Ended())
	})
	t.Run("is not there", func(t *testing.T) {
		p := start("-n", "2", "--", "./no-such-program")
		require.Equal(t, 127, p.Ended())
		require.Contains(t, p.Log(), `program "./no-such-program" was not found on this machine`)
	})
	t.Run("one rank fails and the others go on", func(t *testing.T) {
		p := start("-n", "3", "--on-failure", "keep", "--", "sh", "-c", `
test $RANK != 1 || { echo bad; exit 17; }
test $RANK != 2 || { sleep 1; exit 9; }
sleep 2; echo "I went on"`)
		require.Equal(t, 17, p.Ended())
		require.Contains(t, p.Log(), "[0] I went on\n")
		require.Contains(t, p.Log(), "exited with code 17: bad")
	})
	t.Run("Ctrl-C", func(t *testing.T) {
		p := start("-n", "2", "--", "sh", "-c", "trap 'echo asked; exit' TERM; echo ready; while :; do sleep 0.05; done")
		require.Eventually(t, func() bool { return strings.Count(p.Log(), "ready") == 2 }, patience, 10*time.Millisecond)
		p.Interrupt()
		require.Equal(t, 130, p.Ended())
		require.Equal(t, 2, strings.Count(p.Log(), "asked"))
	})
	t.Run("Ctrl-C twice", func(t *testing.T) {
		p := start("-n", "2", "--", "sh", "-c", "trap 'echo asked' TERM; echo ready; echo $$ > $DIR/$RANK.twice; while :; do sleep 0.05; done")
		require.Eventually(t, func() bool { return strings.Count(p.Log(), "ready") == 2 }, patience, 10*time.Millisecond)
		p.Interrupt()
		require.Eventually(t, func() bool { return strings.Count(p.Log(), "asked") == 2 }, patience, 10*time.Millisecond)
		began := time.Now()
		p.Interrupt()
		require.Equal(t, 130, p.Ended())
		require.Less(t, time.Since(began), 8*time.Second, "it waited for the programs' time to end")
	})
	t.Run("killed itself", func(t *testing.T) {
		p := start("-n", "2", "--", "sh", "-c", family)
		var all []int
		require.Eventually(t, func() bool {
			all = nil
			for rank := range 2 {
				for _, who := range []string{"parent", "child", "daemon"} {
					b, _ := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%d.%s", rank, who)))
					if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
						all = append(all, pid)
					}
				}
			}
			return len(all) == 6
		}, patience, 10*time.Millisecond)
		p.Kill()
		for _, pid := range all {
			require.Eventually(t, func() bool { return !alive(pid) }, patience, 10*time.Millisecond, "process %d is left", pid)
		}
	})
}

func TestRun_OnSeveralNodes(t *testing.T) {
	c := New(t)
	run := func(t *testing.T, world, script string, flags ...string) (nodes [2]*Program) {
		for i := range nodes {
			args := append([]string{"run", "--servers", c.Addresses(), "--nnodes", "2", "-n", "2", "--world", world, "--eviction", "1s"}, flags...)
			nodes[i] = Start(t, fmt.Sprintf("%s-%d", world, i), append(args, "--", "sh", "-c", script)...)
		}
		return nodes
	}
	t.Run("completes", func(t *testing.T) {
		nodes := run(t, "job-1", `echo "rank $RANK of $WORLD_SIZE at $MASTER_ADDR:$MASTER_PORT"`)
		text := ""
		for _, n := range nodes {
			require.Zero(t, n.Ended())
			require.Equal(t, 2, strings.Count(n.Log(), "rank "), n.Log())
			text += n.Log()
		}
		port := regexp.MustCompile(`127\.0\.0\.1:([1-9][0-9]+)`).FindString(text)
		for rank := range 4 {
			require.Contains(t, text, fmt.Sprintf("[%d] rank %d of 4 at %s\n", rank, rank, port))
		}
	})
	t.Run("one rank fails", func(t *testing.T) {
		nodes := run(t, "job-2", `test $RANK != 3 || { sleep 0.3; exit 9; }; sleep 1000`)
		for _, n := range nodes {
			require.Equal(t, 9, n.Ended(), n.Log())
		}
	})
	t.Run("Ctrl-C on one", func(t *testing.T) {
		nodes := run(t, "job-3", `echo ready; sleep 1000`)
		for _, n := range nodes {
			c.Eventually("output", func() bool { return strings.Count(n.Log(), "ready") == 2 })
		}
		nodes[1].Interrupt()
		require.Equal(t, 130, nodes[1].Ended())
		require.Equal(t, 1, nodes[0].Ended(), nodes[0].Log())
		require.Contains(t, nodes[0].Log(), "interrupted")
	})
	t.Run("one node is killed", func(t *testing.T) {
		nodes := run(t, "job-4", `echo ready $$; sleep 1000`)
		var all []int
		for _, n := range nodes {
			c.Eventually("output", func() bool { return strings.Count(n.Log(), "ready") == 2 })
			for _, m := range regexp.MustCompile(`ready ([0-9]+)`).FindAllStringSubmatch(n.Log(), -1) {
				pid, err := strconv.Atoi(m[1])
				require.NoError(t, err)
				all = append(all, pid)
			}
		}
		nodes[0].Kill()
		require.Equal(t, 1, nodes[1].Ended())
		requireGone(t, c, all)
	})
	t.Run("one rank fails and the others go on", func(t *testing.T) {
		nodes := run(t, "job-5", `test $RANK != 2 || exit 9; sleep 1; echo "I went on"`, "--on-failure", "keep")
		for _, n := range nodes {
			require.Equal(t, 9, n.Ended(), n.Log())
		}
		require.Equal(t, 3, strings.Count(nodes[0].Log()+nodes[1].Log(), "I went on"))
	})
}

// A job that was requeued keeps its name: it is told how to say that it shall run again, and then each of its nodes takes part once.
func TestRun_Again(t *testing.T) {
	c := New(t)
	run := func(t *testing.T, script string, flags ...string) (nodes [2]*Program) {
		for i := range nodes {
			args := append([]string{"run", "--servers", c.Addresses(), "--nnodes", "2", "-n", "2", "--world", "job"}, flags...)
			nodes[i] = Start(t, fmt.Sprintf("node-%d", i), append(args, "--", "sh", "-c", script)...)
		}
		return nodes
	}
	for _, n := range run(t, "exit 0") {
		require.Zero(t, n.Ended())
	}
	for _, n := range run(t, "exit 0") {
		require.Equal(t, 1, n.Ended())
		require.Contains(t, n.Log(), "world job has ended (Completed")
		require.Contains(t, n.Log(), "--replace")
	}
	for range 3 { // the nodes race
		text := ""
		for _, n := range run(t, `echo "rank $RANK runs in $MUSTER_GENERATION"`, "--replace") {
			require.Zero(t, n.Ended(), n.Log())
			text += n.Log()
		}
		generation := regexp.MustCompile(`runs in ([0-9]+)`).FindStringSubmatch(text)[1]
		for rank := range 4 {
			require.Equal(t, 1, strings.Count(text, fmt.Sprintf("rank %d runs in %s\n", rank, generation)), text)
		}
	}

	// One that is about to end is waited for.
	nodes := run(t, `trap 'sleep 1; exit' TERM; echo ready; while :; do sleep 0.05; done`, "--replace")
	for _, n := range nodes {
		c.Eventually("output", func() bool { return strings.Count(n.Log(), "ready") == 2 })
	}
	nodes[0].Interrupt()
	c.Eventually("the world to be stopping", func() bool {
		_, out, _ := c.Muster("world", "get", "job")
		return strings.Contains(out, "Stopping")
	})
	for _, n := range run(t, "exit 0", "--replace") {
		require.Zero(t, n.Ended(), n.Log())
	}
	for _, n := range nodes {
		require.NotZero(t, n.Ended())
	}

	// A run of one node has no others that it could be meant to join.
	other := Start(t, "first", "run", "--servers", c.Addresses(), "--world", "single", "--", "sleep", "1000")
	c.wait(t, 0, "single", "live")
	second := Start(t, "second", "run", "--servers", c.Addresses(), "--world", "single", "--replace", "--", "sleep", "1000")
	require.Equal(t, 1, second.Ended())
	require.Contains(t, second.Log(), "muster world stop single")
	other.Interrupt()
	require.Equal(t, 130, other.Ended())
}
