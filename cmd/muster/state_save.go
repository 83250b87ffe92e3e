package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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

The file is there under its name only once all of it is on the disk. It carries its own checksums.

It takes as long as it has to while something comes; --timeout bounds the whole where it is given.`,
		Example: "  muster state save muster.state",
		Args:    exactly("one file, or -"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.moving(cmd, func(ctx context.Context, moved func(), cluster *client.Cluster) error {
				save := func(w io.Writer) (int64, error) { return cluster.SaveState(ctx, movingWriter{w, moved}) }
				if args[0] == "-" {
					_, err := save(cmd.OutOrStdout())
					return err
				}
				size, err := saveFile(args[0], save)
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
func saveFile(name string, save func(io.Writer) (int64, error)) (size int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		if where := new(os.PathError); errors.As(err, &where) {
			where.Path = name // and not the one beside it, which nobody asked for
		}
		return 0, fmt.Errorf("saving the state: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	size, err = save(file)
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
