package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

type worldCreateFlags struct {
	shape, onFailure, address                             string
	open, replace                                         bool
	procs, procsPerHost                                   uint32
	labels                                                []string
	lease, report, start, eviction, delivery, procTimeout timeout
	program                                               programFlags
}

func newWorldCreate(c *cli) *cobra.Command {
	f := &worldCreateFlags{eviction: timeout{never: true}}
	cmd := &cobra.Command{
		Use:   "create WORLD (--procs N | --shape D,D,… | --open) [-- PROGRAM ARGS…]",
		Short: "Create a world, or confirm that it is as asked",
		Long: `Create a world, or confirm that it is as asked.

With a program behind -- hosts start it once per rank: run 'muster host' on each machine, as many as there are procs divided by
--procs-per-host. Nothing is started before all of them have joined. Without a program the procs join by themselves.

Asking twice for the same changes nothing. Asking for something else is refused, and the answer names what differs.`,
		Example: `  muster world create train --procs 32 --procs-per-host 8 --env LR=0.1 --cwd /srv/train -- python3 train.py --epochs 3
  muster world create grid --shape 2,3 --lease 3s --report-interval 500ms --label team=vision
  muster world create crowd --open`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				args = args[:dash]
			}
			if len(args) > 1 {
				return usagef("give one world (got %d arguments); a program goes behind --", len(args))
			}
			return exactly("one world")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := f.request(cmd, args[0], args[1:])
			if err != nil {
				return err
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.UpsertWorld(ctx, req)
				if client.RefusalOf(err).GetReason() == musterv1.Reason_REASON_WORLD_ENDED {
					return fmt.Errorf("%w (--replace)", err)
				}
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(answer, func() error {
					done := "created"
					if !answer.GetChanged() {
						done = "already as asked"
					}
					return p.line("World %s is %s (generation %d).", args[0], done, answer.GetGeneration())
				})
			})
		},
	}
	f.define(cmd.Flags())
	return cmd
}

func (f *worldCreateFlags) define(flags *pflag.FlagSet) {
	flags.StringVar(&f.shape, "shape", "", "dimensions, such as 2,3; their product is the number of procs")
	flags.Uint32Var(&f.procs, "procs", 0, "number of procs: a shape of one dimension")
	flags.BoolVar(&f.open, "open", false, "whoever joins: no fixed number of procs")
	flags.Uint32Var(&f.procsPerHost, "procs-per-host", 8, "ranks that a host is given; not used with --open")
	flags.StringArrayVar(&f.labels, "label", nil, "label key=value; may be repeated")
	flags.StringVar(&f.onFailure, "on-failure", "", "what a failed rank does to the others: stop or keep (default: stop with a program, else keep)")
	flags.StringVar(&f.address, "address", "", "scheme:rest where procs are reached that join without an address of their own")
	flags.Var(&f.lease, "lease", "how long a silence is forgiven (default: the cluster's setting, as for all durations below)")
	flags.Var(&f.report, "report-interval", "how often a member reports")
	flags.Var(&f.start, "start-timeout", "from the creation until the world must be Live")
	flags.Var(&f.eviction, "eviction", "how long a world may be Unhealthy before it is stopped; or never")
	flags.Var(&f.delivery, "delivery-timeout", "how long an order may stay undelivered")
	flags.Var(&f.procTimeout, "proc-timeout", "what a proc is given to stop by itself")
	flags.BoolVar(&f.replace, "replace", false, "replace an ended world of that name by a new generation")
	f.program.define(flags)
}

// request checks what no cluster has to be asked for. Limits that are the cluster's are left to it.
func (f *worldCreateFlags) request(cmd *cobra.Command, world string, command []string) (*musterv1.UpsertWorldRequest, error) {
	if err := worlds([]string{world}); err != nil {
		return nil, err
	}
	spec := &musterv1.WorldSpec{World: world, ProcsPerHost: f.procsPerHost, Address: f.address}
	if f.open {
		spec.ProcsPerHost = 0
	}
	if f.address != "" {
		if err := id.ValidateAddress(f.address); err != nil {
			return nil, usagef("--address: %v", err)
		}
	}
	var err error
	if spec.Shape, err = f.wanted(cmd.Flags()); err != nil {
		return nil, err
	}
	if spec.Exec, err = f.program.exec(cmd, command); err != nil {
		return nil, err
	}
	switch {
	case f.open && spec.Exec != nil:
		return nil, usagef("--open is for procs that join by themselves: a program needs --procs or --shape")
	case !f.open && f.procsPerHost == 0:
		return nil, usagef("--procs-per-host must be at least 1 where the number of procs is fixed")
	}
	if spec.OnFailure, err = parseOnFailure(f.onFailure); err != nil {
		return nil, err
	}
	timeouts := &musterv1.Timeouts{
		ReportIntervalNs: f.report.ns, LeaseNs: f.lease.ns, StartNs: f.start.ns, EvictionNs: f.eviction.ns,
		DeliveryNs: f.delivery.ns, ProcTimeoutNs: f.procTimeout.ns,
	}
	if !proto.Equal(timeouts, &musterv1.Timeouts{}) {
		spec.Timeouts = timeouts
	}
	labels, err := parseLabels("--label", f.labels)
	if err != nil {
		return nil, err
	}
	return &musterv1.UpsertWorldRequest{Spec: spec, Labels: labels, ReplaceEnded: f.replace}, nil
}

// wanted is the shape that is asked for.
func (f *worldCreateFlags) wanted(flags *pflag.FlagSet) (*musterv1.Shape, error) {
	shapes := 0
	for _, flag := range []string{"shape", "procs", "open"} {
		if flags.Changed(flag) {
			shapes++
		}
	}
	switch {
	case shapes != 1:
		return nil, usagef("give exactly one of --procs, --shape and --open")
	case f.open:
		return &musterv1.Shape{Open: true}, nil
	case flags.Changed("shape"):
		return parseShape(f.shape)
	case f.procs == 0:
		return nil, usagef("--procs must be at least 1")
	}
	return &musterv1.Shape{Dims: []uint32{f.procs}}, nil
}

// parseOnFailure reads --on-failure; nothing leaves it to the cluster.
func parseOnFailure(text string) (musterv1.FailurePolicy, error) {
	switch text {
	case "":
		return musterv1.FailurePolicy_FAILURE_POLICY_UNSPECIFIED, nil
	case "stop":
		return musterv1.FailurePolicy_FAILURE_POLICY_STOP, nil
	case "keep":
		return musterv1.FailurePolicy_FAILURE_POLICY_KEEP, nil
	}
	return 0, usagef("--on-failure %q: give stop or keep", text)
}
