package main

import (
	"time"

	"github.com/spf13/cobra"

	"muster/cmd/muster/bench"
)

func newBenchFleet(c *cli) *cobra.Command {
	var f loadFlags
	cfg := bench.FleetConfig{}
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Measure how a cluster bears a large fleet",
		Long: `Measure how a cluster bears a large fleet: very many procs join and report, each session for all of its own at once, once per interval, and
the sessions in turns. Each session has a world of its own, which is removed afterwards without --keep. Told is how long joining took, how
many reports of a proc came a second, how long a message took until a majority of the nodes had it in its log, and what must be 0: procs that
are not alive at the end, and expiries that the mass-expiry brake held back; the exit code is 1 where it is not. The last line is JSON.

With --die a share of the procs, drawn at random, is not reported any more from the middle of the time on, while their sessions go on for the
others. Told is how much longer than the lease it took from the last report of each until one who watches the cluster heard that it had
expired; it is waited a lease and 15 s for the last. One that has not expired by then counts as what must be 0. The share must not be above
what the brake believes, which is 0.5 by default: before everybody dies, say "muster cluster set brake-percent=100".

A million procs join in a minute or two. Ctrl-C ends it at any time, and the worlds are removed then in any case.`,
		Example: `  muster bench fleet --procs 1000000 --sessions 100 --interval 10s --lease 30s --duration 5m
  muster bench fleet --procs 100000 --die 0.01
  muster bench fleet --procs 100000 --sessions 2 --interval 200ms --die 1
  muster bench fleet --procs 200 --sessions 4 --interval 2s --duration 3s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			most := (cfg.Procs + max(cfg.Sessions, 1) - 1) / max(cfg.Sessions, 1)
			switch {
			case cfg.Sessions < 1 || cfg.Procs < cfg.Sessions:
				return usagef("--procs %d, --sessions %d: give 1 session or more, and each a proc or more", cfg.Procs, cfg.Sessions)
			case most > bench.MaxSessionProcs:
				return usagef("--procs %d, --sessions %d: a session may speak for %d procs at most; give %d sessions or more",
					cfg.Procs, cfg.Sessions, bench.MaxSessionProcs, (cfg.Procs+bench.MaxSessionProcs-1)/bench.MaxSessionProcs)
			case cfg.Interval <= 0 || cfg.Lease < 2*cfg.Interval:
				return usagef("--interval %v, --lease %v: give an interval above 0, and a lease of twice that or more, with room for the cluster's grace",
					cfg.Interval, cfg.Lease)
			case !(cfg.Die >= 0 && cfg.Die <= 1): // so that NaN is none either
				return usagef("--die %g: give a share from 0 to 1", cfg.Die)
			}
			if cfg.Target, err = f.target(c, cmd); err != nil {
				return err
			}
			cfg.Duration = f.duration
			r, err := bench.MeasureFleet(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			p := c.printer(cmd)
			kinds := []spreadOf{{"report until acknowledged", r.Spread, r.Histogram}}
			if r.Detection != nil {
				kinds = append(kinds, spreadOf{"end of the lease until expiry", *r.Detection, r.Detections})
			}
			if err := tellSpread(p, kinds...); err != nil {
				return err
			}
			if r.Detection != nil {
				if err := p.line("%d procs died, %d of them did not expire; the others did %.1f ms (p50) to %.1f ms (p99) after their lease.",
					r.Died, r.Undetected, r.Detection.P50, r.Detection.P99); err != nil {
					return err
				}
			}
			err = tellLoad(p, r, "%d procs of %d sessions joined in %.1f s, %.0f a second; %d reports of a proc in %.1f s, %.0f a second.\n"+
				"%d sessions were lost and opened again, %d procs expired falsely, the brake held or let go %d times.",
				r.Procs, r.Sessions, r.JoinSeconds, r.JoinsPerSecond, r.Reports, r.Seconds, r.PerSecond, r.Returns, r.FalseExpiries, r.Brakes)
			if err != nil {
				return err
			}
			return r.Broken()
		},
	}
	f.lasting(cmd, time.Minute, "how long they report once all have joined")
	flags := cmd.Flags()
	flags.IntVar(&cfg.Procs, "procs", 100_000, "how many there are")
	flags.IntVar(&cfg.Sessions, "sessions", 100, "that speak for them, with a world each")
	flags.DurationVar(&cfg.Interval, "interval", 10*time.Second, "how often each reports")
	flags.DurationVar(&cfg.Lease, "lease", 30*time.Second, "how long a silence is forgiven; twice the interval and the cluster's grace must fit in it")
	flags.Float64Var(&cfg.Die, "die", 0, "share of the procs that die half way, 0 to 1")
	flags.BoolVar(&cfg.Keep, "keep", false, "leave the procs and their worlds in the cluster")
	return cmd
}
