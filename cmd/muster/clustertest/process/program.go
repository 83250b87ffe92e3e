package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that has to happen.
const patience = 30 * time.Second

// Program is a muster process, running or not. What it prints goes to a log file that all its runs share.
type Program struct {
	Name string

	t      testing.TB
	binary string // path; empty = Binary's
	log    string // path
	run    *run   // nil while it does not run
}

// run is one life of a program.
type run struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd.ProcessState is set
}

// Start starts `muster ARGS`. The test ends it.
func Start(t testing.TB, name string, args ...string) *Program {
	t.Helper()
	return startBinary(t, Binary(t), name, args...)
}

// startBinary is Start of another binary than Binary's.
func startBinary(t testing.TB, binary, name string, args ...string) *Program {
	t.Helper()
	p := &Program{binary: binary}
	p.init(t, name)
	p.start(args)
	return p
}

func (p *Program) init(t testing.TB, name string) {
	p.Name, p.t, p.log = name, t, filepath.Join(t.TempDir(), name+".log")
	t.Cleanup(p.cleanup)
}

// Running says whether the program was started and not ended through its methods.
func (p *Program) Running() bool { return p.run != nil }

// start starts a program that does not run.
func (p *Program) start(args []string) {
	p.t.Helper()
	if p.run != nil {
		p.t.Fatalf("%s runs already", p.Name)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	if p.binary == "" {
		p.binary = Binary(p.t)
	}
	cmd := exec.Command(p.binary, args...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, attributes()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.run = &run{cmd: cmd, ended: make(chan struct{})}
	go func(r *run) {
		defer close(r.ended)
		_ = r.cmd.Wait()
	}(p.run)
}

// Kill ends the program as a crash does, with SIGKILL.
func (p *Program) Kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.wait()
}

// Stop asks the program to end, with SIGTERM, and gives its exit code.
func (p *Program) Stop() int {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	return p.wait()
}

// Interrupt sends what Ctrl-C sends.
func (p *Program) Interrupt() {
	p.t.Helper()
	p.signal(syscall.SIGINT)
}

// Pause stops the program where it is, with SIGSTOP; its connections stay open.
func (p *Program) Pause() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
}

// Continue lets a paused program go on.
func (p *Program) Continue() {
	p.t.Helper()
	p.signal(syscall.SIGCONT)
}

// Ended waits until the program has ended by itself, and gives its exit code.
func (p *Program) Ended() int {
	p.t.Helper()
	if p.run == nil {
		p.t.Fatalf("%s does not run", p.Name)
	}
	return p.wait()
}

// Log is what the program has printed so far, over all its runs.
func (p *Program) Log() string {
	p.t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	return string(text)
}

// signal sends a signal to the program's process group. A program that is not there any more was not meant to end.
func (p *Program) signal(sig syscall.Signal) {
	p.t.Helper()
	if p.run == nil {
		p.t.Fatalf("%s does not run", p.Name)
	}
	select {
	case <-p.run.ended:
		p.t.Fatalf("%s has ended by itself: %v", p.Name, p.run.cmd.ProcessState)
	default:
	}
	if err := syscall.Kill(-p.run.cmd.Process.Pid, sig); err != nil {
		p.t.Fatalf("signal %v to %s: %v", sig, p.Name, err)
	}
}

// wait waits for the end of the run and gives its exit code, -1 after a signal.
func (p *Program) wait() int {
	p.t.Helper()
	r := p.run
	select {
	case <-r.ended:
	case <-time.After(patience):
		p.t.Fatalf("%s has not ended within %v", p.Name, patience)
	}
	p.run = nil
	return r.cmd.ProcessState.ExitCode()
}

// cleanup ends what still runs, and shows the log if the test failed.
func (p *Program) cleanup() {
	if r := p.run; r != nil {
		select {
		case <-r.ended:
			p.t.Errorf("%s has ended by itself: %v", p.Name, r.cmd.ProcessState)
		default:
			// A paused one too: SIGKILL does not wait for SIGCONT.
			_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
			<-r.ended
		}
	}
	if p.t.Failed() {
		p.t.Logf("last lines of %s:\n%s", p.Name, lastLines(p.Log(), 60))
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = append([]string{fmt.Sprintf("(%d lines before)", len(lines)-n)}, lines[len(lines)-n:]...)
	}
	return strings.Join(lines, "\n")
}
