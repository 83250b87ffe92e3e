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

func newWorldGet(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "get WORLD",
		Short:   "Show one world: what was asked for, what it is, and why",
		Example: "  muster world get train",
		Args:    exactly("one world"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := worlds(args); err != nil {
				return err
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				view, world, err := getWorld(ctx, cluster, args[0])
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(world, func() error { return worldDetails(p, view, world) })
			})
		},
	}
}

// getWorld reads the latest generation under a name, ended or not, with all its members.
func getWorld(ctx context.Context, cluster *client.Cluster, name string) (*musterv1.ViewResponse, *musterv1.WorldView, error) {
	view, err := cluster.ViewAll(ctx, &musterv1.ViewRequest{Worlds: []string{name}, IncludeEnded: true})
	if err != nil {
		return nil, nil, err
	}
	var latest *musterv1.WorldView
	for _, world := range view.GetWorlds() {
		if latest == nil || world.GetGeneration() > latest.GetGeneration() {
			latest = world
		}
	}
	if latest == nil {
		return nil, nil, fmt.Errorf("there is no world %s; 'muster world list --ended' shows those there are", name)
	}
	view.Worlds = []*musterv1.WorldView{latest}
	return view, latest, nil
}

func worldDetails(p printer, view *musterv1.ViewResponse, world *musterv1.WorldView) error {
	spec, condition, timeouts := world.GetSpec(), world.GetCondition(), world.GetTimeouts()
	since := fmt.Sprintf("%s ago", ageText(view.GetClockNs()-condition.GetSinceNs()))
	if condition.GetSinceUnixMs() > 0 {
		since += time.UnixMilli(condition.GetSinceUnixMs()).UTC().Format(" (2006-01-02 15:04:05 UTC)")
	}
	perHost, onFailure := "", ""
	if spec != nil {
		perHost = strconv.FormatUint(uint64(spec.GetProcsPerHost()), 10)
		onFailure = onFailureText(spec)
	}
	pairs := [][2]string{
		{"World", world.GetWorld()},
		{"Generation", strconv.FormatUint(world.GetGeneration(), 10)},
		{"Status", statusText(world)},
		{"Since", since},
		{"Reason", condition.GetReason()},
	}
	if world.GetFirstCause() != nil {
		pairs = append(pairs, [2]string{"First cause", causeSentence(world.GetFirstCause())})
	}
	pairs = append(pairs,
		[2]string{"Shape", shapeText(spec)},
		[2]string{"Address", spec.GetAddress()},
		[2]string{"Procs per host", perHost},
		[2]string{"On failure", onFailure},
	)
	pairs = append(pairs, programPairs(world)...)
	pairs = append(pairs,
		[2]string{"Joined", outOf(world.GetJoined(), world.GetWanted())},
		[2]string{"Healthy", outOf(world.GetHealthy(), world.GetWanted())},
		[2]string{"Missing", strings.Join(missing(world), ", ")},
		[2]string{"Labels", labelsText(world.GetLabels())},
		[2]string{"Label revision", strconv.FormatUint(world.GetLabelRevision(), 10)},
		[2]string{"Report interval", timeoutText(timeouts.GetReportIntervalNs())},
		[2]string{"Lease", timeoutText(timeouts.GetLeaseNs())},
		[2]string{"Start timeout", timeoutText(timeouts.GetStartNs())},
		[2]string{"Eviction", timeoutText(timeouts.GetEvictionNs())},
		[2]string{"Delivery timeout", timeoutText(timeouts.GetDeliveryNs())},
		[2]string{"Proc timeout", timeoutText(timeouts.GetProcTimeoutNs())},
	)
	if err := p.pairs(pairs...); err != nil {
		return err
	}
	if lines := lastLines(world.GetFirstCause().GetExit()); lines != "" {
		return p.line("\nThe last lines of rank %d:\n%s", world.GetFirstCause().GetRank(), strings.TrimSuffix(lines, "\n"))
	}
	return nil
}

// programPairs tell of the program that hosts start, if there is one.
func programPairs(world *musterv1.WorldView) [][2]string {
	exec := world.GetSpec().GetExec()
	if exec == nil {
		return nil
	}
	ready := "when started"
	if exec.GetReadyJoin() {
		ready = "when joined"
	}
	master := ""
	if world.GetMasterAddress() != "" {
		master = fmt.Sprintf("%s, port %d", world.GetMasterAddress(), world.GetMasterPort())
	}
	return [][2]string{
		{"Program", commandText(exec)},
		{"Variables", labelsText(exec.GetVariables())},
		{"Directory", exec.GetWorkingDirectory()},
		{"Ready", ready},
		{"Devices per proc", strconv.FormatUint(uint64(exec.GetDevicesPerProc()), 10)},
		{"Master", master},
	}
}

// commandText is a command line; what a shell would take apart is quoted.
func commandText(exec *musterv1.Exec) string {
	words := append([]string{exec.GetProgram()}, exec.GetArgs()...)
	for i, word := range words {
		if word == "" || strings.ContainsAny(word, " \t\n\"'\\$`*?") {
			words[i] = strconv.Quote(word)
		}
	}
	return strings.Join(words, " ")
}
