package main

import (
	"context"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newStop(c *cli) *cobra.Command {
	f := &stopFlags{}
	var all bool
	cmd := &cobra.Command{
		Use:   "stop --all",
		Short: "Stop everything: all worlds, then the system",
		Long: `Stop everything: all worlds, then the system. Nothing can be created or joined from then on, until 'muster start'. The answer
means that stopping has begun; with --wait the program ends when it is over. One world is stopped by 'muster world stop'.`,
		Example: `  muster stop --all --reason "the power goes" --wait`,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !all || len(args) > 0 {
				return usagef("stop is for everything: give --all and no name; 'muster world stop WORLD' stops one world")
			}
			req, err := f.request(&musterv1.StopRequest{Everything: true})
			if err != nil {
				return err
			}
			return c.patiently(cmd, func(ctx, soon context.Context, cluster *client.Cluster) error {
				answer, err := cluster.Stop(soon, req)
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				err = p.message(answer, func() error {
					if answer.GetOperation() == 0 {
						return p.line("Everything is stopped.")
					}
					return p.line("Everything is being stopped (operation %d).", answer.GetOperation())
				})
				if err != nil || !f.wait || answer.GetOperation() == 0 {
					return err
				}
				if err := waitStops(ctx, p, cluster, answer); err != nil || p.json {
					return err
				}
				return p.line("Everything is stopped.")
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "everything: required, so that nobody means one world and stops all")
	f.define(cmd.Flags())
	return cmd
}
