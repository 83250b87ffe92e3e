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
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	key := hex.EncodeToString(b)
	if err := writeFile(path, []byte(key+"\n")); err != nil {
		return "", fmt.Errorf("state directory: keep the agent's key: %w", err)
	}
	return key, nil
}

// writeFile replaces a file as a whole.
func writeFile(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// record is a keeper that runs.
type record struct {
	Pid   int
	Start uint64 // with Pid and Boot it names the process
	Boot  string
	Marks []string // variables that its program, and what comes of that, has in its environment
}

// marks are the variables that tell the processes of one rank's incarnation from all others.
func marks(env []string) []string {
	var out []string
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if name == "MUSTER_PROC_ID" || name == "MUSTER_GENERATION" || name == "MUSTER_INCARNATION" {
			out = append(out, v)
		}
	}
	return out
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
	r := record{Pid: pid, Start: p.start, Boot: d.boot, Marks: marks(env)}
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

// end ends a keeper and what it kept, and tells whether there was anything.
func (r record) end() bool {
	found := false
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		mine := r.left()
		if len(mine) == 0 {
			return found
		}
		found = true
		if time.Since(begun) < leftoverPatience {
			continue
		}
		for _, p := range mine {
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
	}
}

// left is what still runs of a keeper: itself with what is below it, or, when it has gone, what says in its environment to be of its rank.
func (r record) left() []process {
	keeper, ok := readProcess(r.Pid)
	if ok && keeper.start == r.Start && !keeper.zombie {
		return append(descendants(r.Pid), keeper)
	}
	var out []process
	for _, p := range processes() {
		if !p.zombie && p.pid != os.Getpid() && r.isOfRank(p.pid) {
			out = append(out, p)
		}
	}
	return out
}

func (r record) isOfRank(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || len(r.Marks) == 0 {
		return false
	}
	env := append([]byte{0}, b...)
	for _, mark := range r.Marks {
		if !bytes.Contains(env, []byte("\x00"+mark+"\x00")) {
			return false
		}
	}
	return true
}
