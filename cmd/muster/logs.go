package main

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"muster/cmd/muster/hostagent"
)

func newLogs(*cli) *cobra.Command {
	var stateDir, logDir string
	var follow bool
	var last int
	var generation uint64
	cmd := &cobra.Command{
		Use:   "logs W[/RANK]",
		Short: "Show what ranks that ran on this machine have written",
		Long: `Show the output of a rank, or of all ranks of a world, that ran on this machine. Logs stay on the machine that ran the rank; 'muster ps'
says which that is.`,
		Example: `  muster logs train/1 --state-dir /var/lib/muster/a
  muster logs train/3 -f
  muster logs train -n 5`,
		Args: exactly("a world or WORLD/RANK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if logDir == "" {
				logDir = filepath.Join(stateDir, "logs")
			}
			l := hostagent.Logs{Dir: logDir}
			world, rank, err := worldOrProc(args[0])
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("generation") {
				if generation, err = l.Generation(world); err != nil {
					return err
				}
			}
			if rank != nil {
				if err := hostagent.Copy(cmd.Context(), cmd.OutOrStdout(), l.Path(world, generation, *rank), last, "", follow); err != nil {
					return fmt.Errorf("%w: logs are on the machine that ran the rank", err)
				}
				return nil
			}
			ranks, err := l.Ranks(world, generation)
			if err != nil {
				return err
			}
			return copyAll(cmd, l, world, generation, ranks, last, follow)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, "go on with what is written from now on, until Ctrl-C")
	flags.IntVarP(&last, "lines", "n", -1, "only the last lines; -1 = all")
	flags.Uint64Var(&generation, "generation", 0, "of this generation of the world (default: the newest with logs here)")
	flags.StringVar(&stateDir, "state-dir", hostagent.DefaultStateDir(), "the agent's")
	flags.StringVar(&logDir, "log-dir", "", "the agent's (default: STATE-DIR/logs)")
	return cmd
}

// copyAll shows several logs: one after the other, or all at once when they are followed.
func copyAll(cmd *cobra.Command, l hostagent.Logs, world string, generation uint64, ranks []uint32, last int, follow bool) error {
	out := &lockedWriter{out: cmd.OutOrStdout()}
	show := func(rank uint32) error {
		return hostagent.Copy(cmd.Context(), out, l.Path(world, generation, rank), last, fmt.Sprintf("[%d] ", rank), follow)
	}
	if !follow {
		for _, rank := range ranks {
			if err := show(rank); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make(chan error, len(ranks))
	for _, rank := range ranks {
		go func() { errs <- show(rank) }()
	}
	var first error
	for range ranks {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

// lockedWriter lets several write whole lines.
type lockedWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(b)
}
