package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newWorldLabel(c *cli) *cobra.Command {
	var revision uint64
	cmd := &cobra.Command{
		Use:   "label WORLD KEY=VALUE …",
		Short: "Add labels to a world",
		Long: `Add labels to a world that has been created. Labels are added, never overwritten: a key that has another value already is refused.
With --revision, nothing is added unless the labels are still at that revision, which the answer, and -o json of 'muster world get', tell.`,
		Example: `  muster world label train owner=ada
  muster world label train stage=2 --revision 4711`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := worlds(args[:1]); err != nil {
				return err
			}
			labels, err := parseLabels("label", args[1:])
			if err != nil {
				return err
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				_, world, err := getWorld(ctx, cluster, args[0])
				if err != nil {
					return err
				}
				if world.GetSpec() == nil {
					return fmt.Errorf("world %s awaits its creation: label it with `muster world create %s --label …`", args[0], args[0])
				}
				answer, err := cluster.UpsertWorld(ctx, &musterv1.UpsertWorldRequest{Spec: world.GetSpec(), Labels: labels, LabelRevision: revision})
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(answer, func() error {
					return p.line("The labels of world %s are at revision %s.", args[0], strconv.FormatUint(answer.GetLabelRevision(), 10))
				})
			})
		},
	}
	cmd.Flags().Uint64Var(&revision, "revision", 0, "the revision that the labels must still be at; 0 = any")
	return cmd
}
