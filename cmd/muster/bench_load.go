package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"muster/cmd/muster/bench"
)

// loadFlags are those of every measurement that loads a cluster which runs already.
type loadFlags struct {
	connections int
	duration    time.Duration
}

func (f *loadFlags) register(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.connections, "connections", 8, "connections to the leader")
	f.duration = 10 * time.Second
}

// lasting is register for what ends by the clock.
func (f *loadFlags) lasting(cmd *cobra.Command, duration time.Duration, usage string) {
	f.register(cmd)
	cmd.Flags().DurationVar(&f.duration, "duration", duration, usage)
}

// keeping registers the flag that leaves in the cluster what was measured.
func keeping(cmd *cobra.Command, keep *bool) {
	cmd.Flags().BoolVar(keep, "keep", false, "leave the members and their world in the cluster")
}

func (f *loadFlags) target(c *cli, cmd *cobra.Command) (bench.Target, error) {
	if f.connections < 1 {
		return bench.Target{}, usagef("--connections %d: give 1 or more", f.connections)
	}
	if f.duration <= 0 {
		return bench.Target{}, usagef("--duration %v: give a duration above 0, such as 10s", f.duration)
	}
	servers, err := c.serverList()
	return bench.Target{Servers: servers, Connections: f.connections, Progress: cmd.ErrOrStderr()}, err
}

func newBenchJoins(c *cli) *cobra.Command {
	var f loadFlags
	cfg := bench.JoinsConfig{}
	cmd := &cobra.Command{
		Use:   "joins",
		Short: "Measure how many members a cluster lets join",
		Long: `Measure how many members a cluster lets join: as many callers as asked for wait for an answer at once, each join is a request of its own,
and a majority of the nodes has it on its disk when it is answered. The members are of a world of their own, which is removed afterwards
without --keep. The last line is JSON.`,
		Example: `  muster bench joins --callers 256 --duration 10s
  muster bench joins --count 100`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Callers < 1 || cfg.Count < 1 {
				return usagef("--callers %d, --count %d: give 1 or more", cfg.Callers, cfg.Count)
			}
			if cfg.Target, err = f.target(c, cmd); err != nil {
				return err
			}
			cfg.Duration = f.duration
			r, err := bench.MeasureJoins(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			p := c.printer(cmd)
			if err := tellSpread(p, spreadOf{"join", r.Spread, r.Histogram}); err != nil {
				return err
			}
			return tellLoad(p, r, "%d joins in %.1f s, %.0f a second", r.Joins, r.Seconds, r.PerSecond)
		},
	}
	f.lasting(cmd, 10*time.Second, "how long")
	cmd.Flags().IntVar(&cfg.Callers, "callers", 256, "who wait for an answer at once")
	cmd.Flags().IntVar(&cfg.Count, "count", 1_000_000, "how many join at most")
	keeping(cmd, &cfg.Keep)
	return cmd
}

func newBenchReports(c *cli) *cobra.Command {
	var f loadFlags
	cfg := bench.ReportsConfig{}
	cmd := &cobra.Command{
		Use:   "reports",
		Short: "Measure how many supervision reports a cluster takes",
		Long: `Measure how many supervision reports a cluster takes: each session says that its procs are alive, waits until a majority of the nodes has
that in its log, and says it again. With --per-message it says so of few at once, one message behind the other, until it has named all, and
waits then; each message is of a world of its own, since of one world a session has the log note what it said last. The worlds are
removed afterwards without --keep. The last line is JSON.`,
		Example: `  muster bench reports --sessions 256 --procs 64 --duration 10s
  muster bench reports --sessions 256 --procs 16 --per-message 1
  muster bench reports --sessions 10 --procs 1 --duration 1s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Sessions < 1 || cfg.Procs < 1 || cfg.PerMessage < 0 {
				return usagef("--sessions %d, --procs %d, --per-message %d: give 1 or more (--per-message 0 = all)", cfg.Sessions, cfg.Procs, cfg.PerMessage)
			}
			if err := cfg.Check(); err != nil {
				return usagef("--procs, --per-message: %v", err)
			}
			if cfg.Target, err = f.target(c, cmd); err != nil {
				return err
			}
			cfg.Duration = f.duration
			r, err := bench.MeasureReports(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			p := c.printer(cmd)
			if err := tellSpread(p, spreadOf{"report until acknowledged", r.Spread, r.Histogram}); err != nil {
				return err
			}
			return tellLoad(p, r, "%d reports of a proc in %.1f s, %.0f a second", r.Reports, r.Seconds, r.PerSecond)
		},
	}
	f.lasting(cmd, 10*time.Second, "how long")
	cmd.Flags().IntVar(&cfg.Sessions, "sessions", 256, "that are open at once")
	cmd.Flags().IntVar(&cfg.Procs, "procs", 64, "of each session")
	cmd.Flags().IntVar(&cfg.PerMessage, "per-message", 0, "how many of those a message names; 0 = all")
	keeping(cmd, &cfg.Keep)
	return cmd
}

// tellLoad prints a sentence for people, and what was measured as JSON.
func tellLoad(p printer, measured any, sentence string, values ...any) error {
	if err := p.line(sentence, values...); err != nil {
		return err
	}
	line, err := json.Marshal(measured)
	if err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	return p.line("%s", line)
}

// tellSpread prints how long things took, kind by kind: a row each, and the histogram of each below.
func tellSpread(p printer, kinds ...spreadOf) error {
	var rows [][]string
	for _, k := range kinds {
		cells := []string{k.what}
		for _, v := range []float64{k.spread.Min, k.spread.P50, k.spread.P99, k.spread.Max} {
			cells = append(cells, strconv.FormatFloat(v, 'f', 1, 64))
		}
		rows = append(rows, cells)
	}
	if err := p.table("MILLISECONDS MIN P50 P99 MAX", rows); err != nil {
		return err
	}
	for _, k := range kinds {
		if err := p.line("%s:", k.what); err != nil {
			return err
		}
		for _, line := range k.histogram.Lines() {
			if err := p.line("%s", line); err != nil {
				return err
			}
		}
	}
	return nil
}

// spreadOf is how long one kind of thing took.
type spreadOf struct {
	what      string
	spread    bench.Spread
	histogram bench.Histogram
}
