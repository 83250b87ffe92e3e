package hostagent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// D73: when a host died its workers ran on and were nobody's. Here the programs of an agent end with it, however it dies.
func TestDefect_D73_ProgramsEndWithTheirAgent(t *testing.T) {
	dir := t.TempDir()
	agent := exec.Command(os.Args[0], "keep-for-ever", dir, "echo $$; sleep 1000")
	require.NoError(t, agent.Start())
	t.Cleanup(func() { _ = agent.Process.Kill() })
	var pids []int
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "out.log"))
		if len(b) == 0 {
			return false
		}
		pids = pidsOf(t, strings.Fields(string(b)))
		return true
	}, patience, 5*time.Millisecond)
	require.True(t, running(pids[0]))
	require.NoError(t, agent.Process.Kill())
	_ = agent.Wait()
	requireGone(t, pids)
}
