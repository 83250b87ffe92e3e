package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newExplain(c *cli) *cobra.Command {
	var stale bool
	cmd := &cobra.Command{
		Use:   "explain WORLD | WORLD/RANK | host:WORLD/RANK",
		Short: "Tell why a world, a proc or a host is what it is, and what happens next",
		Example: `  muster explain train
  muster explain train/3
  muster explain host:train/0 -o json`,
		Args: exactly("one world, world/rank or host:world/rank"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := parseExplained(args[0])
			if err != nil {
				return err
			}
			req.Stale = stale
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.Explain(ctx, req)
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(answer, func() error {
					_, err := p.out.Write([]byte(explanation(req, answer)))
					return err
				})
			})
		},
	}
	cmd.Flags().BoolVar(&stale, "stale", false, "what the server asked has, without asking the leader; may be old")
	return cmd
}

// parseExplained reads WORLD, WORLD/RANK, WORLD[RANK] or either of these behind host:.
func parseExplained(arg string) (*musterv1.ExplainRequest, error) {
	name, isHost := strings.CutPrefix(arg, "host:")
	world, rank, err := worldOrProc(name)
	if err != nil {
		return nil, err
	}
	req := &musterv1.ExplainRequest{World: world, OneRank: rank != nil, Role: musterv1.Role_ROLE_WORKER}
	if isHost {
		if rank == nil {
			return nil, usagef("%q: give the host's rank, such as host:%s/0", arg, world)
		}
		req.Role = musterv1.Role_ROLE_HOST
	}
	if rank != nil {
		req.Rank = *rank
	}
	return req, nil
}
