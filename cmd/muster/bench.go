package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"muster/cmd/muster/bench"
)

func newBench(c *cli) *cobra.Command {
	return group("bench", "Measure a cluster, or, with servers that it starts itself, a change of the leader", newBenchFailover(c), newBenchSoak(c),
		newBenchJoins(c), newBenchReports(c), newBenchFleet(c), newBenchReads(c), newBenchWatch(c), newBenchState(c))
}

var benchModes = []string{bench.Kill, bench.Pause, bench.Partition, bench.Transfer, bench.Rolling}

func newBenchFailover(c *cli) *cobra.Command {
	cfg := bench.Config{}
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "Measure what a change of the leader costs",
		Long: `Measure what a change of the leader costs: three servers run on this machine with data in a temporary directory, a client writes all
the time, hosts and members are there, and trial after trial the leader is killed, paused for two seconds, cut off for two seconds, asked
to hand over, or all nodes are restarted in turn. Told are the client's pause from the last acknowledged write before to the first after,
and what must be 0: members that expired falsely, requests and orders that were lost or done twice; the exit code is 1 where it is not. The
last line is JSON.

With --sessions so many members more are there, eight to a connection, which report every 2 s and have a lease of 10 s. Told is how long
after the first acknowledged write each had its session again, and how many terms began: more than one a kill, and Raft was starved.

Mode partition needs the rights to make network namespaces.`,
		Example: `  muster bench failover --mode kill --trials 20
  muster bench failover --mode kill --trials 3 --sessions 10000
  muster bench failover --mode transfer --trials 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if !slices.Contains(benchModes, cfg.Mode) {
				return usagef("--mode %q: give kill, pause, partition, transfer or rolling", cfg.Mode)
			}
			if cfg.Trials < 1 {
				return usagef("--trials %d: give 1 or more", cfg.Trials)
			}
			if cfg.Sessions < 0 || cfg.Sessions > 0 && cfg.Mode != bench.Kill {
				return usagef("--sessions %d: give 0 or more, with --mode kill", cfg.Sessions)
			}
			if cfg.Muster, err = os.Executable(); err != nil {
				return fmt.Errorf("the own binary: %w", err)
			}
			if cfg.Mode == bench.Partition && !bench.Inside() {
				return benchInNetwork(cmd, cfg)
			}
			cfg.Progress = cmd.ErrOrStderr()
			result, err := bench.Failover(cfg)
			if err != nil {
				return err
			}
			if err := tellFailover(c.printer(cmd), result); err != nil {
				return err
			}
			return result.Broken()
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.Mode, "mode", bench.Kill, "kill, pause, partition, transfer or rolling")
	flags.IntVar(&cfg.Trials, "trials", 10, "how often")
	flags.IntVar(&cfg.Sessions, "sessions", 0, "how many members there are besides, whose return to the next leader is measured; mode kill")
	flags.BoolVar(&cfg.Keep, "keep", false, "keep the directory with logs and data")
	return cmd
}

// benchInNetwork runs the same command in a network that can be cut.
func benchInNetwork(cmd *cobra.Command, cfg bench.Config) error {
	again := exec.Command(cfg.Muster, "bench", "failover", "--mode", cfg.Mode, "--trials", strconv.Itoa(cfg.Trials), "--keep="+strconv.FormatBool(cfg.Keep))
	again.Stdout, again.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	err := bench.Enter(again)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return fmt.Errorf("in its network: %w", err)
	}
	return err
}

func tellFailover(p printer, r bench.Result) error {
	row := func(name string, s bench.Spread) []string {
		cells := []string{name}
		for _, v := range []float64{s.Min, s.P50, s.P99, s.Max} {
			cells = append(cells, strconv.FormatFloat(v, 'f', 1, 64))
		}
		return cells
	}
	rows := [][]string{row(fmt.Sprintf("%s, %d changes", r.Mode, r.Trials), r.Spread)}
	if r.SlowDisk > 0 {
		rows = append(rows, row(fmt.Sprintf("without %d that had an fsync above 50 ms", r.SlowDisk), r.WithoutThem))
	}
	if err := p.table("PAUSE MIN P50 P99 MAX", rows); err != nil {
		return err
	}
	if s := r.SessionsReattach; s != nil {
		err := p.line("%d sessions were back after the first of these writes: p50 %.1f ms, p99 %.1f ms, max %.1f ms; %d terms began.", r.Sessions, s.P50, s.P99, s.Max, r.Terms)
		if err != nil {
			return err
		}
	}
	for _, e := range r.Errors {
		if err := p.line("error: %s", e); err != nil {
			return err
		}
	}
	err := p.line("Of %d writes and the orders meanwhile %d failed, %d were lost, %d done twice; %d members expired falsely, %d could not be told.\n"+
		"A dead member expired at most %.1f ms later than its lease and the change; %.1f ms of it were not charged. fsync p99: %.1f ms.",
		r.Writes, r.Failed, r.Lost, r.Doubled, r.FalseExpiries, r.ConnectionFailures, r.DeadDetectionExcess, r.Uncharged, r.FsyncP99)
	if err != nil {
		return err
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	return p.line("%s", line)
}
