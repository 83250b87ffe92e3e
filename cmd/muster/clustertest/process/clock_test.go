package process

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// shifted is a part of the package time that puts the wall clock an hour ahead in one second and an hour behind in the next. Only
// what carries no monotonic reading sees it.
const shifted = `package time

func shift(mono int64) int64 { return 3600 * (1 - 2*(mono/1e9%2)) }
`

// withBadClock builds the program over a package time whose wall clock is wrong. The first time that takes as long as building all of it.
func withBadClock(t *testing.T) string {
	t.Helper()
	const before = "\tsec, nsec, mono := runtimeNow()\n"
	root, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	dir, std := t.TempDir(), filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(std, "time.go"))
	require.NoError(t, err)
	changed := strings.Replace(string(source), before, before+"\tsec += shift(mono)\n", 1)
	require.NotEqual(t, string(source), changed, "time.Now has another form: find where it takes the wall clock now")
	replace := map[string]string{}
	for name, text := range map[string]string{"time.go": changed, "shifted.go": shifted} {
		replace[filepath.Join(std, name)] = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	binary := filepath.Join(dir, "muster")
	require.NoError(t, build(binary, "-overlay", filepath.Join(dir, "overlay.json")))
	return binary
}

// A host and a server whose clocks jump by hours each second are as good as any other: nobody expires, no order is late, programs get
// the time that they are to be given, and the host does not take itself for cut off. Everything is built anew for it: system.TestWallClock_HourJumps is what is
// always run.
func TestClocks_AnHourOff(t *testing.T) {
	if os.Getenv("MUSTER_LONG") == "" {
		t.Skip("make test-long: it builds the standard library anew")
	}
	bad := withBadClock(t)
	c := New(t)
	n2 := c.Servers[1]
	n2.Kill()
	n2.binary = bad
	n2.Start()
	c.WaitReady()
	for c.Leader() != n2 { // it shall decide
		leader := c.Leader()
		leader.Kill()
		c.Eventually("another leader", func() bool { return c.Leader() != leader })
		leader.Start()
		c.WaitReady()
	}
	agent := startBinary(t, bad, "machine-a", "host", "--servers", c.Addresses(), "--machine", "machine-a", "--state-dir", t.TempDir(),
		"--world", "works", "--world", "stops", "--orphan", "stop", "--orphan-timeout", "5s")
	c.create(t, "works", 2, "sleep 8", "--eviction", "1s") // two leases
	dir := c.create(t, "stops", 2, `trap 'sleep 2; touch $DIR/$RANK.ended; exit' TERM; touch $DIR/$RANK.begun; while :; do sleep 0.05; done`)
	c.Eventually("the programs to run", func() bool {
		begun, _ := filepath.Glob(filepath.Join(dir, "*.begun"))
		return len(begun) == 2
	})
	code, out, errs := c.Muster("world", "stop", "stops", "--wait", "--proc-timeout", "20s", "--timeout", "30s")
	require.Zero(t, code, errs)
	for _, rank := range []string{"0", "1"} {
		require.FileExists(t, filepath.Join(dir, rank+".ended"), out)
	}
	c.wait(t, 0, "works", "completed")
	require.Zero(t, agent.Ended(), agent.Log())
	require.NotContains(t, agent.Log(), "no leader was reached")
	require.NotContains(t, agent.Log(), "joined again")
	_, out, _ = c.Muster("explain", "works")
	require.NotContains(t, out, "expired")
	require.Regexp(t, `[0-9]m?s ago: rank [01] started`, out, "ages are of cluster time")
	c.RequireConverged()
}
