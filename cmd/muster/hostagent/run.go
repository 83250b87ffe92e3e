package hostagent

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	musterv1 "muster/proto/muster/v1"
)

// run is one program below its keeper. Safe for concurrent use.
type run struct {
	done chan struct{} // closed when nothing of it is left, and how it has ended has been said

	mu       sync.Mutex
	pid      int // the keeper's, and its session's and group's; 0 before it runs
	lifeline *os.File
	started  bool          // the program runs: signals are for it
	asked    bool          // it was asked to end
	deadline time.Duration // what it was given then
	dead     bool          // it was killed, or is to be as soon as it runs
	killer   *time.Timer
}

func newRun() *run { return &run{done: make(chan struct{})} }

// keep runs s below a keeper until it has ended; closing done is left to the caller. started is called when the program runs,
// left with what the keeper could not end. The exit has no last lines yet.
func (r *run) keep(dir *StateDir, s spec, started func(), left func(what string)) *musterv1.Exit {
	cmd, news, tell, err := r.startKeeper()
	if err != nil {
		return &musterv1.Exit{Code: codeCannotRun, Failure: fmt.Sprintf("start its keeper: %v", err)}
	}
	defer news.Close()
	pid := cmd.Process.Pid
	note, err := dir.note(pid, s.Env)
	if err == nil {
		err = json.NewEncoder(tell).Encode(s) // it starts the program now, and not before it was written down
	}
	_ = tell.Close()
	if err != nil {
		_ = r.lifeline.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return &musterv1.Exit{Code: codeCannotRun, Failure: fmt.Sprintf("start its keeper: %v", err)}
	}
	r.running(pid)
	exit, orderly := r.listen(json.NewDecoder(news), started, left)
	r.over()
	_ = cmd.Wait()
	if !orderly {
		note.end() // a keeper that was killed leaves behind what came of its program
	}
	dir.forget(pid)
	return exit
}

// over has nothing sent to the keeper any more: once it has been waited for its number may be another's.
func (r *run) over() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pid = 0
	if r.killer != nil {
		r.killer.Stop()
	}
	if !r.dead {
		_ = r.lifeline.Close()
	}
	r.dead = true
}

// startKeeper starts the keeper, which waits to be told what to run.
func (r *run) startKeeper() (cmd *exec.Cmd, news, tell *os.File, err error) {
	var theirs, ours []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
		if err != nil {
			for _, f := range ours {
				_ = f.Close()
			}
		}
	}()
	pipe := func(toKeeper bool) (ourEnd *os.File) {
		if err != nil {
			return nil
		}
		var read, write *os.File
		if read, write, err = os.Pipe(); err != nil {
			return nil
		}
		if toKeeper {
			theirs, ours = append(theirs, read), append(ours, write)
			return write
		}
		theirs, ours = append(theirs, write), append(ours, read)
		return read
	}
	lifeline := pipe(true)
	news = pipe(false)
	tell = pipe(true)
	if err != nil {
		return nil, nil, nil, err
	}
	self, err := executable()
	if err != nil {
		return nil, nil, nil, err
	}
	cmd = exec.Command(self, "shim")
	cmd.ExtraFiles = theirs // from descriptor 3 on: lifeline, news, spec
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stderr = os.Stderr
	if err = cmd.Start(); err != nil {
		return nil, nil, nil, err
	}
	r.mu.Lock()
	r.lifeline = lifeline
	r.mu.Unlock()
	return cmd, news, tell, nil
}

// executable is this binary, even when the file was replaced meanwhile.
func executable() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("which binary this is: %w", err)
	}
	return filepath.Clean(path), nil
}

// running kills what was to be killed before it ran.
func (r *run) running(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pid = pid
	if r.dead {
		_ = r.lifeline.Close()
	}
}

// listen takes what the keeper says. orderly tells that the keeper has ended all that it kept.
func (r *run) listen(from *json.Decoder, started func(), left func(string)) (exit *musterv1.Exit, orderly bool) {
	for {
		var n news
		if err := from.Decode(&n); err != nil {
			return &musterv1.Exit{Signal: uint32(unix.SIGKILL), Failure: "its keeper was killed"}, false
		}
		if n.Ended {
			return n.exit(), true
		}
		if n.Left != "" {
			left(n.Left)
			continue
		}
		started()
		r.mu.Lock()
		r.started = true
		if r.asked {
			r.terminate()
		}
		r.mu.Unlock()
	}
}

// stop asks the program to end, and kills what is left of it after a timeout. Only the first call, and shorter timeouts, count.
func (r *run) stop(timeout time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead || r.asked && timeout >= r.deadline {
		return
	}
	if r.killer != nil {
		r.killer.Stop()
	}
	r.killer = time.AfterFunc(max(timeout, time.Millisecond), r.kill)
	again := r.asked
	r.asked, r.deadline = true, timeout
	if r.started && !again {
		r.terminate()
	}
}

// terminate is called with mu held, and not before the program runs: a keeper that begins would die of the signal.
func (r *run) terminate() {
	if r.pid != 0 {
		_ = unix.Kill(-r.pid, unix.SIGTERM)
	}
}

// kill ends the program and all that came of it, at once: the keeper does when its lifeline ends.
func (r *run) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return
	}
	r.dead = true
	if r.pid != 0 {
		_ = r.lifeline.Close()
	}
}
