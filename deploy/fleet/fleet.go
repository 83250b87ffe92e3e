package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// Patience is for whatever is waited for. Nothing takes that long unless something is wrong.
const Patience = 30 * time.Second

// Fleet is what runs. Its exported fields are to be read.
type Fleet struct {
	Muster  string // the binary
	Dir     string // of data, logs and whatever the processes write
	Servers []*Server
	Client  *client.Client // of the servers, while they run

	// Places are where the servers listen, to be set before they are started; nil = at free ports of loopback. Within, if not nil, is
	// the command line that a server is run by, such as one that puts it into a network namespace.
	Places []string
	Within func(server string) []string
	// Flags are of each server besides those that a fleet gives.
	Flags []string

	began time.Time
	all   []*Process
}

// Play runs a story with a fleet of which nothing runs yet, in a temporary directory, for at most limit. Whatever becomes of it, a Ctrl-C
// too, nothing is left running behind it, and unless it is to be kept, nothing of the directory; what failed is shown with the ends of the
// logs.
func Play(muster string, keep bool, limit time.Duration, story func(context.Context, *Fleet) error) error {
	// Children are to die with this process, which the kernel takes for the thread that started them: see Start.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(interrupted, limit, fmt.Errorf("it took longer than %v", limit))
	defer cancel()
	muster, err := filepath.Abs(muster)
	if err != nil {
		return fmt.Errorf("the muster binary: %w", err)
	}
	dir, err := os.MkdirTemp("", "muster-fleet-")
	if err != nil {
		return fmt.Errorf("temporary directory: %w", err)
	}
	f := &Fleet{Muster: muster, Dir: dir, began: time.Now()}
	err = story(ctx, f)
	if interrupted.Err() != nil {
		err = context.Cause(interrupted)
	} else if err != nil {
		f.Tails(os.Stderr)
	}
	err = errors.Join(err, f.KillAll(), f.Disconnect())
	if keep {
		fmt.Fprintf(os.Stderr, "logs and data are kept in %s\n", f.Dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(f.Dir))
}

// Say prints a line of the story.
func (f *Fleet) Say(format string, args ...any) {
	fmt.Printf("[%5.1fs] %s\n", time.Since(f.began).Seconds(), fmt.Sprintf(format, args...))
}

// Command does what a person would type, shows it, and gives what it printed. Another exit code than 0 is an error.
func (f *Fleet) Command(ctx context.Context, args ...string) (string, error) {
	return f.CommandExits(ctx, 0, args...)
}

// CommandExits is Command where another exit code is wanted. Given is then what the command printed on standard error, too.
func (f *Fleet) CommandExits(ctx context.Context, code int, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	return f.command(ctx, code, args)
}

// Patiently is Command for one that waits, for as long as ctx lasts.
func (f *Fleet) Patiently(ctx context.Context, args ...string) (string, error) {
	return f.command(ctx, 0, args)
}

func (f *Fleet) command(ctx context.Context, code int, args []string) (string, error) {
	f.Say("$ %s", typed(args))
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, f.Muster, args...)
	cmd.Env = append(os.Environ(), "MUSTER_SERVERS="+strings.Join(f.Addresses(), ","))
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errs, f.Dir
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %w", typed(args), err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		return "", fmt.Errorf("%s: exit code %d, not %d: %s", typed(args), got, code, errs.String())
	}
	text := out.String()
	if code != 0 {
		text += errs.String()
	}
	return strings.TrimSpace(text), nil
}

// typed is a command line as a person would type it; long arguments are cut.
func typed(args []string) string {
	line := "muster"
	for _, arg := range args {
		if first, _, more := strings.Cut(arg, "\n"); more {
			arg = first + " …"
		}
		if strings.ContainsAny(arg, " $;") {
			arg = strconv.Quote(arg)
		}
		line += " " + arg
	}
	return line
}

// Await asks until it is so. It fails as soon as a process has failed.
func (f *Fleet) Await(ctx context.Context, what string, so func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Patience, fmt.Errorf("not within %v", Patience))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := so(ctx)
		if failed := f.Failed(); failed != nil {
			err = failed
		} else if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if done {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// View reads worlds, all for none.
func (f *Fleet) View(ctx context.Context, req *musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	view, err := f.Client.Cluster().ViewAll(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	return view, nil
}

// World is one world of a view, empty if it is not there.
func World(view *musterv1.ViewResponse, name string) *musterv1.WorldView {
	for _, w := range view.GetWorlds() {
		if w.GetWorld() == name {
			return w
		}
	}
	return &musterv1.WorldView{}
}
