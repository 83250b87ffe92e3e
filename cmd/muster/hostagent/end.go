package hostagent

import (
	"context"
	"errors"
	"fmt"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// endPatience is how much longer than its programs' time a world that is stopping may take to end.
const endPatience = 30 * time.Second

// isOver: the world takes nobody because it ends or has ended.
func isOver(err error) bool {
	switch client.RefusalOf(err).GetReason() {
	case musterv1.Reason_REASON_WORLD_ENDED, musterv1.Reason_REASON_WORLD_STOPPING, musterv1.Reason_REASON_SYSTEM_STOPPING:
		return true
	}
	return false
}

// hasWorldEnded tells that a membership has ended with its world, and not because another agent has it.
func hasWorldEnded(err error) bool {
	var ended *client.Ended
	var stopped *client.Stopped
	return errors.As(err, &stopped) || isOver(err) || errors.As(err, &ended) && ended.Kind != musterv1.Verdict_KIND_SUPERSEDED
}

// ended says what the end of a membership means. Where the cluster has not said how the world ended it is asked, until ctx ends.
func (a *Agent) ended(ctx context.Context, r *ranks, m *client.Member) error {
	err := m.Err()
	var ended *client.Ended
	switch {
	case err == nil:
		return nil
	case !hasWorldEnded(err) && !errors.As(err, &ended):
		return fmt.Errorf("world %s: %w", r.world, err)
	case !errors.As(err, &ended):
		r.log.Info("the world was stopped while this host could not be heard", "why", err)
		return a.awaitEnd(ctx, r, m)
	}
	switch {
	case ended.Kind == musterv1.Verdict_KIND_SUPERSEDED:
		return fmt.Errorf("world %s: another agent has taken host rank %d: this one has ended what it ran, and does not take it back; "+
			"if its --state-dir was copied from another machine, give it one of its own", r.world, ended.Proc.GetRank())
	case ended.Kind == musterv1.Verdict_KIND_UNKNOWN:
		return fmt.Errorf("world %s: the cluster does not know this host any more: it has ended what it ran", r.world)
	}
	switch ended.Status {
	case musterv1.Status_STATUS_COMPLETED, musterv1.Status_STATUS_STOPPED, musterv1.Status_STATUS_FAILED:
		return a.outcome(r, ended.Status)
	}
	return a.awaitEnd(ctx, r, m) // this host's part in it is over, it itself is not
}

// outcome is what a world's end means for the agent.
func (a *Agent) outcome(r *ranks, status musterv1.Status) error {
	if status == musterv1.Status_STATUS_FAILED {
		return fmt.Errorf("world %s: %w; `muster explain %s` says why", r.world, ErrFailed, r.world)
	}
	r.log.Info("the world has ended", "status", status)
	return nil
}

// awaitEnd waits until the world of a membership has ended, for as long as it may take.
func (a *Agent) awaitEnd(ctx context.Context, r *ranks, m *client.Member) error {
	waiting, cancel := context.WithTimeout(ctx, time.Duration(m.Timeouts().GetProcTimeoutNs())+endPatience)
	defer cancel()
	world, err := a.cfg.Client.Cluster().WaitWorld(waiting, r.world, m.Generation(), client.UntilEnded)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("world %s: how it ends is not known: %w; `muster explain %s` says it", r.world, err, r.world)
	}
	return a.outcome(r, world.GetCondition().GetStatus())
}
