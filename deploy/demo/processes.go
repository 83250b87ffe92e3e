package main

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

// processes is every process that the demo has started. Only the goroutine that plays the story uses it.
type processes struct {
	dir string
	all []*process
}

// process is one of them. A goroutine waits for it and ends with it.
type process struct {
	name   string
	log    string
	cmd    *exec.Cmd
	done   chan struct{}
	err    error // how it ended; read behind done
	killed bool
}

// start starts a process in a process group of its own, so that a Ctrl-C in the terminal reaches the demo alone, which then
// ends everything in order. What it writes goes to NAME.log, standard output only where cmd has no other place for it.
func (ps *processes) start(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, log: filepath.Join(ps.dir, name+".log"), cmd: cmd, done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer log.Close()
	cmd.Stderr = log
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Dir = ps.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	ps.all = append(ps.all, p)
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// ended says whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends a process that runs, and cannot do anything about it, and waits for it.
func (p *process) kill() error {
	if p.ended() {
		return fmt.Errorf("%s is to be killed and has ended already: %w", p.name, p.err)
	}
	p.killed = true
	// Its group, in case it has children. The number cannot be another's yet: it is free only once the process was waited for.
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(killPatience):
		return fmt.Errorf("%s, process %d, is still there %v after it was killed", p.name, p.cmd.Process.Pid, killPatience)
	}
}

// wait waits until the process has ended by itself, with success.
func (p *process) wait(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to end: %w", p.name, context.Cause(ctx))
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

// terminate asks the process to end.
func (p *process) terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending %s: %w", p.name, err)
	}
	return nil
}

// failed is the first process that has ended with an error and was not killed.
func (ps *processes) failed() error {
	for _, p := range ps.all {
		if p.ended() && p.err != nil && !p.killed {
			return fmt.Errorf("%s has failed: %w", p.name, p.err)
		}
	}
	return nil
}

// left is an error that names the processes that are still there.
func (ps *processes) left() error {
	var names []string
	for _, p := range ps.all {
		if !p.ended() {
			names = append(names, p.name)
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("processes are left over: %s", strings.Join(names, ", "))
	}
	return nil
}

// killAll ends what still runs.
func (ps *processes) killAll() error {
	var errs []error
	for _, p := range ps.all {
		if !p.ended() {
			errs = append(errs, p.kill())
		}
	}
	return errors.Join(errs...)
}

// tails shows the end of every log that says something.
func (ps *processes) tails(w io.Writer) {
	shown := map[string]bool{}
	for _, p := range ps.all {
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
