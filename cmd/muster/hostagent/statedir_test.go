package hostagent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStateDir_OneAgentAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "there", "yet")
	first, err := OpenStateDir(path)
	require.NoError(t, err)
	_, err = OpenStateDir(path)
	require.ErrorContains(t, err, fmt.Sprintf("another agent (pid %d) uses %s", os.Getpid(), path))
	require.ErrorContains(t, err, "--state-dir")

	key := first.Key()
	require.Len(t, key, 32)
	require.NoError(t, first.Close())
	again, err := OpenStateDir(path)
	require.NoError(t, err)
	defer again.Close()
	require.Equal(t, key, again.Key(), "an agent that comes back has another key, and is refused its ranks")

	other := openStateDir(t)
	require.NotEqual(t, key, other.Key())
}

func TestStateDir_CannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := OpenStateDir(file)
	require.ErrorContains(t, err, "give one that can be written with --state-dir")
}

// A process id that was given to another process since, in this boot or after another, is left alone.
func TestEndLeftovers_TouchesNothingElse(t *testing.T) {
	innocent := startProcess(t, "sleep 1000", "MUSTER_WORLD=w", "MUSTER_PROC_ID=w[0]", "MUSTER_GENERATION=1", "MUSTER_INCARNATION=1")
	p, ok := readProcess(innocent)
	require.True(t, ok)
	dir := openStateDir(t)
	for name, r := range map[string]record{
		"another start":        {Pid: p.pid, Start: p.start - 1, Boot: dir.boot, Mark: runVariable + "=gone"},
		"another boot":         {Pid: p.pid, Start: p.start, Boot: "another", Mark: runVariable + "=gone"},
		"without a mark":       {Pid: 1 << 22, Start: p.start, Boot: dir.boot},
		"the first process":    {Pid: 1, Start: 0, Boot: dir.boot},
		"the processes' group": {Pid: 0, Start: 0, Boot: dir.boot},
		"all processes":        {Pid: -1, Start: 0, Boot: dir.boot},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := json.Marshal(r)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(dir.recordPath(1), b, 0o600))
			found, err := dir.EndLeftovers()
			require.NoError(t, err)
			require.Zero(t, found)
			require.Empty(t, recordsIn(t, dir))
			require.True(t, running(p.pid))
		})
	}
	t.Run("a record that was cut off", func(t *testing.T) {
		require.NoError(t, os.WriteFile(dir.recordPath(1), []byte(`{"Pid": 1`), 0o600))
		found, err := dir.EndLeftovers()
		require.NoError(t, err)
		require.Zero(t, found)
		require.True(t, running(p.pid))
	})
}

// A keeper that does not end by itself is ended with what is below it.
func TestEndLeftovers_EndsAKeeperThatStays(t *testing.T) {
	dir := openStateDir(t)
	stays := startProcess(t, "trap '' TERM; sleep 1000 & wait")
	r, err := dir.note(stays, []string{runVariable + "=x"})
	require.NoError(t, err)
	require.Equal(t, []record{r}, recordsIn(t, dir))
	below := descendants(stays)
	found, err := dir.EndLeftovers()
	require.NoError(t, err)
	require.Equal(t, 1, found)
	require.False(t, running(stays))
	for _, p := range below {
		require.False(t, running(p.pid))
	}
	require.Empty(t, recordsIn(t, dir))
}

func TestReadProcess_NameOfAnything(t *testing.T) {
	self, ok := readProcess(os.Getpid())
	require.True(t, ok)
	require.Equal(t, os.Getppid(), self.parent)
	require.False(t, self.zombie)
	// A program may call itself what it likes.
	program := filepath.Join(t.TempDir(), "a) Z (b")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755))
	s := shell(t.TempDir(), "")
	s.Program, s.Args = "sh", []string{"-c", `ln -s "$(command -v sleep)" "$DIR/a) Z (b"; echo $$; exec "$DIR/a) Z (b" 1000`}
	k := keep(t, openStateDir(t), s)
	pid := pidsOf(t, k.output(1))[0]
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return string(b) == "a) Z (b\n"
	}, patience, 1e6)
	p, ok := readProcess(pid)
	require.True(t, ok)
	require.Equal(t, k.pid(), p.parent)
	require.False(t, p.zombie)
	_, ok = readProcess(1 << 23)
	require.False(t, ok)
}
