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

// Server is one node's program, running or not. What it prints goes to a log file that all its runs share.
type Server struct {
	Name    string
	Address string
	Dir     string // its data directory

	t     testing.TB
	flags []string
	log   string // path
	run   *run   // nil while it does not run
}

// run is one life of a server.
type run struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd.ProcessState is set
}

// NewServer is a server that does not run yet. Its flags are those given and its name and data directory, which is below a
// temporary one. The test ends it.
func NewServer(t testing.TB, name, address string, flags ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{Name: name, Address: address, Dir: filepath.Join(dir, name), t: t, flags: flags, log: filepath.Join(dir, name+".log")}
	t.Cleanup(s.cleanup)
	return s
}

// Running says whether the server was started and not ended through its methods.
func (s *Server) Running() bool { return s.run != nil }

// Start starts a server that does not run, over the data that it has.
func (s *Server) Start() {
	s.t.Helper()
	if s.run != nil {
		s.t.Fatalf("server %s runs already", s.Name)
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	args := append([]string{"server", "--node", s.Name, "--listen", s.Address, "--data-dir", s.Dir}, s.flags...)
	cmd := exec.Command(Binary(s.t), args...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, attributes()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.run = &run{cmd: cmd, ended: make(chan struct{})}
	go func(r *run) {
		defer close(r.ended)
		_ = r.cmd.Wait()
	}(s.run)
}

// Kill ends the server as a crash does, with SIGKILL.
func (s *Server) Kill() {
	s.t.Helper()
	s.signal(syscall.SIGKILL)
	s.wait()
}

// Stop asks the server to end, with SIGTERM, and gives its exit code.
func (s *Server) Stop() int {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	return s.wait()
}

// Pause stops the server where it is, with SIGSTOP; its connections stay open.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
}

// Continue lets a paused server go on.
func (s *Server) Continue() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

// Wipe empties the data directory of a server that does not run.
func (s *Server) Wipe() {
	s.t.Helper()
	if s.run != nil {
		s.t.Fatalf("server %s runs: its directory cannot be wiped", s.Name)
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		s.t.Fatal(err)
	}
}

// Ended waits until the server has ended by itself, and gives its exit code.
func (s *Server) Ended() int {
	s.t.Helper()
	if s.run == nil {
		s.t.Fatalf("server %s does not run", s.Name)
	}
	return s.wait()
}

// Log is what the server has printed so far, over all its runs.
func (s *Server) Log() string {
	s.t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	return string(text)
}

// Muster runs a verb of the command line against this server alone.
func (s *Server) Muster(args ...string) (code int, out, errs string) {
	s.t.Helper()
	return muster(s.t, s.Address, args)
}

// signal sends a signal to the server's process group. A server that is not there any more was not meant to end.
func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if s.run == nil {
		s.t.Fatalf("server %s does not run", s.Name)
	}
	select {
	case <-s.run.ended:
		s.t.Fatalf("server %s has ended by itself: %v", s.Name, s.run.cmd.ProcessState)
	default:
	}
	if err := syscall.Kill(-s.run.cmd.Process.Pid, sig); err != nil {
		s.t.Fatalf("signal %v to server %s: %v", sig, s.Name, err)
	}
}

// wait waits for the end of the run and gives its exit code, -1 after a signal.
func (s *Server) wait() int {
	s.t.Helper()
	r := s.run
	select {
	case <-r.ended:
	case <-time.After(patience):
		s.t.Fatalf("server %s has not ended within %v", s.Name, patience)
	}
	s.run = nil
	return r.cmd.ProcessState.ExitCode()
}

// cleanup ends what still runs, and shows the log if the test failed.
func (s *Server) cleanup() {
	if r := s.run; r != nil {
		select {
		case <-r.ended:
			s.t.Errorf("server %s has ended by itself: %v", s.Name, r.cmd.ProcessState)
		default:
			// A paused one too: SIGKILL does not wait for SIGCONT.
			_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
			<-r.ended
		}
	}
	if s.t.Failed() {
		s.t.Logf("last lines of %s:\n%s", s.Name, lastLines(s.Log(), 60))
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = append([]string{fmt.Sprintf("(%d lines before)", len(lines)-n)}, lines[len(lines)-n:]...)
	}
	return strings.Join(lines, "\n")
}
