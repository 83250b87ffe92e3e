package main

import (
	"context"
	"fmt"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// lookInterval is how often a run that keeps going looks whether anything still does.
const lookInterval = time.Second

// endKept stops a world that failed ranks have been kept in when its last rank has ended: the cluster would wait for somebody to restart
// them. Each node does so; the world is stopped once.
func (j *job) endKept(ctx context.Context, generation uint64) {
	if j.spec.GetOnFailure() != musterv1.FailurePolicy_FAILURE_POLICY_KEEP {
		return
	}
	ticks := time.NewTicker(lookInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		if over, err := j.isOver(ctx, generation); err != nil || !over {
			continue // without an answer it asks again: the agent, too, goes on
		}
		if err := j.stop("every rank has ended"); err != nil {
			fmt.Fprintf(j.log, "muster: every rank has ended, and the world could not be stopped yet: %v\n", err)
			continue
		}
		return
	}
}

// isOver: some rank has failed, and none runs or is still to be started. Ranks are listed only where one has failed.
func (j *job) isOver(ctx context.Context, generation uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, j.patience)
	defer cancel()
	world, err := j.view(ctx, generation)
	if err != nil || world.GetFirstCause() == nil {
		return false, err
	}
	world, err = j.viewWith(ctx, generation, &musterv1.ViewRequest{})
	return err == nil && allEnded(world), err
}

func allEnded(world *musterv1.WorldView) bool {
	ended := uint32(0)
	for _, p := range world.GetProcs() {
		if p.GetAssignment().GetState() == musterv1.Assignment_STATE_ENDED {
			ended++
		}
	}
	return ended > 0 && ended == world.GetWanted()
}
