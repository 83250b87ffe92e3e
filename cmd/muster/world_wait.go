package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newWorldWait(c *cli) *cobra.Command {
	var until string
	var generation uint64
	cmd := &cobra.Command{
		Use:   "wait WORLD --for live|completed|ended",
		Short: "Wait until a world is live, has completed or has ended",
		Long: `Wait until a world is live, has completed (every rank ended well) or has ended (however).

It waits for as long as it takes, unless --timeout is given. It exits with 0 when that is so, with 1 when it can no longer be so
(and says why), and with 4 when --timeout is over. A world that is replaced meanwhile is waited for in its newest generation,
unless --generation is given. One may wait for a world to be live before it is created, and for the rest only behind that.`,
		Example: `  muster world wait train --for live --timeout 10m
  muster world wait train --for ended --generation 7`,
		Args: exactly("one world"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := worlds(args); err != nil {
				return err
			}
			condition, err := parseUntil(until)
			if err != nil {
				return err
			}
			return c.patiently(cmd, func(ctx, soon context.Context, cluster *client.Cluster) error {
				if _, err := cluster.View(soon, &musterv1.ViewRequest{Worlds: args, OmitProcs: true}); err != nil {
					return err
				}
				world, err := cluster.WaitWorld(ctx, args[0], generation, condition)
				return waited(ctx, c.printer(cmd), cluster, world, condition, err)
			})
		},
	}
	cmd.Flags().StringVar(&until, "for", "", "what to wait for: live, completed or ended (required)")
	cmd.Flags().Uint64Var(&generation, "generation", 0, "only this generation, which world create has told (default: the newest)")
	return cmd
}

func parseUntil(text string) (client.Until, error) {
	for _, until := range []client.Until{client.UntilLive, client.UntilCompleted, client.UntilEnded} {
		if text == until.String() {
			return until, nil
		}
	}
	return 0, usagef("--for %q: give live, completed or ended", text)
}

// waited tells what came of a wait.
func waited(
	ctx context.Context, p printer, cluster *client.Cluster, world *musterv1.WorldView, until client.Until, err error,
) error {
	var missed *client.Missed
	switch {
	case errors.As(err, &missed):
		return errors.Join(p.message(world, func() error { return nil }), errors.New(missedText(missed)))
	case errors.Is(err, context.DeadlineExceeded) && world != nil:
		return lateError(fmt.Sprintf("world %s is %s and not %s yet: %s; 'muster explain %s' tells more",
			world.GetWorld(), statusText(world), until, oneLine(world.GetCondition().GetReason()), world.GetWorld()))
	case err != nil:
		return err
	}
	return p.message(world, func() error {
		why := "."
		if reason := world.GetCondition().GetReason(); isEnded(world) && reason != "" {
			why = ": " + oneLine(reason)
		}
		if err := p.line("World %s is %s (generation %d)%s", world.GetWorld(), statusText(world), world.GetGeneration(), why); err != nil {
			return err
		}
		if until != client.UntilEnded || world.GetStop() == 0 {
			return nil
		}
		stop, err := cluster.ViewStop(ctx, world.GetStop())
		if client.RefusalOf(err).GetReason() == musterv1.Reason_REASON_NOT_FOUND {
			return nil // forgotten meanwhile
		}
		return errors.Join(err, outcomeTable(p, stop))
	})
}

// missedText says how a world ended instead, for people.
func missedText(missed *client.Missed) string {
	world := missed.World
	text := fmt.Sprintf("world %s (generation %d) will not be %s: it is %s", world.GetWorld(), world.GetGeneration(), missed.Until, statusText(world))
	if reason := world.GetCondition().GetReason(); reason != "" {
		text += ": " + oneLine(reason)
	}
	if cause := world.GetFirstCause(); cause != nil {
		if told := causeSentence(cause); !strings.Contains(text, told) {
			text += "\nfirst cause: " + told
		}
		text += "\n" + lastLines(cause.GetExit())
	}
	return strings.TrimRight(text, "\n")
}

// lateError says what has not come in time.
type lateError string

func (e lateError) Error() string { return string(e) }

func (lateError) Unwrap() error { return context.DeadlineExceeded }
