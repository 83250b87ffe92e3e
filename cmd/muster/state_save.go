package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"muster/transport/client"
)

func newStateSave(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "save FILE",
		Short: "Save the state to a file; - is standard output",
		Long: `Save the state to a file; - is standard output.

The file is there under its name only once all of it is on the disk. It carries its own checksums.`,
		Example: "  muster state save muster.state --timeout 1m",
		Args:    exactly("one file, or -"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				if args[0] == "-" {
					_, err := cluster.SaveState(ctx, cmd.OutOrStdout())
					return err
				}
				size, err := saveFile(ctx, cluster, args[0])
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.value(map[string]any{"file": args[0], "bytes": size}, func() error {
					return p.line("Saved %d bytes to %s.", size, args[0])
				})
			})
		},
	}
}

// saveFile writes beside the name first: a file that ends in the middle must not look like a good one.
func saveFile(ctx context.Context, cluster *client.Cluster, name string) (size int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return 0, fmt.Errorf("saving the state: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	size, err = cluster.SaveState(ctx, file)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return 0, err
	}
	if err = os.Rename(file.Name(), name); err != nil {
		return 0, fmt.Errorf("saving the state: %w", err)
	}
	return size, nil
}
