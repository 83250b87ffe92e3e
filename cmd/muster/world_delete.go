package main

import (
	"context"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newWorldDelete(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "delete WORLD",
		Short: "Forget an ended world, every generation of it",
		Long: `Forget an ended world, every generation of it. Ended worlds go by themselves when their retention is over; a world that has
not ended is refused: stop it first.`,
		Example: "  muster world delete eval",
		Args:    exactly("one world"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := worlds(args); err != nil {
				return err
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.DeleteWorld(ctx, &musterv1.DeleteWorldRequest{World: args[0]})
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(answer, func() error {
					return p.line("World %s is forgotten (generations: %d).", args[0], answer.GetGenerations())
				})
			})
		},
	}
}
