package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

type worldCreateFlags struct {
	shape, onFailure                                      string
	open, replaceEnded                                    bool
	procs, procsPerHost                                   uint32
	labels                                                []string
	lease, report, start, eviction, delivery, procTimeout timeout
}

func newWorldCreate(c *cli) *cobra.Command {
	f := &worldCreateFlags{eviction: timeout{never: true}}
	cmd := &cobra.Command{
		Use:   "create WORLD (--procs N | --shape D,D,… | --open)",
		Short: "Create a world, or confirm that it is as asked",
		Long: `Create a world, or confirm that it is as asked.

Asking twice for the same changes nothing. Asking for something else is refused, and the answer names what differs.`,
		Example: `  muster world create train --shape 2,3 --lease 3s --report-interval 500ms --label team=vision
  muster world create crowd --open`,
		Args: exactly("one world"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := f.request(cmd, args[0])
			if err != nil {
				return err
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.UpsertWorld(ctx, req)
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
	flags := cmd.Flags()
	flags.StringVar(&f.shape, "shape", "", "dimensions, such as 2,3; their product is the number of procs")
	flags.Uint32Var(&f.procs, "procs", 0, "number of procs: a shape of one dimension")
	flags.BoolVar(&f.open, "open", false, "whoever joins: no fixed number of procs")
	flags.Uint32Var(&f.procsPerHost, "procs-per-host", 8, "ranks that a host is given; not used with --open")
	flags.StringArrayVar(&f.labels, "label", nil, "label key=value; may be repeated")
	flags.StringVar(&f.onFailure, "on-failure", "", "what a failed rank does to the others: stop or keep (default: keep)")
	flags.Var(&f.lease, "lease", "how long a silence is forgiven (default: the cluster's setting, as for all durations below)")
	flags.Var(&f.report, "report-interval", "how often a member reports")
	flags.Var(&f.start, "start-timeout", "from the creation until the world must be Live")
	flags.Var(&f.eviction, "eviction", "how long a world may be Unhealthy before it is stopped; or never")
	flags.Var(&f.delivery, "delivery-timeout", "how long an order may stay undelivered")
	flags.Var(&f.procTimeout, "proc-timeout", "what a proc is given to stop by itself")
	flags.BoolVar(&f.replaceEnded, "replace-ended", false, "replace an ended world of that name by a new generation")
	return cmd
}

// request checks what no cluster has to be asked for. Limits that are the cluster's are left to it.
func (f *worldCreateFlags) request(cmd *cobra.Command, world string) (*musterv1.UpsertWorldRequest, error) {
	if err := worlds([]string{world}); err != nil {
		return nil, err
	}
	spec := &musterv1.WorldSpec{World: world, ProcsPerHost: f.procsPerHost}
	shapes := 0
	for _, flag := range []string{"shape", "procs", "open"} {
		if cmd.Flags().Changed(flag) {
			shapes++
		}
	}
	var err error
	switch {
	case shapes != 1:
		return nil, usagef("give exactly one of --procs, --shape and --open")
	case f.open:
		spec.Shape, spec.ProcsPerHost = &musterv1.Shape{Open: true}, 0
	case cmd.Flags().Changed("shape"):
		if spec.Shape, err = parseShape(f.shape); err != nil {
			return nil, err
		}
	case f.procs == 0:
		return nil, usagef("--procs must be at least 1")
	default:
		spec.Shape = &musterv1.Shape{Dims: []uint32{f.procs}}
	}
	if !f.open && f.procsPerHost == 0 {
		return nil, usagef("--procs-per-host must be at least 1 where the number of procs is fixed")
	}
	switch f.onFailure {
	case "":
	case "stop":
		spec.OnFailure = musterv1.FailurePolicy_FAILURE_POLICY_STOP
	case "keep":
		spec.OnFailure = musterv1.FailurePolicy_FAILURE_POLICY_KEEP
	default:
		return nil, usagef("--on-failure %q: give stop or keep", f.onFailure)
	}
	timeouts := &musterv1.Timeouts{
		ReportIntervalNs: f.report.ns, LeaseNs: f.lease.ns, StartNs: f.start.ns, EvictionNs: f.eviction.ns,
		DeliveryNs: f.delivery.ns, ProcTimeoutNs: f.procTimeout.ns,
	}
	if !proto.Equal(timeouts, &musterv1.Timeouts{}) {
		spec.Timeouts = timeouts
	}
	labels, err := parseLabels("label", f.labels)
	if err != nil {
		return nil, err
	}
	return &musterv1.UpsertWorldRequest{Spec: spec, Labels: labels, ReplaceEnded: f.replaceEnded}, nil
}
