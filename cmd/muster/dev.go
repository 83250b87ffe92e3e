package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"muster/transport/client"
)

const (
	devNodes = 3
	// devReady is how long three nodes in one process may take to find a leader.
	devReady = 20 * time.Second
)

// devFlags is what `muster dev` is told.
type devFlags struct {
	port     int
	dataDir  string
	logLevel string
	settings settingsFlags
}

func newDev(*cli) *cobra.Command {
	f := &devFlags{}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster of three nodes in this process, to try things out",
		Long: `Run a cluster of three nodes in this process, on loopback, to try things out.

Its data is in a temporary directory that goes with it, unless --data-dir says where to keep it.`,
		Example: "  muster dev",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.port, "port", 7380, "port of the first node; the others take the next two; 0 = any")
	flags.StringVar(&f.dataDir, "data-dir", "", "where to keep the data (default: a temporary directory, removed at the end)")
	flags.StringVar(&f.logLevel, "log-level", "error", "trace, debug, info, warn or error")
	f.settings.register(flags)
	return cmd
}

func (f *devFlags) run(ctx context.Context, out, log io.Writer) error {
	settings, err := f.settings.settings()
	if err != nil {
		return err
	}
	start := time.Now()
	local, err := startLocal(devNodes, f.port, f.dataDir, settings, f.logLevel, log)
	if err != nil {
		return err
	}
	defer local.close()
	return f.serve(ctx, out, local.addresses, start)
}

// serve waits for the cluster, says what to type next, and waits for the end.
func (f *devFlags) serve(ctx context.Context, out io.Writer, addresses []string, start time.Time) error {
	c, err := client.New(client.Config{Servers: addresses})
	if err != nil {
		return err
	}
	defer c.Close()
	waiting, cancel := context.WithTimeout(ctx, devReady)
	defer cancel()
	leader, err := c.Cluster().FindLeader(waiting)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	fmt.Fprintf(out, "A cluster of %d nodes is ready after %v; node %s leads. Ctrl-C ends it. In another terminal:\n\n  export MUSTER_SERVERS=%s\n  muster status\n",
		len(addresses), time.Since(start).Round(time.Millisecond), leader.GetNode(), strings.Join(addresses, ","))
	<-ctx.Done()
	return nil
}
