package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"muster/cmd/muster/hostagent"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// runFlags is what `muster run` is told.
type runFlags struct {
	perNode   uint32
	nodes     uint32
	world     string
	replace   bool
	onFailure string
	logDir    string
	advertise string
	portRange string
	logLevel  string
	start     timeout
	eviction  timeout
	program   programFlags
}

func newRun(c *cli) *cobra.Command {
	f := &runFlags{eviction: timeout{never: true}}
	cmd := &cobra.Command{
		Use:   "run [-n N] [--nnodes M --world W] -- PROGRAM ARGS…",
		Short: "Run a program as N ranks, here or on each node of an allocation, and wait for it",
		Long: `Run a program as ranks 0 to N-1 and wait for it. Each line of its output is shown behind the rank that wrote it.

Without --servers (or MUSTER_SERVERS) it has a cluster of its own in this process, which ends with it. On each node of an allocation give
the same --servers, --nnodes and --world: each runs N ranks, and nothing is started before all nodes are there.

A name that was used before is refused, as a node that comes too late would else begin the job anew, alone. A job that shall run again
under its name, as one that was requeued, says --replace on all nodes: the first of them replaces the world that has ended, or is about
to, and the others take part. What is known of the earlier one stays ('muster world history').

It exits with 0 when every rank has; else with the code of the first rank that failed (128 and the signal for one that was ended by
a signal), after the others were stopped, or with --on-failure keep have ended. Ctrl-C stops all ranks, on all nodes; a second one ends
those of this node at once.`,
		Example: `  muster run -n 8 -- ./train.sh
  muster run --nnodes 4 -n 8 --world "job-$SLURM_JOB_ID" -- python3 train.py`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 0 {
				return usagef("give the program behind --, such as: muster run -n 2 -- ./train.sh")
			}
			own := !cmd.Flags().Changed("servers") && os.Getenv("MUSTER_SERVERS") == ""
			spec, err := f.spec(cmd, args, own)
			if err != nil {
				return err
			}
			return f.run(cmd.Context(), c, own, spec, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.Uint32VarP(&f.perNode, "procs", "n", 1, "ranks on this node, and on each other")
	flags.Uint32Var(&f.nodes, "nnodes", 1, "nodes that run this command")
	flags.StringVar(&f.world, "world", "", "name of the world, the same on all nodes and new for each job, or see --replace (default: drawn)")
	flags.BoolVar(&f.replace, "replace", false, "replace an ended world of that name; to be given on all nodes")
	flags.StringVar(&f.onFailure, "on-failure", "stop", "what a failed rank does to the others: stop or keep")
	flags.Var(&f.start, "start-timeout", "how long the other nodes are waited for (default: the cluster's setting, as below)")
	flags.Var(&f.eviction, "eviction", "how long a node may be silent beyond its lease before the rest is stopped; or never")
	flags.StringVar(&f.logDir, "log-dir", "", "keep the ranks' output there, too (default: it goes when the command ends)")
	flags.StringVar(&f.advertise, "advertise", "", "name or IP address of this machine for programs on others, without a port (default: the one that the servers are reached from)")
	flags.StringVar(&f.portRange, "port-range", "29500-29999", "ports that rank 0 may be given to meet the others at")
	flags.StringVar(&f.logLevel, "log-level", "error", "trace, debug, info, warn or error")
	f.program.define(flags)
	return cmd
}

// spec is the world that is to be run.
func (f *runFlags) spec(cmd *cobra.Command, args []string, own bool) (*musterv1.WorldSpec, error) {
	switch {
	case f.perNode == 0 || f.nodes == 0:
		return nil, usagef("-n and --nnodes must be at least 1")
	case uint64(f.perNode)*uint64(f.nodes) > 1<<24:
		return nil, usagef("-n %d on %d nodes: at most %d ranks", f.perNode, f.nodes, 1<<24)
	case f.nodes > 1 && f.world == "":
		return nil, usagef("--nnodes %d needs --world: the same name on all nodes, such as \"job-$SLURM_JOB_ID\"", f.nodes)
	case f.nodes > 1 && own:
		return nil, usagef("--nnodes %d needs --servers or MUSTER_SERVERS: a cluster that all nodes can reach", f.nodes)
	}
	if f.world == "" {
		drawn := make([]byte, 4)
		_, _ = rand.Read(drawn) // never fails
		f.world = "run-" + hex.EncodeToString(drawn)
	}
	if err := worlds([]string{f.world}); err != nil {
		return nil, err
	}
	spec := &musterv1.WorldSpec{World: f.world, Shape: &musterv1.Shape{Dims: []uint32{f.perNode * f.nodes}}, ProcsPerHost: f.perNode}
	if f.start.ns != 0 || f.eviction.ns != 0 {
		spec.Timeouts = &musterv1.Timeouts{StartNs: f.start.ns, EvictionNs: f.eviction.ns}
	}
	var err error
	if spec.OnFailure, err = parseOnFailure(f.onFailure); err != nil {
		return nil, err
	}
	spec.Exec, err = f.program.exec(cmd, args)
	return spec, err
}

func (f *runFlags) run(ctx context.Context, c *cli, own bool, spec *musterv1.WorldSpec, out, log io.Writer) error {
	scratch, err := os.MkdirTemp("", "muster-run-")
	if err != nil {
		return fmt.Errorf("temporary directory: %w", err)
	}
	defer os.RemoveAll(scratch)
	servers, err := c.serverList()
	if err != nil {
		return err
	}
	if own {
		local, err := startLocal(1, 0, filepath.Join(scratch, "cluster"), nil, f.logLevel, log)
		if err != nil {
			return err
		}
		defer local.close()
		servers = local.addresses
	}
	cfg, err := f.agent(servers, scratch, log)
	if err != nil {
		return err
	}
	defer cfg.State.Close()
	if cfg.Client, err = client.New(client.Config{Servers: servers}); err != nil {
		return err
	}
	defer cfg.Client.Close()
	j := &job{
		cluster: cfg.Client.Cluster(), spec: spec, replace: f.replace, alone: f.nodes == 1, patience: c.timeout,
		out: &lockedWriter{out: out}, log: log, logs: hostagent.Logs{Dir: cfg.LogDir},
	}
	return j.run(ctx, cfg)
}

// agent is the configuration of this node's agent.
func (f *runFlags) agent(servers []string, scratch string, log io.Writer) (hostagent.Config, error) {
	ports, err := hostagent.ParsePorts(f.portRange)
	if err != nil {
		return hostagent.Config{}, usagef("--port-range: %w", err)
	}
	logger, err := newLogger("run", f.logLevel, log)
	if err != nil {
		return hostagent.Config{}, err
	}
	machine, err := os.Hostname()
	if err != nil {
		return hostagent.Config{}, fmt.Errorf("this machine has no name: %w", err)
	}
	cfg := hostagent.Config{
		Servers: servers, Worlds: []string{f.world}, Machine: machine, LogDir: f.logDir, Ports: ports, Logger: logger,
	}
	if cfg.Advertise, err = advertised(f.advertise, servers); err != nil {
		return cfg, err
	}
	if cfg.LogDir == "" {
		cfg.LogDir = filepath.Join(scratch, "logs")
	}
	if cfg.LogDir, err = filepath.Abs(cfg.LogDir); err != nil {
		return hostagent.Config{}, fmt.Errorf("--log-dir: %w", err)
	}
	cfg.State, err = hostagent.OpenStateDir(filepath.Join(scratch, "agent"))
	return cfg, err
}
