package main

import (
	"context"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newAlarm(c *cli) *cobra.Command {
	return group("alarm", "What is wrong with the cluster, and what does not happen on purpose", newAlarmList(c), newAlarmRelease(c))
}

func newAlarmList(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List what is wrong, and what does not happen on purpose",
		Example: "  muster alarm list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				status, err := cluster.Status(ctx, &musterv1.StatusRequest{})
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				alarms := status.GetAlarms()
				return p.message(&musterv1.StatusResponse{Alarms: alarms}, func() error {
					if len(alarms) == 0 {
						return p.line("No alarm is on.")
					}
					for _, alarm := range alarms {
						if err := p.line("%s", oneLine(alarm)); err != nil {
							return err
						}
					}
					return nil
				})
			})
		},
	}
}

func newAlarmRelease(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "release",
		Short: "Let those expire whose expiry is held back",
		Long: `Let those expire whose expiry is held back, since so many fell silent at once that the fault was believed to lie between them
and the cluster. The brake lets go by itself after one lease, and holds again only after most have been heard.`,
		Example: "  muster alarm release",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.ReleaseAlarm(ctx, &musterv1.ReleaseAlarmRequest{})
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(answer, func() error {
					return p.line("Released: %d of %d agents were silent, and those that still are expire.", answer.GetBrake().GetSilent(), answer.GetBrake().GetAgents())
				})
			})
		},
	}
}
