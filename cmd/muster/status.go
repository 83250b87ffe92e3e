package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newStatus(c *cli) *cobra.Command {
	req := &musterv1.StatusRequest{}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the cluster is: its nodes, its leader, and what is wrong",
		Long: "Show how the cluster is, as the first server that answers sees it. It needs neither a leader nor all nodes.\n\n" +
			"What it shows of a node, and how that changes, is at http://NODE-ADDRESS/metrics for Prometheus.",
		Example: `  muster status
  muster status --servers 127.0.0.1:7381,127.0.0.1:7382`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				status, err := cluster.Status(ctx, req)
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(status, func() error { return statusTables(p, status) })
			})
		},
	}
	cmd.Flags().BoolVar(&req.Local, "local", false, "only the server asked; it asks no other")
	return cmd
}

func statusTables(p printer, status *musterv1.StatusResponse) error {
	if err := statusSummary(p, status); err != nil {
		return err
	}
	if err := p.line(""); err != nil {
		return err
	}
	if err := nodeTable(p, status.GetNodes()); err != nil {
		return err
	}
	if len(status.GetAlarms()) == 0 {
		return nil
	}
	if err := p.line("\nAlarms:"); err != nil {
		return err
	}
	for _, alarm := range status.GetAlarms() {
		if err := p.line("  %s", oneLine(alarm)); err != nil {
			return err
		}
	}
	return nil
}

func statusSummary(p printer, status *musterv1.StatusResponse) error {
	leader := "none known"
	if hint := status.GetLeader(); hint.GetAddress() != "" {
		leader = fmt.Sprintf("%s at %s, term %d", hint.GetNode(), hint.GetAddress(), hint.GetRaftTerm())
	}
	pairs := [][2]string{{"Cluster", status.GetClusterId()}, {"Leader", leader}}
	if state := status.GetState(); state != nil {
		system := strings.ToLower(word(state.GetPhase(), "PHASE_"))
		if state.GetRestoring() {
			system += ", a restore is under way"
		}
		pairs = append(pairs,
			[2]string{"System", system},
			[2]string{"Execution", state.GetExecutionId()},
			[2]string{"Number", fmt.Sprintf("%d (epoch %d)", state.GetNumber(), state.GetEpoch())},
			[2]string{"Rules", fmt.Sprintf("version %d", state.GetMachineVersion())},
			[2]string{"Worlds", fmt.Sprintf("%d, and %d ended", state.GetWorlds(), state.GetEndedWorlds())},
			[2]string{"Procs", fmt.Sprintf("%d, %d of them not healthy", state.GetProcs(), state.GetUnhealthy())},
		)
	}
	return p.pairs(pairs...)
}

func nodeTable(p printer, nodes []*musterv1.NodeStatus) error {
	var rows [][]string
	for _, node := range nodes {
		rows = append(rows, []string{
			node.GetName(), roleText(node), node.GetAddress(), strconv.FormatUint(node.GetRaftTerm(), 10), contactText(node),
			strconv.FormatUint(node.GetAppliedIndex(), 10), strconv.FormatUint(node.GetNumber(), 10), shortDigest(node.GetDigest()),
			strconv.FormatUint(uint64(node.GetSessions()), 10), node.GetVersion(), problemText(node),
		})
	}
	return p.table("NODE ROLE ADDRESS TERM CONTACT APPLIED NUMBER DIGEST SESSIONS VERSION PROBLEM", rows)
}

func roleText(node *musterv1.NodeStatus) string {
	role := strings.ToLower(word(node.GetRole(), "NODE_ROLE_"))
	switch {
	case role == "":
		return "unknown"
	case node.GetRole() == musterv1.NodeStatus_NODE_ROLE_LEADER && !node.GetTermPublished():
		return "leader (not ready)"
	}
	return role
}

func contactText(node *musterv1.NodeStatus) string {
	switch {
	case node.GetRole() == musterv1.NodeStatus_NODE_ROLE_LEADER, node.GetRole() == musterv1.NodeStatus_NODE_ROLE_UNSPECIFIED:
		return ""
	case node.GetLastContactMs() < 0:
		return "never"
	}
	return (time.Duration(node.GetLastContactMs()) * time.Millisecond).String()
}

// shortDigest is enough of it to see that two nodes agree.
func shortDigest(digest string) string {
	return digest[:min(12, len(digest))]
}

func problemText(node *musterv1.NodeStatus) string {
	problems := node.GetFlagsDiffer()
	if len(problems) > 0 {
		problems = []string{"flags differ from the settings in force: " + strings.Join(problems, ", ")}
	}
	if node.GetProblem() != "" {
		problems = append([]string{node.GetProblem()}, problems...)
	}
	return strings.Join(problems, "; ")
}
