package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// maxRestarted is how many ranks one request names.
const maxRestarted = 10000

func newWorldRestart(c *cli) *cobra.Command {
	var ranks string
	var all bool
	cmd := &cobra.Command{
		Use:   "restart WORLD [--ranks R,R,… | --all]",
		Short: "Have hosts run ranks of a world again",
		Long: `Have hosts run ranks of a world again, on the same machines: those named, or all, or else those that have failed, were stopped
or are not heard any more. What still runs of them is ended first. The answer means that the hosts have been ordered to.`,
		Example: `  muster world restart eval
  muster world restart train --ranks 3,5-7
  muster world restart train --all`,
		Args: exactly("one world"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := worlds(args); err != nil {
				return err
			}
			req := &musterv1.RestartRequest{World: args[0], All: all}
			if cmd.Flags().Changed("ranks") {
				if all {
					return usagef("--ranks and --all exclude each other")
				}
				var err error
				if req.Ranks, err = parseRanks(ranks); err != nil {
					return err
				}
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.Restart(ctx, req)
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(answer, func() error {
					switch answer.GetRanks() {
					case 0:
						return p.line("Nothing is restarted in world %s: no rank that a host runs has failed, was stopped or is silent.", args[0])
					case 1:
						return p.line("1 rank of world %s is restarted.", args[0])
					}
					return p.line("%d ranks of world %s are restarted.", answer.GetRanks(), args[0])
				})
			})
		},
	}
	cmd.Flags().StringVar(&ranks, "ranks", "", "only these ranks, such as 3,5-7")
	cmd.Flags().BoolVar(&all, "all", false, "all ranks, those that run as well")
	return cmd
}

// parseRanks reads ranks and ranges of them, "3,5-7", ascending and each once.
func parseRanks(text string) ([]uint32, error) {
	var ranks []uint32
	for _, part := range strings.Split(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 32)
		last, err2 := strconv.ParseUint(to, 10, 32)
		if err1 != nil || err2 != nil || first > last || last > id.MaxRank {
			return nil, usagef("--ranks %q: give ranks of at most %d, separated by commas, such as 3,5-7", text, id.MaxRank)
		}
		if int(last-first)+len(ranks) >= maxRestarted {
			return nil, usagef("--ranks %q: more than %d ranks; give --all, or ask several times", text, maxRestarted)
		}
		for rank := first; rank <= last; rank++ {
			ranks = append(ranks, uint32(rank))
		}
	}
	slices.Sort(ranks)
	return slices.Compact(ranks), nil
}
