package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"muster/cmd/muster/bench"
)

func newBenchSoak(c *cli) *cobra.Command {
	cfg := bench.SoakConfig{}
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "See whether the leader stays under full load",
		Long: `See whether the leader stays under full load: three servers run on this machine, as many clients write as it bears, hosts and members
are there, and two processes do nothing but compute. The last line tells how many elections there were; any is a failure.`,
		Example: `  muster bench soak --duration 10m
  muster bench soak --duration 2s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Duration <= 0 {
				return usagef("--duration %v: give a duration above 0, such as 10m", cfg.Duration)
			}
			if cfg.Muster, err = os.Executable(); err != nil {
				return fmt.Errorf("the own binary: %w", err)
			}
			cfg.Progress = cmd.ErrOrStderr()
			s, err := bench.Soak(cfg)
			if err != nil {
				return err
			}
			for _, e := range s.Errors {
				if err := c.printer(cmd).line("error: %s", e); err != nil {
					return err
				}
			}
			err = c.printer(cmd).line("%d writes were acknowledged and %d failed, %d members expired falsely; fsync p99: %.1f ms\nelections: %d",
				s.Writes, s.Failed, s.FalseExpiries, s.FsyncP99, s.Elections)
			switch {
			case err != nil:
				return err
			case s.Elections > 0:
				return errors.New("the leader did not stay: the election timeout is too short for this machine")
			}
			return bench.Result{FalseExpiries: s.FalseExpiries, Failed: s.Failed}.Broken()
		},
	}
	cmd.Flags().DurationVar(&cfg.Duration, "duration", 10*time.Minute, "how long")
	return cmd
}
