package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// stopFlags are what the verbs that stop have in common.
type stopFlags struct {
	perProc time.Duration
	reason  string
	wait    bool
}

func (f *stopFlags) define(flags *pflag.FlagSet) {
	flags.DurationVar(&f.perProc, "proc-timeout", 0, "what each proc is given to end by itself (default: the world's)")
	flags.StringVar(&f.reason, "reason", "", "why, for people")
	flags.BoolVar(&f.wait, "wait", false, "wait until it is over, as long as it takes unless --timeout is given")
}

// request checks the flags.
func (f *stopFlags) request(req *musterv1.StopRequest) (*musterv1.StopRequest, error) {
	if f.perProc < 0 {
		return nil, usagef("--proc-timeout %v: give a duration above 0", f.perProc)
	}
	req.ProcTimeoutNs, req.Reason = int64(f.perProc), f.reason
	return req, nil
}

func newWorldStop(c *cli) *cobra.Command {
	f := &stopFlags{}
	cmd := &cobra.Command{
		Use:   "stop WORLD…",
		Short: "Begin to stop worlds",
		Long: `Begin to stop worlds: their procs are asked to end, and a world has ended when the last one has. The answer means that
stopping has begun; with --wait the program ends when it is over, and tells what became of each proc (as JSON: a second document).`,
		Example: `  muster world stop train --reason "new data" --proc-timeout 10s --wait
  muster world stop train eval`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("give at least one world")
			}
			return worlds(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := f.request(&musterv1.StopRequest{Worlds: args})
			if err != nil {
				return err
			}
			return c.patiently(cmd, func(ctx, soon context.Context, cluster *client.Cluster) error {
				answer, err := cluster.Stop(soon, req)
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				told := errors.Join(p.message(answer, func() error { return stopTable(p, answer) }), unknownWorlds(answer))
				if f.wait {
					return errors.Join(waitStops(ctx, p, cluster, answer), told)
				}
				return told
			})
		},
	}
	f.define(cmd.Flags())
	return cmd
}

// operations are the stop operations that an answer names, ascending.
func operations(answer *musterv1.StopResponse) []uint64 {
	all := []uint64{answer.GetOperation()}
	for _, world := range answer.GetWorlds() {
		all = append(all, world.GetOperation())
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(operation uint64) bool { return operation == 0 })
}

// waitStops waits for all operations of an answer, and prints what became of whom they told.
func waitStops(ctx context.Context, p printer, cluster *client.Cluster, answer *musterv1.StopResponse) error {
	for _, operation := range operations(answer) {
		stop, err := cluster.WaitStop(ctx, operation)
		if client.RefusalOf(err).GetReason() == musterv1.Reason_REASON_NOT_FOUND {
			continue // it was over, and is forgotten with its worlds
		}
		if stop != nil {
			err = errors.Join(p.message(stop, func() error { return outcomeTable(p, stop) }), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// outcomeTable lists what became of each member that a stop told.
func outcomeTable(p printer, stop *musterv1.ViewStopResponse) error {
	var rows [][]string
	for _, target := range stop.GetTargets() {
		outcome := target.GetOutcome()
		switch {
		case outcome != "" || target.GetDone():
		case target.GetAccepted():
			outcome = "is ending"
		default:
			outcome = "has not been told"
		}
		rows = append(rows, []string{procText(target.GetProc()), outcome})
	}
	if len(rows) == 0 {
		return nil
	}
	if err := p.line(""); err != nil {
		return err
	}
	return p.table("PROC OUTCOME", rows)
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
