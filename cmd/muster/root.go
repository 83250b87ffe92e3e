package main

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"muster/transport/client"
)

const defaultServer = "127.0.0.1:7380"

// cli is the flags that all verbs share.
type cli struct {
	servers string
	timeout time.Duration
	output  string
	// started: the arguments were understood, the verb runs.
	started bool
}

// commands are the verbs.
func commands(c *cli) []*cobra.Command {
	return []*cobra.Command{
		newDev(c), newServer(c), newHost(c), newRun(c), newWorld(c), newPs(c), newView(c), newExplain(c), newLogs(c), newStart(c), newStop(c), newAlarm(c), newWatch(c),
		newStatus(c), newState(c), newClusterCommand(c), newBench(c), newShim(c), newVersion(c),
	}
}

func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "muster",
		Short: "Coordinate fleets of ranked processes",
		Long: `Muster keeps worlds of ranked processes: who has joined, who is alive, what the world is, and what is to be done.

Exit codes: 0 done, 1 refused or failed, 2 usage, 3 no cluster answered, 4 timed out, 5 the disk of a server hung.`,
		Args: cobra.NoArgs,
		// run prints errors itself, in one form.
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains([]string{"table", "json"}, c.output) {
				return usagef("--output %q: give table or json", c.output)
			}
			if c.timeout <= 0 {
				return usagef("--timeout %v: give a duration above 0, such as 10s", c.timeout)
			}
			c.started = true
			return nil
		},
	}
	servers := os.Getenv("MUSTER_SERVERS")
	if servers == "" {
		servers = defaultServer
	}
	root.PersistentFlags().StringVar(&c.servers, "servers", servers, "addresses (host:port) of some or all servers, separated by commas; default from MUSTER_SERVERS")
	root.PersistentFlags().DurationVar(&c.timeout, "timeout", 10*time.Second, "how long to try")
	root.PersistentFlags().StringVarP(&c.output, "output", "o", "table", "table for people, json for programs")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(commands(c)...)
	return root
}

// group is a verb that only has verbs below it.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// serverList is what --servers names.
func (c *cli) serverList() ([]string, error) {
	var servers []string
	for _, address := range strings.Split(c.servers, ",") {
		if address = strings.TrimSpace(address); address == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, usagef("--servers %q: give host:port: %w", address, err)
		}
		servers = append(servers, address)
	}
	if len(servers) == 0 {
		return nil, usagef("--servers is empty: give at least one host:port")
	}
	return servers, nil
}

// cluster calls do with the cluster that the flags name and a context that ends with --timeout.
func (c *cli) cluster(cmd *cobra.Command, do func(context.Context, *client.Cluster) error) error {
	return c.connect(func(cluster *client.Cluster) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
		defer cancel()
		return do(ctx, cluster)
	})
}

// patiently is cluster for verbs that wait for something: ctx ends with --timeout only where the user gave one. soon ends with it
// in any case, for what should be answered at once: so that nobody waits for ever for a cluster that is not there.
func (c *cli) patiently(cmd *cobra.Command, do func(ctx, soon context.Context, cluster *client.Cluster) error) error {
	return c.connect(func(cluster *client.Cluster) error {
		soon, cancel := context.WithTimeout(cmd.Context(), c.timeout)
		defer cancel()
		if cmd.Flags().Changed("timeout") {
			return do(soon, soon, cluster)
		}
		return do(cmd.Context(), soon, cluster)
	})
}

// connect calls do with the cluster that the flags name.
func (c *cli) connect(do func(*client.Cluster) error) error {
	servers, err := c.serverList()
	if err != nil {
		return err
	}
	muster, err := client.New(client.Config{Servers: servers})
	if err != nil {
		return err
	}
	defer muster.Close()
	return do(muster.Cluster())
}

// printer prints where cmd prints, in the form that --output asks for.
func (c *cli) printer(cmd *cobra.Command) printer {
	return printer{out: cmd.OutOrStdout(), json: c.output == "json"}
}
