package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// killPatience is what a killed process is given to be gone.
	killPatience = 5 * time.Second
	// endPatience is what a process is given that was asked to end.
	endPatience = 15 * time.Second
	// tail is how much of a log is shown after a failure.
	tail = 2 << 10
)

// Process is one that a Fleet has started. A goroutine waits for it and ends with it.
type Process struct {
	Name string

	log    string
	cmd    *exec.Cmd
	done   chan struct{}
	err    error // how it ended; read behind done
	killed bool
}

// Start starts a process in a process group of its own, so that a Ctrl-C in the terminal reaches this program alone, which then
// ends everything in order. What it writes goes to NAME.log, standard output only where cmd has no other place for it. The process
// is killed by the kernel when the calling thread ends: see LockOSThread.
func (f *Fleet) Start(name string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{Name: name, log: filepath.Join(f.Dir, name+".log"), cmd: cmd, done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer log.Close()
	cmd.Stderr = log
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Dir = f.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	f.all = append(f.all, p)
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Ended says whether the process is gone.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Kill ends a process that runs, and cannot do anything about it, and waits for it. One that has ended before is an error.
func (p *Process) Kill() error {
	if p.Ended() {
		return fmt.Errorf("%s is to be killed and has ended already: %w", p.Name, p.err)
	}
	p.killed = true
	// Its group, in case it has children. The number cannot be another's yet: it is free only once the process was waited for.
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing %s: %w", p.Name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(killPatience):
		return fmt.Errorf("%s, process %d, is still there %v after it was killed", p.Name, p.cmd.Process.Pid, killPatience)
	}
}

// Wait waits until the process has ended by itself, with success.
func (p *Process) Wait(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to end: %w", p.Name, context.Cause(ctx))
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.Name, p.err)
	}
	return nil
}

// Terminate asks the process to end.
func (p *Process) Terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending %s: %w", p.Name, err)
	}
	return nil
}

// Pause stops the process where it is; Continue has it go on.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Continue has a paused process go on.
func (p *Process) Continue() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("%v to %s: %w", s, p.Name, err)
	}
	return nil
}

// Failed is the first process that has ended with an error and was not killed.
func (f *Fleet) Failed() error {
	for _, p := range f.all {
		if p.Ended() && p.err != nil && !p.killed {
			return fmt.Errorf("%s has failed: %w", p.Name, p.err)
		}
	}
	return nil
}

// Left is an error that names the processes that are still there.
func (f *Fleet) Left() error {
	var names []string
	for _, p := range f.all {
		if !p.Ended() {
			names = append(names, p.Name)
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("processes are left over: %s", strings.Join(names, ", "))
	}
	return nil
}

// KillAll ends what still runs.
func (f *Fleet) KillAll() error {
	var errs []error
	for _, p := range f.all {
		if !p.Ended() {
			errs = append(errs, p.Kill())
		}
	}
	return errors.Join(errs...)
}

// Tails shows the end of every log that says something.
func (f *Fleet) Tails(w io.Writer) {
	shown := map[string]bool{}
	for _, p := range f.all {
		text, err := os.ReadFile(p.log)
		if err != nil || len(text) == 0 || shown[p.log] {
			continue
		}
		shown[p.log] = true
		if len(text) > tail {
			text = text[len(text)-tail:]
			text = text[bytes.IndexByte(text, '\n')+1:] // from the start of a line
		}
		fmt.Fprintf(w, "--- the end of %s:\n%s", filepath.Base(p.log), text)
	}
}
