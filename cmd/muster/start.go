package main

import (
	"context"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newStart(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "start",
		Short: "Make a stopped system run again",
		Long: `Make a system run again that 'muster stop --all' has stopped, as a new execution without worlds. What has ended can still be
read. It starts no server: that is 'muster server'.`,
		Example: "  muster start",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.Start(ctx, &musterv1.StartRequest{})
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(answer, func() error { return p.line("The system runs, as execution %s.", answer.GetExecutionId()) })
			})
		},
	}
}
