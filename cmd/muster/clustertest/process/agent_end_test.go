package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A machine that was copied with its agent's state directory takes the rank of the one it was copied from. That one ends, though it was
// told to stay, or the two would take turns for ever.
func TestHost_CopiedStateDirectory(t *testing.T) {
	c := New(t)
	first, dir := startHost(t, c, "machine-a", "--world", "w", "--stay")
	c.Eventually("the agent to join", func() bool { return strings.Contains(first.Log(), "joined") })
	key, err := os.ReadFile(filepath.Join(string(dir), "key"))
	require.NoError(t, err)
	copied := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(copied, "key"), key, 0o600))

	second, _ := startHost(t, c, "machine-b", "--world", "w", "--stay", "--state-dir", copied)
	require.Equal(t, 1, first.Ended())
	require.Contains(t, first.Log(), "another agent has taken host rank 0")
	require.Contains(t, first.Log(), "--state-dir")
	dirRanks := c.create(t, "w", 2, "echo $$ > $DIR/$RANK.pid; sleep 1000")
	c.wait(t, 0, "w", "live")
	pids(t, c, dirRanks, 2)
	require.Equal(t, 1, strings.Count(second.Log(), "joined"), second.Log())
	require.Zero(t, second.Stop())
}

// An agent that could not be heard until its world was being evicted for it is refused when it comes back, and says how the world ended.
func TestHost_ComesBackToAWorldThatIsEvicted(t *testing.T) {
	c := New(t)
	a, _ := startHost(t, c, "machine-a", "--world", "w")
	b, _ := startHost(t, c, "machine-b", "--world", "w")
	dir := c.create(t, "w", 4, `trap '' TERM; echo $$ > $DIR/$RANK.pid; while :; do sleep 0.05; done`,
		"--on-failure", "keep", "--eviction", "1s", "--proc-timeout", "5s")
	c.wait(t, 0, "w", "live")
	all := pids(t, c, dir, 4)
	b.Pause()
	c.Eventually("the world to be stopping", func() bool {
		_, out, _ := c.Muster("world", "get", "w")
		return strings.Contains(out, "Stopping")
	})
	b.Continue()
	require.Equal(t, 1, b.Ended(), b.Log())
	require.Contains(t, b.Log(), "the world was stopped while this host could not be heard")
	require.Contains(t, b.Log(), "a world has failed")
	require.Equal(t, 1, a.Ended())
	requireGone(t, c, all)
	require.Contains(t, c.wait(t, 1, "w", "completed"), "evicted")
}
