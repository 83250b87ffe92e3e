package main

import (
	"time"

	"github.com/spf13/cobra"

	"muster/cmd/muster/bench"
)

func newBenchReads(c *cli) *cobra.Command {
	var f loadFlags
	cfg := bench.ReadsConfig{}
	cmd := &cobra.Command{
		Use:   "reads",
		Short: "Measure how many reads a cluster answers",
		Long: `Measure how many reads a cluster answers: as many callers as asked for wait for an answer at once, and read a world first without its procs,
then a page of them, both from the leader as of now, and then without its procs what followers have, which may be old. The world is removed
afterwards. The last line is JSON.`,
		Example: `  muster bench reads --callers 64 --duration 10s
  muster bench reads --callers 4 --procs 50 --duration 500ms`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Callers < 1 || cfg.Procs < 1 {
				return usagef("--callers %d, --procs %d: give 1 or more", cfg.Callers, cfg.Procs)
			}
			if cfg.Target, err = f.target(c, cmd); err != nil {
				return err
			}
			cfg.Duration = f.duration
			r, err := bench.MeasureReads(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			p := c.printer(cmd)
			err = tellSpread(p, spreadOf{"get", r.Get.Spread, r.Get.Histogram}, spreadOf{"page", r.Page.Spread, r.Page.Histogram},
				spreadOf{"stale", r.Stale.Spread, r.Stale.Histogram})
			if err != nil {
				return err
			}
			return tellLoad(p, r, "%.0f gets a second, %.0f pages a second of a world of %d procs, %.0f stale reads a second",
				r.Get.PerSecond, r.Page.PerSecond, r.Procs, r.Stale.PerSecond)
		},
	}
	f.lasting(cmd, 10*time.Second, "how long each of the three kinds")
	cmd.Flags().IntVar(&cfg.Callers, "callers", 64, "who wait for an answer at once")
	cmd.Flags().IntVar(&cfg.Procs, "procs", 1000, "of the world; a page has 1,000 at most")
	return cmd
}
