package main

import (
	"context"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newClusterCommand(c *cli) *cobra.Command {
	return group("cluster", "Look after the cluster's own nodes and settings", newClusterRejoin(c), newClusterTransfer(c), newClusterSettings(c), newClusterSet(c))
}

func newClusterRejoin(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "rejoin NODE",
		Short: "Bring a node back whose data directory was lost",
		Long: `Bring a node back whose data directory was lost.

Start the node with an empty data directory first: it waits. Its old server id is removed then, and it becomes a voter again
when it has caught up.`,
		Example: "  muster cluster rejoin n2 --timeout 1m",
		Args:    exactly("one node's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return usagef("give the node's name, such as n2")
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.RejoinNode(ctx, &musterv1.RejoinNodeRequest{Node: args[0]})
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(answer, func() error {
					if answer.GetRemovedServerId() == "" {
						return p.line("Node %s is a voter as %s.", args[0], answer.GetServerId())
					}
					return p.line("Node %s is a voter as %s, in place of %s.", args[0], answer.GetServerId(), answer.GetRemovedServerId())
				})
			})
		},
	}
}
