package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"muster/transport/client"
)

// What the program exits with.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNoAnswer = 3
	exitTimeout  = 4
	// exitDiskHangs: a server's disk did not answer for raftnode.HangLimit.
	exitDiskHangs = 5
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program from its arguments to its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	c := &cli{}
	root := newRoot(c)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if !c.started {
		err = &usageError{err} // cobra did not like the arguments
	}
	fmt.Fprintf(errs, "muster: %v\n", err)
	code := exitCode(err)
	switch code {
	case exitUsage:
		fmt.Fprintf(errs, "See '%s --help'.\n", cmd.CommandPath())
	case exitNoAnswer:
		fmt.Fprintln(errs, "Is a server running there? Start one with 'muster dev', or name others with --servers or MUSTER_SERVERS.")
	}
	return code
}

// usageError is a command line that cannot be right, whatever the cluster says.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// codedError exits with a code that is not the program's own, such as a rank's.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

func exitCode(err error) int {
	var usage *usageError
	var coded *codedError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, client.ErrNoAnswer):
		return exitNoAnswer
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	}
	return exitFailed
}
