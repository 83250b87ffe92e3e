package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"muster/transport/client"
)

func newStateRestore(c *cli) *cobra.Command {
	adopt := false
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Replace the state by a saved one; - is standard input",
		Long: `Replace the state by a saved one; - is standard input.

Everything that the cluster knows now is replaced. Procs that are in the file and still run go on, as new incarnations where they have joined by
themselves. What runs and is not in the file is ended. What is in the file and does not run any more, for example since it or its agent was started
again, has ended.

It takes as long as it has to while the file is read on; --timeout bounds the whole where it is given.`,
		Example: "  muster state restore muster.state",
		Args:    exactly("one file, or -"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" {
				return c.restore(cmd, cmd.InOrStdin(), adopt)
			}
			file, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("restoring the state: %w", err)
			}
			defer file.Close()
			if err := c.restore(cmd, file, adopt); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&adopt, "adopt", false, "accept a file of another cluster, where this one has had worlds of its own")
	return cmd
}

func (c *cli) restore(cmd *cobra.Command, in io.Reader, adopt bool) error {
	return c.moving(cmd, func(ctx context.Context, moved func(), cluster *client.Cluster) error {
		answer, err := cluster.RestoreState(ctx, &movingReader{Reader: in, moved: moved}, adopt)
		if err != nil {
			return err
		}
		p := c.printer(cmd)
		return p.message(answer, func() error {
			return p.line("Restored %s with %s; the epoch is %d.", counted(answer.GetWorlds(), "world"), counted(answer.GetProcs(), "proc"),
				answer.GetNumber())
		})
	})
}
