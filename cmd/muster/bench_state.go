package main

import (
	"github.com/spf13/cobra"

	"muster/cmd/muster/bench"
)

func newBenchState(c *cli) *cobra.Command {
	var f loadFlags
	cfg := bench.StateConfig{}
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Measure what it costs to save a state, and to restore it",
		Long: `Measure what it costs to save a state, and to restore it: so many procs join, and the state is saved to a temporary file while somebody
writes all the time, who tells the longest pause between two of his writes. With --restore it is then restored into the same cluster: that
replaces the whole state by what was saved a moment before, everybody's, and every session of the cluster is told to join again. While a
restore is under way writes are refused. The file and, without --keep, the worlds are removed afterwards. The last line is JSON.`,
		Example: `  muster bench state --procs 100000
  muster bench state --procs 500 --restore`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Procs < 1 {
				return usagef("--procs %d: give 1 or more", cfg.Procs)
			}
			if cfg.Target, err = f.target(c, cmd); err != nil {
				return err
			}
			r, err := bench.MeasureState(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			p := c.printer(cmd)
			if err := tellSpread(p, spreadOf{"write meanwhile", r.Spread, r.Histogram}); err != nil {
				return err
			}
			sentence, values := "%d bytes of %d procs and what else there is were saved in %.3f s, in which no pause between %d writes was above %.1f ms",
				[]any{r.Bytes, r.Procs, r.Save, r.Writes, r.SavePause}
			if cfg.Restore {
				sentence, values = sentence+",\nand restored in %.3f s, with a pause of %.1f ms", append(values, r.Restore, r.RestorePause)
			}
			return tellLoad(p, r, sentence, values...)
		},
	}
	f.register(cmd)
	cmd.Flags().IntVar(&cfg.Procs, "procs", 100_000, "that are added to what the cluster has")
	cmd.Flags().BoolVar(&cfg.Restore, "restore", false, "restore the file, too: this replaces the state of the cluster")
	cmd.Flags().BoolVar(&cfg.Keep, "keep", false, "leave the procs and their worlds in the cluster")
	cmd.Flags().StringVar(&cfg.Dir, "dir", "", "where the file is written; empty = the directory for temporary files")
	return cmd
}
