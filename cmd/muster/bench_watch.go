package main

import (
	"time"

	"github.com/spf13/cobra"

	"muster/cmd/muster/bench"
)

func newBenchWatch(c *cli) *cobra.Command {
	var f loadFlags
	cfg := bench.WatchConfig{}
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Measure how soon watchers are told",
		Long: `Measure how soon watchers are told: members join a world, so many a second, which watchers on all servers watch. Told is how many events
arrived a second, how long each took from asking for the join until it was there at a watcher, and what must be 0: events that did not come,
or came twice; the exit code is 1 where it is not. The world is removed afterwards without --keep. The last line is JSON.`,
		Example: `  muster bench watch --watchers 100 --duration 10s
  muster bench watch --watchers 5 --rate 50 --duration 1s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Watchers < 1 || cfg.Rate < 1 {
				return usagef("--watchers %d, --rate %d: give 1 or more", cfg.Watchers, cfg.Rate)
			}
			if cfg.Target, err = f.target(c, cmd); err != nil {
				return err
			}
			if n := float64(cfg.Rate) * f.duration.Seconds(); n < 1 || n > bench.MaxChanges {
				return usagef("--rate %d, --duration %v: give a rate and a duration that make 1 to %d events", cfg.Rate, f.duration, bench.MaxChanges)
			}
			cfg.Duration = f.duration
			r, err := bench.MeasureWatch(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			p := c.printer(cmd)
			if err := tellSpread(p, spreadOf{"join until told", r.Spread, r.Histogram}); err != nil {
				return err
			}
			for _, e := range r.Errors {
				if err := p.line("error: %s", e); err != nil {
					return err
				}
			}
			err = tellLoad(p, r, "%d events came to %d watchers in %.1f s, %.0f a second; %d were lost, %d came twice",
				r.Events, r.Watchers, r.Seconds, r.PerSecond, r.Lost, r.Doubled)
			if err != nil {
				return err
			}
			return r.Broken()
		},
	}
	f.lasting(cmd, 10*time.Second, "how long")
	cmd.Flags().IntVar(&cfg.Watchers, "watchers", 100, "on all servers")
	cmd.Flags().IntVar(&cfg.Rate, "rate", 100, "events that are made a second")
	keeping(cmd, &cfg.Keep)
	return cmd
}
