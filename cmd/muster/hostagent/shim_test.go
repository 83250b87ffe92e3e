package hostagent

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// family is a script that writes the process ids of itself, of a child, of a grandchild in a session of its own that ignores all that can be
// ignored and whose parent has gone, and then waits.
const family = `
echo $$
sh -c 'trap "" TERM HUP INT; echo $$; sleep 1000' &
(setsid sh -c 'trap "" TERM HUP INT; echo $$; while :; do sleep 1000; done' &)
wait
`

func TestShim_AgentKilled_GrandchildrenGone(t *testing.T) {
	dir := t.TempDir()
	agent := exec.Command(os.Args[0], "keep-for-ever", dir, family)
	agent.Stderr = os.Stderr
	require.NoError(t, agent.Start())
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = agent.Process.Kill()
			_ = agent.Wait()
		}
	}
	defer kill()

	log := filepath.Join(dir, "out.log")
	var pids []int
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(log)
		if strings.Count(string(b), "\n") < 3 {
			return false
		}
		pids = pidsOf(t, strings.Fields(string(b)))
		return true
	}, patience, 5*time.Millisecond)
	for _, pid := range pids {
		require.True(t, running(pid), "process %d", pid)
	}
	keepers := descendants(agent.Process.Pid)
	require.NotEmpty(t, keepers)
	for _, p := range keepers {
		pids = append(pids, p.pid)
	}

	kill()
	requireGone(t, pids)

	// The next agent finds the directory free, and nothing left to end.
	next, err := OpenStateDir(dir)
	require.NoError(t, err)
	defer next.Close()
	found, err := next.EndLeftovers()
	require.NoError(t, err)
	require.Zero(t, found)
	require.Empty(t, recordsIn(t, next))
}

// Agent and keepers are killed together, as by a kill of a whole control group that misses some: the next agent ends what is left.
func TestShim_AgentAndKeeperKilled_NextAgentEndsTheRest(t *testing.T) {
	dir := t.TempDir()
	agent := exec.Command(os.Args[0], "keep-for-ever", dir, family)
	require.NoError(t, agent.Start())
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	})
	log := filepath.Join(dir, "out.log")
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(log)
		return strings.Count(string(b), "\n") >= 3
	}, patience, 5*time.Millisecond)
	b, err := os.ReadFile(log)
	require.NoError(t, err)
	pids := pidsOf(t, strings.Fields(string(b)))

	var keeper int
	for _, p := range descendants(agent.Process.Pid) {
		if p.parent == agent.Process.Pid {
			keeper = p.pid
		}
	}
	require.NotZero(t, keeper)
	require.NoError(t, unix.Kill(agent.Process.Pid, unix.SIGSTOP)) // it must not see the keeper end
	require.NoError(t, unix.Kill(keeper, unix.SIGKILL))
	require.NoError(t, agent.Process.Kill())
	_ = agent.Wait()
	require.True(t, running(pids[2]), "the daemon outlives its keeper, or this test shows nothing")

	// Somebody else's process with another mark must be left alone.
	other := startProcess(t, "sleep 1000", runVariable+"="+newRunName())
	next, err := OpenStateDir(dir)
	require.NoError(t, err)
	defer next.Close()
	found, err := next.EndLeftovers()
	require.NoError(t, err)
	require.Equal(t, 1, found)
	for _, pid := range pids {
		require.False(t, running(pid), "process %d is left", pid)
	}
	require.Empty(t, recordsIn(t, next))
	require.True(t, running(other))
}

func TestShim_KeeperKilled_ProgramGone(t *testing.T) {
	dir := openStateDir(t)
	k := keep(t, dir, shell(t.TempDir(), family))
	k.waitStarted()
	pids := pidsOf(t, k.output(3))
	require.NoError(t, unix.Kill(k.pid(), unix.SIGKILL))
	exit := k.waitExit()
	require.Equal(t, uint32(unix.SIGKILL), exit.Signal)
	require.Contains(t, exit.Failure, "keeper was killed")
	for _, pid := range pids {
		require.False(t, running(pid), "process %d is left when the exit is told", pid)
	}
}

func TestShim_Exits(t *testing.T) {
	for _, c := range []struct {
		name, script string
		code, signal uint32
	}{
		{"zero", "exit 0", 0, 0},
		{"seventeen", "exit 17", 17, 0},
		{"all bits", "exit 255", 255, 0},
		{"killed", "kill -KILL $$", 0, 9},
		{"a signal that the keeper ignores", "kill -TERM $$", 0, 15},
		{"127 of its own", "exit 127", 127, 0},
		{"children that end before", "for i in 1 2 3 4 5 6 7 8; do (exit 3) & done; wait; exit 4", 4, 0},
		{"orphans that end before", "for i in 1 2 3 4 5 6 7 8; do (sh -c 'exit 3' & exit 0); done; sleep 0.05; exit 5", 5, 0},
		{"a child that is killed", "sh -c 'kill -9 $$'; exit 6", 6, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := openStateDir(t)
			k := keep(t, dir, shell(t.TempDir(), c.script))
			exit := k.waitExit()
			require.Equal(t, c.code, exit.Code)
			require.Equal(t, c.signal, exit.Signal)
			require.Empty(t, exit.Failure)
			select {
			case <-k.started:
			default:
				t.Fatal("an exit without a start")
			}
			require.Empty(t, recordsIn(t, dir))
		})
	}
}

func TestShim_CannotBeStarted(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	require.NoError(t, os.WriteFile(plain, []byte("#!/bin/sh\n"), 0o644))
	noFormat := filepath.Join(dir, "no-format")
	require.NoError(t, os.WriteFile(noFormat, []byte("\x00\x01\x02"), 0o755))
	for _, c := range []struct {
		name string
		edit func(*spec)
		code uint32
		says string
	}{
		{"not in PATH", func(s *spec) { s.Program = "no-such-program-anywhere" }, 127, `program "no-such-program-anywhere" was not found in PATH "`},
		{"no such path", func(s *spec) { s.Program = "/no/such/program" }, 127, `program "/no/such/program" was not found on this machine`},
		{"not executable", func(s *spec) { s.Program = plain }, 126, "is not executable"},
		{"not executable in PATH", func(s *spec) { s.Program, s.Env = "plain", []string{"PATH=" + dir} }, 127, "was not found in PATH"},
		{"a directory", func(s *spec) { s.Program = dir }, 126, "is a directory"},
		{"not a program", func(s *spec) { s.Program = noFormat }, 126, "exec format error"},
		{"no working directory", func(s *spec) { s.Dir = "/no/such/directory" }, 126, `working directory "/no/such/directory" does not exist on this machine`},
		{"a file for a working directory", func(s *spec) { s.Dir = plain }, 126, "does not exist on this machine"},
		{"no place for its log", func(s *spec) { s.Log = "/no/such/directory/log" }, 126, "its log"},
		{"a PATH of here", func(s *spec) { s.Program, s.Dir, s.Env = "no-format", dir, []string{"PATH=.:"} }, 127, "was not found in PATH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := shell(t.TempDir(), "exit 0")
			c.edit(&s)
			k := keep(t, openStateDir(t), s)
			exit := k.waitExit()
			require.Equal(t, c.code, exit.Code)
			require.Contains(t, exit.Failure, c.says)
			select {
			case <-k.started:
				t.Fatal("started")
			default:
			}
		})
	}
}

func TestShim_RelativeProgramIsFoundInTheWorkingDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "train.sh"), []byte("#!/bin/sh\npwd\necho \"$@\"\n"), 0o755))
	s := shell(dir, "")
	s.Program, s.Args, s.Dir = "./train.sh", []string{"a b", "c"}, dir
	k := keep(t, openStateDir(t), s)
	require.Zero(t, k.waitExit().Code)
	require.Equal(t, []string{dir, "a b c"}, k.output(2))
}

func TestShim_Stop(t *testing.T) {
	// forEver waits until it is told to end; a shell would wait for its sleep first.
	const forEver = "echo ready; while :; do sleep 0.01; done"
	t.Run("ends when asked", func(t *testing.T) {
		k := keep(t, openStateDir(t), shell(t.TempDir(), "trap 'echo bye; exit 3' TERM; "+forEver))
		k.output(1)
		k.run.stop(time.Hour)
		require.Equal(t, uint32(3), k.waitExit().Code)
		require.Equal(t, []string{"ready", "bye"}, withoutTerminated(k.output(2)))
	})
	t.Run("is asked once, with all that runs in its group", func(t *testing.T) {
		k := keep(t, openStateDir(t), shell(t.TempDir(), `
trap 'echo bye; sleep 0.1; exit 3' TERM
(trap 'echo child; exit' TERM; `+forEver+`) &
`+forEver))
		k.output(2)
		k.run.stop(time.Hour)
		k.run.stop(time.Hour)
		require.Equal(t, uint32(3), k.waitExit().Code)
		require.ElementsMatch(t, []string{"ready", "ready", "bye", "child"}, withoutTerminated(k.output(4)))
	})
	t.Run("does not end when asked", func(t *testing.T) {
		k := keep(t, openStateDir(t), shell(t.TempDir(), "trap 'echo no' TERM; "+forEver))
		k.output(1)
		k.run.stop(300 * time.Millisecond)
		require.Equal(t, uint32(9), k.waitExit().Signal)
		require.Equal(t, []string{"ready", "no"}, withoutTerminated(k.output(2))) // it was asked before it was killed
	})
	t.Run("a shorter time counts", func(t *testing.T) {
		k := keep(t, openStateDir(t), shell(t.TempDir(), "trap '' TERM; "+forEver))
		k.output(1)
		k.run.stop(time.Hour)
		k.run.stop(2 * time.Hour)
		k.run.stop(20 * time.Millisecond)
		exit := k.waitExit()
		require.Equal(t, uint32(9), exit.Signal)
		require.Empty(t, exit.Failure, "the keeper itself must live to tell")
	})
	t.Run("before it runs", func(t *testing.T) {
		for i := range 10 {
			r := newRun()
			done := make(chan uint32)
			dir := openStateDir(t)
			go func() { done <- r.keep(dir, shell(t.TempDir(), "sleep 1000"), func() {}, func(string) {}).Signal }()
			time.Sleep(time.Duration(i) * 5 * time.Millisecond) // at different stages of its start; any will do
			r.stop(time.Hour)
			select {
			case signal := <-done:
				require.Equal(t, uint32(15), signal)
			case <-time.After(patience):
				t.Fatal("a stop was lost")
			}
		}
	})
	t.Run("killed before it runs", func(t *testing.T) {
		for i := range 10 {
			k := keep(t, openStateDir(t), shell(t.TempDir(), "sleep 1000"))
			time.Sleep(time.Duration(i) * 5 * time.Millisecond)
			k.run.kill()
			k.run.kill()
			require.Equal(t, uint32(9), k.waitExit().Signal)
		}
	})
	t.Run("after its end", func(t *testing.T) {
		k := keep(t, openStateDir(t), shell(t.TempDir(), "exit 0"))
		k.waitExit()
		k.run.stop(time.Millisecond)
		k.run.kill()
	})
}

// withoutTerminated drops what a shell says of the commands that ended with it.
func withoutTerminated(lines []string) []string {
	return slices.DeleteFunc(lines, func(l string) bool { return l == "Terminated" })
}

// What a program leaves behind does not outlive it: a rank that has ended is off the machine.
func TestShim_NothingOutlivesTheProgram(t *testing.T) {
	k := keep(t, openStateDir(t), shell(t.TempDir(), `
(setsid sh -c 'trap "" TERM HUP INT; echo $$; sleep 1000' &)
sleep 1000 & echo $!
sleep 0.1; exit 8`))
	pids := pidsOf(t, k.output(2))
	require.Equal(t, uint32(8), k.waitExit().Code)
	for _, pid := range pids {
		require.False(t, running(pid), "process %d is left when the exit is told", pid)
	}
}

func TestShim_ProgramThatForksForEver(t *testing.T) {
	k := keep(t, openStateDir(t), shell(t.TempDir(), `trap '' TERM; echo ready; while :; do (sleep 1000 &) ; sleep 0.005; done`))
	k.output(1)
	keeper := k.pid()
	time.Sleep(100 * time.Millisecond) // lets it fork some; nothing depends on how many
	pids := []int{keeper}
	for _, p := range descendants(keeper) {
		pids = append(pids, p.pid)
	}
	k.run.kill()
	require.Equal(t, uint32(9), k.waitExit().Signal)
	requireGone(t, pids)
}

func TestShim_Flood(t *testing.T) {
	dir := t.TempDir()
	k := keep(t, openStateDir(t), shell(dir, `i=0; while [ $i -lt 200000 ]; do echo "line $i of a program that has much to say"; i=$((i+1)); done; echo the end >&2; exit 9`))
	require.Equal(t, uint32(9), k.waitExit().Code)
	info, err := os.Stat(k.log)
	require.NoError(t, err)
	require.Greater(t, info.Size(), int64(8<<20))
	lines := strings.Split(strings.TrimSuffix(lastLinesOf(k.log, 0), "\n"), "\n")
	require.Len(t, lines, lastLines)
	require.Equal(t, "the end", lines[lastLines-1])
	require.Equal(t, "line 199999 of a program that has much to say", lines[lastLines-2])
}

// A program begins with nothing of its keeper: no descriptors, no input, signals as they are for everybody here.
func TestShim_ProgramInheritsNothing(t *testing.T) {
	if signal.Ignored(unix.SIGHUP) {
		t.Skip("under nohup what is started here ignores SIGHUP, and what the keeper starts does not")
	}
	const signals = "grep SigIgn /proc/self/status; grep SigBlk /proc/self/status"
	here, err := exec.Command("sh", "-c", signals).Output()
	require.NoError(t, err)
	k := keep(t, openStateDir(t), shell(t.TempDir(), `
ls /proc/self/fd | tr '\n' ' '; echo
readlink /proc/self/fd/0
`+signals))
	require.Zero(t, k.waitExit().Code)
	out := k.output(4)
	require.Equal(t, "0 1 2 3 ", out[0]) // 3 is the directory that ls reads
	require.Equal(t, "/dev/null", out[1])
	require.Equal(t, string(here), out[2]+"\n"+out[3]+"\n")
}

func TestShim_ByHand(t *testing.T) {
	out, err := exec.Command(os.Args[0], "shim").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "not called by hand")
}
