package hostagent

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// StateDir is what an agent keeps over its restarts: its key, and which keepers run. One agent at a time has it.
type StateDir struct {
	path string
	lock *os.File
	boot string
	key  string
}

// DefaultStateDir is where an agent keeps its state unless it is told otherwise.
func DefaultStateDir() string {
	if os.Getuid() == 0 {
		return "/var/lib/muster/host"
	}
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return filepath.Join(os.TempDir(), fmt.Sprintf("muster-host-%d", os.Getuid()))
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "muster", "host")
}

// OpenStateDir takes the directory, making it if need be. A second agent is refused.
func OpenStateDir(path string) (*StateDir, error) {
	if err := os.MkdirAll(filepath.Join(path, "running"), 0o755); err != nil {
		return nil, fmt.Errorf("state directory: %w: give one that can be written with --state-dir", err)
	}
	lockPath := filepath.Join(path, "lock")
	lock, err := lockFile(lockPath)
	if err != nil {
		holder, _ := os.ReadFile(lockPath)
		return nil, fmt.Errorf("another agent (pid %s) uses %s: give each agent of a machine its own --state-dir", bytes.TrimSpace(holder), path)
	}
	_ = lock.Truncate(0)
	_, _ = lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	d := &StateDir{path: path, lock: lock}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("state directory: which boot this is: %w", err)
	}
	d.boot = strings.TrimSpace(string(boot))
	if d.key, err = d.readKey(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return d, nil
}

// Close lets another agent have the directory.
func (d *StateDir) Close() error { return d.lock.Close() }

// Key names the agent to the cluster: whoever has it gets its old ranks back.
func (d *StateDir) Key() string { return d.key }

func (d *StateDir) readKey() (string, error) {
	path := filepath.Join(d.path, "key")
	if b, err := os.ReadFile(path); err == nil && len(bytes.TrimSpace(b)) > 0 {
		return string(bytes.TrimSpace(b)), nil
	}
	key := randomHex(16)
	if err := writeFile(path, []byte(key+"\n")); err != nil {
		return "", fmt.Errorf("state directory: keep the agent's key: %w", err)
	}
	return key, nil
}

// writeFile replaces a file as a whole.
func writeFile(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// record is a keeper that runs.
type record struct {
	Pid   int
	Start uint64 // with Pid and Boot it names the process
	Boot  string
	Mark  string // a variable that its program, and what comes of that, has in its environment, and nothing else has
}

// newRunName names a run of a rank as nothing else is named, by any agent of any cluster.
func newRunName() string { return randomHex(8) }

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// markOf is the variable that tells the processes of a run from all others.
func markOf(env []string) string {
	for _, v := range env {
		if strings.HasPrefix(v, runVariable+"=") {
			return v
		}
	}
	return ""
}

func (d *StateDir) recordPath(pid int) string {
	return filepath.Join(d.path, "running", strconv.Itoa(pid)+".json")
}

// note writes down a keeper, before it is told what to run.
func (d *StateDir) note(pid int, env []string) (record, error) {
	p, ok := readProcess(pid)
	if !ok {
		return record{}, fmt.Errorf("keeper %d has gone", pid)
	}
	r := record{Pid: pid, Start: p.start, Boot: d.boot, Mark: markOf(env)}
	b, err := json.Marshal(r)
	if err != nil {
		return record{}, err
	}
	return r, writeFile(d.recordPath(pid), b)
}

func (d *StateDir) forget(pid int) { _ = os.Remove(d.recordPath(pid)) }

// leftoverPatience is what keepers of an earlier agent have to end by themselves, as they do when their agent has gone.
const leftoverPatience = 2 * time.Second

// EndLeftovers ends what an earlier agent has left running, and returns how many keepers those were. It touches nothing that it cannot
// tell to be such.
func (d *StateDir) EndLeftovers() (int, error) {
	files, err := filepath.Glob(filepath.Join(d.path, "running", "*.json"))
	if err != nil {
		return 0, err
	}
	found := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return found, fmt.Errorf("state directory: %w", err)
		}
		var r record
		if json.Unmarshal(b, &r) == nil && r.Boot == d.boot && r.Pid > 1 && r.end() {
			found++
		}
		if err := os.Remove(file); err != nil {
			return found, fmt.Errorf("state directory: %w", err)
		}
	}
	return found, nil
}

// end ends a keeper and what it kept, and tells whether there was anything. What may not be killed it leaves after a while.
func (r record) end() bool {
	found := false
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		mine, kept := r.left()
		if len(mine) == 0 || time.Since(begun) > leftoverPatience+killPatience {
			return found
		}
		found = true
		if kept && time.Since(begun) < leftoverPatience {
			continue
		}
		for _, p := range mine {
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
	}
}

// left is what still runs of a keeper: itself with what is below it, or, when it has gone, what says in its environment to be of its run.
func (r record) left() (left []process, kept bool) {
	keeper, ok := readProcess(r.Pid)
	if ok && keeper.start == r.Start && !keeper.zombie {
		return append(descendants(r.Pid), keeper), true
	}
	for _, p := range processes() {
		if !p.zombie && p.pid != os.Getpid() && r.isOfRun(p.pid) {
			left = append(left, p)
		}
	}
	return left, false
}

func (r record) isOfRun(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && r.Mark != "" && bytes.Contains(append([]byte{0}, b...), []byte("\x00"+r.Mark+"\x00"))
}
