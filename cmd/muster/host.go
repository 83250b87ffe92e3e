package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"muster/cmd/muster/hostagent"
	"muster/transport/client"
)

// hostFlags is what `muster host` is told.
type hostFlags struct {
	worlds        []string
	rank          int
	advertise     string
	stay          bool
	portRange     string
	stateDir      string
	logDir        string
	machine       string
	labels        []string
	takeOver      bool
	orphan        string
	orphanTimeout time.Duration
	logLevel      string
}

func newHost(c *cli) *cobra.Command {
	f := &hostFlags{}
	cmd := &cobra.Command{
		Use:   "host --world W",
		Short: "Run the agent of this machine, which starts and ends its ranks",
		Long: `Run the agent of this machine: it joins worlds as a host, is given ranks, runs them as processes, and says what became of them.

A rank's program gets the agent's environment, the world's variables, and MUSTER_WORLD, MUSTER_GENERATION, MUSTER_PROC_ID,
MUSTER_INCARNATION, MUSTER_RUN, MUSTER_SERVERS, RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, NODE_RANK, GROUP_RANK, MASTER_ADDR and
MASTER_PORT. Its output goes to LOG-DIR/world/generation/rank.log ('muster logs' shows it). When the agent dies, its programs
are ended with it, whatever they have forked.

The agent ends when its worlds have: with exit code 0 if they completed or were stopped, 1 if one failed or was evicted. Ctrl-C
or SIGTERM has it end its programs and leave; a second one, at once.

Agents that share a machine need a --state-dir each.`,
		Example: `  muster host --world train --machine node-a --state-dir /var/lib/muster/a
  muster host --world train --world eval --stay --advertise 10.0.0.7`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var rank *uint32
			if cmd.Flags().Changed("rank") {
				if f.rank < 0 || f.rank >= 1<<24 {
					return usagef("--rank %d: give a host rank from 0 on", f.rank)
				}
				r := uint32(f.rank)
				rank = &r
			}
			return f.run(cmd.Context(), c, rank, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.worlds, "world", nil, "world to serve; may be given more than once")
	flags.IntVar(&f.rank, "rank", 0, "host rank to take (default: one is given, the old one to an agent that comes back)")
	flags.StringVar(&f.advertise, "advertise", "", "name or IP address of this machine for programs on others, without a port (default: the one that the servers are reached from)")
	flags.BoolVar(&f.stay, "stay", false, "wait for a world's next creation when it has ended")
	flags.StringVar(&f.portRange, "port-range", "29500-29999", "ports that rank 0 may be given to meet the others at")
	flags.StringVar(&f.stateDir, "state-dir", hostagent.DefaultStateDir(), "where the agent keeps its key and what it runs")
	flags.StringVar(&f.logDir, "log-dir", "", "where programs' output goes (default: STATE-DIR/logs)")
	flags.StringVar(&f.machine, "machine", "", "name of this machine, for people (default: its host name)")
	flags.StringArrayVar(&f.labels, "label", nil, "label key=value of this host; may be given more than once")
	flags.BoolVar(&f.takeOver, "take-over", false, "take --rank although another agent's lease for it still runs")
	flags.StringVar(&f.orphan, "orphan", "cluster", "what programs do when no leader can be reached: what the cluster's settings say, continue, or stop after --orphan-timeout")
	flags.DurationVar(&f.orphanTimeout, "orphan-timeout", 2*time.Minute, "with --orphan stop: how long after the lease has ended")
	flags.StringVar(&f.logLevel, "log-level", "info", "trace, debug, info, warn or error")
	return cmd
}

func (f *hostFlags) run(ctx context.Context, c *cli, rank *uint32, log io.Writer) error {
	cfg, err := f.config(c, log)
	if err != nil {
		return err
	}
	cfg.Rank = rank
	if rank != nil && len(cfg.Worlds) > 1 {
		return usagef("--rank is for one world: with several, ranks are given")
	}
	if cfg.State, err = hostagent.OpenStateDir(f.stateDir); err != nil {
		return err
	}
	defer cfg.State.Close()
	if cfg.Client, err = client.New(client.Config{Servers: cfg.Servers}); err != nil {
		return err
	}
	defer cfg.Client.Close()
	agent, err := hostagent.New(cfg)
	if err != nil {
		return err
	}
	return agent.Run(ctx, secondSignal(ctx))
}

// secondSignal is closed when the user insists: by a signal behind the one that ended ctx.
func secondSignal(ctx context.Context) <-chan struct{} {
	insisted := make(chan struct{})
	context.AfterFunc(ctx, func() {
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		<-again
		close(insisted)
	})
	return insisted
}

func (f *hostFlags) config(c *cli, log io.Writer) (hostagent.Config, error) {
	var none hostagent.Config
	if len(f.worlds) == 0 {
		return none, usagef("--world is missing: say which world this machine serves")
	}
	if err := worlds(f.worlds); err != nil {
		return none, err
	}
	for i, w := range f.worlds {
		if slices.Contains(f.worlds[:i], w) {
			return none, usagef("--world %s is given twice", w)
		}
	}
	servers, err := c.serverList()
	if err != nil {
		return none, err
	}
	ports, err := hostagent.ParsePorts(f.portRange)
	if err != nil {
		return none, usagef("--port-range: %w", err)
	}
	labels, err := parseLabels("--label", f.labels)
	if err != nil {
		return none, err
	}
	var orphan time.Duration
	switch {
	case f.orphan == "stop" && f.orphanTimeout > 0:
		orphan = f.orphanTimeout
	case f.orphan == "stop":
		return none, usagef("--orphan-timeout %v: give a duration above 0", f.orphanTimeout)
	case f.orphan == "continue":
		orphan = -1
	case f.orphan != "cluster":
		return none, usagef("--orphan %q: give cluster, continue or stop", f.orphan)
	}
	logger, err := newLogger("host", f.logLevel, log)
	if err != nil {
		return none, err
	}
	if f.machine == "" {
		if f.machine, err = os.Hostname(); err != nil {
			return none, fmt.Errorf("this machine has no name, give one with --machine: %w", err)
		}
	}
	if f.advertise, err = advertised(f.advertise, servers); err != nil {
		return none, err
	}
	if f.stateDir, err = filepath.Abs(f.stateDir); err != nil {
		return none, fmt.Errorf("--state-dir: %w", err)
	}
	if f.logDir == "" {
		f.logDir = filepath.Join(f.stateDir, "logs")
	}
	if f.logDir, err = filepath.Abs(f.logDir); err != nil {
		return none, fmt.Errorf("--log-dir: %w", err)
	}
	asked := make(map[string]string, len(labels))
	for _, l := range labels {
		asked[l.Key] = l.Value
	}
	return hostagent.Config{
		Servers: servers, Worlds: f.worlds, Advertise: f.advertise, Machine: f.machine, Labels: asked, TakeOver: f.takeOver,
		Stay: f.stay, LogDir: f.logDir, Ports: ports, OrphanTimeout: orphan, Logger: logger,
	}, nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9.])?$`)

// advertised is what programs on other machines are told as MASTER_ADDR: what --advertise says, else how the servers are reached. The port
// beside it is chosen for each world.
func advertised(given string, servers []string) (string, error) {
	if given == "" {
		return ownAddress(servers), nil
	}
	if _, err := netip.ParseAddr(given); err == nil || hostName.MatchString(given) {
		return given, nil
	}
	return "", usagef("--advertise %q: give this machine's name or IP address alone, such as 10.0.0.7, without a port or brackets: "+
		"each world's port is taken from --port-range", given)
}

// ownAddress is the address that this machine reaches the servers from. Nothing is sent.
func ownAddress(servers []string) string {
	for _, server := range servers {
		conn, err := net.DialTimeout("udp", server, time.Second)
		if err != nil {
			continue
		}
		host, _, err := net.SplitHostPort(conn.LocalAddr().String())
		_ = conn.Close()
		if err == nil {
			return strings.TrimSuffix(host, "%lo")
		}
	}
	return "127.0.0.1"
}
