package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newView(c *cli) *cobra.Command {
	req := &musterv1.ViewRequest{}
	var worldLabels, procLabels []string
	cmd := &cobra.Command{
		Use:     "view",
		Short:   "Show worlds with all their procs",
		Example: "  muster view --world train --label team=vision",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := worlds(req.GetWorlds()); err != nil {
				return err
			}
			if req.WorldLabels, err = parseLabels("--label", worldLabels); err != nil {
				return err
			}
			if req.ProcLabels, err = parseLabels("--proc-label", procLabels); err != nil {
				return err
			}
			req.OmitEmpty = len(procLabels) > 0
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				view, err := cluster.ViewAll(ctx, req)
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(view, func() error { return viewTables(p, view) })
			})
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&req.Worlds, "world", nil, "only this world; may be repeated")
	flags.StringArrayVar(&worldLabels, "label", nil, "only worlds with this label key=value; may be repeated")
	flags.StringArrayVar(&procLabels, "proc-label", nil, "only procs with this label key=value; may be repeated")
	flags.BoolVar(&req.IncludeEnded, "ended", false, "worlds that have ended, too")
	flags.BoolVar(&req.Stale, "stale", false, "what the server asked has, without asking the leader; may be old")
	return cmd
}

func viewTables(p printer, view *musterv1.ViewResponse) error {
	phase := strings.ToLower(word(view.GetPhase(), "PHASE_"))
	head := fmt.Sprintf("System %s, execution %s, as of number %d", phase, oneLine(view.GetExecutionId()), view.GetNumber())
	if age := stalenessText(view.GetStaleness()); age != "" {
		head += ", " + age
	}
	if err := p.line("%s.\n", head); err != nil {
		return err
	}
	if err := worldTable(p, view); err != nil {
		return err
	}
	var rows [][]string
	for _, world := range view.GetWorlds() {
		for _, proc := range world.GetProcs() {
			rows = append(rows, append([]string{procText(proc.GetProc())}, procColumns(proc)...))
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := p.line(""); err != nil {
		return err
	}
	return p.table("PROC "+procHeader, rows)
}
