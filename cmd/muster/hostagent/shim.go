package hostagent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// RunShim is the keeper of one rank: the whole of `muster shim`. It returns when the program and everything that came of it has ended.
func RunShim() error {
	runtime.LockOSThread() // the program dies with the thread that started it, see start
	closeOnExec()
	lifeline, tell := os.NewFile(lifelineFD, "lifeline"), os.NewFile(newsFD, "news")
	if lifeline == nil || tell == nil {
		return errors.New("shim: this is how an agent keeps a rank's program; it is not called by hand")
	}
	var s spec
	if err := json.NewDecoder(os.NewFile(specFD, "spec")).Decode(&s); err != nil {
		return fmt.Errorf("shim: this is how an agent keeps a rank's program; it is not called by hand: %w", err)
	}
	// What is sent to the group is for the program. Caught and not ignored, as a program would inherit that.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGCHLD, syscall.SIGPIPE)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("shim: become the reaper of what the program leaves: %w", err)
	}
	k := newKeeper(tell)
	cmd, failed := k.start(s)
	if failed != nil {
		k.say(*failed)
		return nil
	}
	k.say(news{Started: true})
	k.program = cmd.Process.Pid
	go k.reapOnSignal(signals)
	go func() {
		_, _ = io.Copy(io.Discard, lifeline) // the agent never writes: this ends with it
		k.endAll()
	}()
	_ = cmd.Wait()
	k.waited.Store(true)
	k.endAll()
	k.say(ended(cmd.ProcessState))
	return nil
}

// closeOnExec keeps the pipes to the agent, and what the agent was started with, from the program.
func closeOnExec() {
	files, _ := os.ReadDir("/proc/self/fd")
	for _, f := range files {
		if fd, err := strconv.Atoi(f.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// start starts the program, or says why not in words for people.
func (k *keeper) start(s spec) (*exec.Cmd, *news) {
	cannot := func(code uint32, format string, args ...any) (*exec.Cmd, *news) {
		return nil, &news{Ended: true, Code: code, Failure: fmt.Sprintf(format, args...)}
	}
	if s.Dir != "" {
		if info, err := os.Stat(s.Dir); err != nil || !info.IsDir() {
			return cannot(codeCannotRun, "working directory %q does not exist on this machine", s.Dir)
		}
	}
	path, code, err := lookPath(s)
	if err != nil {
		return cannot(code, "%v", err)
	}
	log, err := os.OpenFile(s.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return cannot(codeCannotRun, "its log: %v", err)
	}
	defer log.Close()
	cmd := &exec.Cmd{
		Path: path, Args: append([]string{s.Program}, s.Args...), Env: s.Env, Dir: s.Dir, Stdout: log, Stderr: log,
		// A second line of defence: it fires when this thread ends, and for the program only.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	if err := cmd.Start(); err != nil {
		return cannot(codeCannotRun, "program %q cannot be run: %v", s.Program, errors.Unwrap(err))
	}
	return cmd, nil
}

// lookPath finds the program as a shell would, in the PATH that the program itself gets.
func lookPath(s spec) (path string, code uint32, err error) {
	if strings.Contains(s.Program, "/") {
		path = s.Program
		if !filepath.IsAbs(path) && s.Dir != "" {
			path = filepath.Join(s.Dir, path)
		}
		return path, codeOf(path), checkProgram(s.Program, path)
	}
	search := ""
	for _, v := range s.Env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			search = value
		}
	}
	for _, dir := range filepath.SplitList(search) {
		if !filepath.IsAbs(dir) {
			continue // found by accident, or planted
		}
		if path = filepath.Join(dir, s.Program); checkProgram(s.Program, path) == nil {
			return path, 0, nil
		}
	}
	return "", codeNotFound, fmt.Errorf("program %q was not found in PATH %q of this machine", s.Program, search)
}

func codeOf(path string) uint32 {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return codeNotFound
	}
	return codeCannotRun
}

func checkProgram(name, path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("program %q was not found on this machine", name)
	case err != nil:
		return fmt.Errorf("program %q: %w", name, err)
	case info.IsDir():
		return fmt.Errorf("program %q is a directory", name)
	case unix.Access(path, unix.X_OK) != nil:
		return fmt.Errorf("program %q is not executable", name)
	}
	return nil
}

func ended(state *os.ProcessState) news {
	n := news{Ended: true}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		n.Signal = uint32(status.Signal())
	} else {
		n.Code = uint32(state.ExitCode()) & 0xff
	}
	return n
}
