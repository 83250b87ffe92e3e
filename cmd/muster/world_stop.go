package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newWorldStop(c *cli) *cobra.Command {
	var perProc time.Duration
	var reason string
	cmd := &cobra.Command{
		Use:   "stop WORLD…",
		Short: "Begin to stop worlds",
		Long: `Begin to stop worlds: their procs are asked to end, and a world has ended when the last one has. The answer means that
stopping has begun; 'muster world get' shows how far it is.`,
		Example: `  muster world stop train --reason "new data" --timeout-per-proc 10s`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("give at least one world")
			}
			return worlds(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if perProc < 0 {
				return usagef("--timeout-per-proc %v: give a duration above 0", perProc)
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.Stop(ctx, &musterv1.StopRequest{Worlds: args, ProcTimeoutNs: int64(perProc), Reason: reason})
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return errors.Join(p.message(answer, func() error { return stopTable(p, answer) }), unknownWorlds(answer))
			})
		},
	}
	cmd.Flags().DurationVar(&perProc, "timeout-per-proc", 0, "what each proc is given to end by itself (default: the world's)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people")
	return cmd
}

func stopTable(p printer, answer *musterv1.StopResponse) error {
	var rows [][]string
	for _, world := range answer.GetWorlds() {
		operation := ""
		if world.GetOperation() != 0 {
			operation = strconv.FormatUint(world.GetOperation(), 10)
		}
		rows = append(rows, []string{world.GetWorld(), word(world.GetResult(), "RESULT_"), operation})
	}
	return p.table("WORLD RESULT OPERATION", rows)
}

// unknownWorlds makes a failure of what was asked for and is not there; the others are being stopped all the same.
func unknownWorlds(answer *musterv1.StopResponse) error {
	var errs []error
	for _, world := range answer.GetWorlds() {
		if world.GetResult() == musterv1.WorldStop_RESULT_UNKNOWN {
			errs = append(errs, fmt.Errorf("there is no world %s", world.GetWorld()))
		}
	}
	return errors.Join(errs...)
}
