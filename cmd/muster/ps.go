package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newPs(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "ps WORLD | WORLD/RANK",
		Short: "List the procs of a world, or one of them",
		Example: `  muster ps train
  muster ps train/0 -o json`,
		Args: exactly("one world, or world/rank"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, rank, err := worldOrProc(args[0])
			if err != nil {
				return err
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				view, world, err := getWorld(ctx, cluster, name)
				if err != nil {
					return err
				}
				if rank != nil {
					if err := onlyRank(world, *rank); err != nil {
						return err
					}
				}
				p := c.printer(cmd)
				return p.message(view, func() error { return procTable(p, world, rank == nil) })
			})
		},
	}
}

// worldOrProc reads WORLD, WORLD/RANK or WORLD[RANK]; rank is nil for the first.
func worldOrProc(arg string) (world string, rank *uint32, err error) {
	if _, err := id.ParseWorldID(arg); err == nil {
		return arg, nil, nil
	}
	proc, err := id.ParseProcArg(arg)
	if err != nil {
		return "", nil, &usageError{err}
	}
	return string(proc.World), &proc.Rank, nil
}

func onlyRank(world *musterv1.WorldView, rank uint32) error {
	for _, proc := range world.GetProcs() {
		if proc.GetProc().GetRank() == rank && proc.GetProc().GetRole() != musterv1.Role_ROLE_HOST {
			world.Procs = []*musterv1.ProcView{proc}
			return nil
		}
	}
	return fmt.Errorf("%s[%d] has not joined; 'muster ps %s' shows who has", world.GetWorld(), rank, world.GetWorld())
}

// procTable lists a world's members, and where all are asked for also the ranks that are not there.
func procTable(p printer, world *musterv1.WorldView, all bool) error {
	var rows [][]string
	for _, proc := range world.GetProcs() {
		rows = append(rows, append([]string{rankText(proc.GetProc())}, procColumns(proc)...))
	}
	if all {
		for _, ranks := range unlisted(world) {
			rows = append(rows, []string{ranks, "Missing", "", "", "", "", "has not joined"})
		}
	}
	return p.table("RANK "+procHeader, rows)
}

const procHeader = "HEALTH INCARNATION ADDRESS MACHINE REPORT CAUSE"

func procColumns(proc *musterv1.ProcView) []string {
	report := ageText(proc.GetReportAgeNs())
	if proc.GetHealth() == musterv1.Health_HEALTH_UNSPECIFIED {
		report = "" // nobody has reported it yet
	}
	return []string{
		healthText(proc), strconv.FormatUint(proc.GetProc().GetIncarnation(), 10), proc.GetAddress(), proc.GetMachine(),
		report, causeText(proc),
	}
}
