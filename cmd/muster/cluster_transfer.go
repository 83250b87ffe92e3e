package main

import (
	"context"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newClusterTransfer(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "transfer-leader [NODE]",
		Short: "Have another node lead",
		Long: `Have another node lead: the one that is named, or the one whose log is longest. What is under way lands first; members and requests
go to the new leader by themselves. When nobody takes leadership the old leader goes on.`,
		Example: `  muster cluster transfer-leader
  muster cluster transfer-leader n3`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &musterv1.TransferLeaderRequest{}
			if len(args) == 1 {
				if req.Node = args[0]; req.Node == "" {
					return usagef("give the node's name, such as n2, or none")
				}
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.TransferLeader(ctx, req)
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(answer, func() error {
					switch answer.GetTo() {
					case answer.GetFrom():
						return p.line("Node %s leads already.", answer.GetTo())
					case "":
						return p.line("Node %s has handed leadership over; `muster status` tells to whom.", answer.GetFrom())
					}
					return p.line("Node %s leads, in place of %s.", answer.GetTo(), answer.GetFrom())
				})
			})
		},
	}
}
