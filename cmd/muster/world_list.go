package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newWorldList(c *cli) *cobra.Command {
	req := &musterv1.ViewRequest{OmitProcs: true}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List worlds",
		Example: "  muster world list --ended",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				view, err := cluster.ViewAll(ctx, req)
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(view, func() error { return worldTable(p, view) })
			})
		},
	}
	cmd.Flags().BoolVar(&req.IncludeEnded, "ended", false, "worlds that have ended, too")
	return cmd
}

func worldTable(p printer, view *musterv1.ViewResponse) error {
	var rows [][]string
	for _, world := range view.GetWorlds() {
		rows = append(rows, []string{
			world.GetWorld(), statusText(world), shapeText(world.GetSpec()),
			outOf(world.GetJoined(), world.GetWanted()), outOf(world.GetHealthy(), world.GetWanted()),
			ageText(view.GetClockNs() - world.GetCondition().GetSinceNs()),
			strconv.FormatUint(world.GetGeneration(), 10), world.GetCondition().GetReason(),
		})
	}
	return p.table("WORLD STATUS SHAPE JOINED HEALTHY SINCE GENERATION REASON", rows)
}
