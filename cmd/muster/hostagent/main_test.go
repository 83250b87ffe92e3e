package hostagent

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	musterv1 "muster/proto/muster/v1"
)

// The test binary is the keeper of the programs that the tests run, and the agent that the tests kill.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "shim":
			if err := RunShim(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			if pause, err := time.ParseDuration(os.Getenv(lingering)); err == nil {
				time.Sleep(pause)
			}
			os.Exit(0)
		case "keep-for-ever":
			keepForEver(os.Args[2], os.Args[3])
		}
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // else each keeper takes a second to end under the race detector
	os.Exit(m.Run())
}

// lingering is how long a keeper of the tests takes to end when it has said all.
const lingering = "MUSTER_TEST_LINGERING"

// keepForEver is an agent that runs a script until it is killed.
func keepForEver(stateDir, script string) {
	dir, err := OpenStateDir(stateDir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	exit := newRun().keep(dir, shell(stateDir, script), func() {}, func(string) {})
	fmt.Fprintln(os.Stderr, exit)
	os.Exit(1)
}

// shell is what a keeper is told to run a script.
func shell(dir, script string) spec {
	return spec{
		Program: "sh", Args: []string{"-c", script}, Log: filepath.Join(dir, "out.log"),
		Env: append(os.Environ(), runVariable+"="+newRunName(), "DIR="+dir),
	}
}

func openStateDir(t *testing.T) *StateDir {
	t.Helper()
	dir, err := OpenStateDir(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

// kept is a run that a test has started.
type kept struct {
	t       *testing.T
	run     *run
	dir     *StateDir
	log     string
	started chan struct{}
	exit    chan *musterv1.Exit
}

func keep(t *testing.T, dir *StateDir, s spec) *kept {
	k := &kept{t: t, run: newRun(), dir: dir, log: s.Log, started: make(chan struct{}), exit: make(chan *musterv1.Exit, 1)}
	go func() {
		defer close(k.run.done)
		k.exit <- k.run.keep(dir, s, func() { close(k.started) }, func(string) {})
	}()
	t.Cleanup(func() {
		k.run.kill()
		<-k.run.done
	})
	return k
}

const patience = 30 * time.Second

func (k *kept) waitStarted() {
	k.t.Helper()
	select {
	case <-k.started:
	case <-time.After(patience):
		k.t.Fatal("the program did not start")
	}
}

func (k *kept) waitExit() *musterv1.Exit {
	k.t.Helper()
	select {
	case exit := <-k.exit:
		return exit
	case <-time.After(patience):
		k.t.Fatal("the program did not end")
		return nil
	}
}

func (k *kept) pid() int {
	k.run.mu.Lock()
	defer k.run.mu.Unlock()
	return k.run.pid
}

// output waits until the program has written at least so many lines.
func (k *kept) output(lines int) []string {
	k.t.Helper()
	var out []string
	require.Eventually(k.t, func() bool {
		b, _ := os.ReadFile(k.log)
		out = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		return strings.Count(string(b), "\n") >= lines
	}, patience, 5*time.Millisecond, "the program did not write %d lines", lines)
	return out
}

func pidsOf(t *testing.T, lines []string) []int {
	t.Helper()
	var pids []int
	for _, l := range lines {
		pid, err := strconv.Atoi(l)
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	return pids
}

func running(pid int) bool {
	p, ok := readProcess(pid)
	return ok && !p.zombie
}

func requireGone(t *testing.T, pids []int) {
	t.Helper()
	require.NotEmpty(t, pids)
	for _, pid := range pids {
		require.Eventually(t, func() bool { return !running(pid) }, patience, 5*time.Millisecond, "process %d is left", pid)
	}
}

func recordsIn(t *testing.T, dir *StateDir) []record {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir.path, "running", "*.json"))
	require.NoError(t, err)
	var out []record
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		var r record
		require.NoError(t, json.Unmarshal(b, &r))
		out = append(out, r)
	}
	return out
}

// startProcess starts a process that no keeper has, and waits for it. It returns its id.
func startProcess(t *testing.T, script string, env ...string) int {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		<-gone
	})
	return cmd.Process.Pid
}
