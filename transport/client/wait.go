package client

import (
	"context"
	"fmt"
	"strings"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

// How often those who wait look: often at first, and never so often that many of them are a load.
const firstLook, longestLook = 100 * time.Millisecond, 500 * time.Millisecond

// Until is what WaitWorld waits for.
type Until int

const (
	// UntilLive: the world is Live, or it has Completed: a quick program may be Live only between two looks.
	UntilLive Until = iota + 1
	// UntilCompleted: the world has ended, and every rank completed.
	UntilCompleted
	// UntilEnded: the world has ended, however.
	UntilEnded
)

// String is the condition as the command line has it: live, completed or ended.
func (u Until) String() string {
	switch u {
	case UntilLive:
		return "live"
	case UntilCompleted:
		return "completed"
	case UntilEnded:
		return "ended"
	}
	return fmt.Sprintf("Until(%d)", int(u))
}

// Missed is what a wait ends with when what it waits for can no longer come true.
type Missed struct {
	// Until is what was waited for.
	Until Until
	// World is the world as it has ended, without its procs: its condition and its first cause say why.
	World *musterv1.WorldView
}

// Error says how the world ended instead, and why.
func (e *Missed) Error() string {
	condition := e.World.GetCondition()
	text := fmt.Sprintf("world %s (generation %d) will not be %s: it has ended %s",
		e.World.GetWorld(), e.World.GetGeneration(), e.Until, condition.GetStatus())
	if condition.GetReason() != "" {
		text += ": " + condition.GetReason()
	}
	return text
}

// WaitWorld looks at a world until a condition holds. It follows the newest generation under the name, unless one is asked for
// by its number (not 0). The world is given as it was seen last, without its procs; nil if it never was.
//
// The error is nil when the condition holds, a *Missed when it can no longer hold, an *Error with REASON_NOT_FOUND where there is
// no such world, and otherwise an *Error that unwraps to the context's error: give the context a deadline to wait no longer. Who
// waits for UntilLive may do so before the world is created; for the other conditions, and of a generation, it must be there.
func (c *Cluster) WaitWorld(ctx context.Context, world string, generation uint64, until Until) (*musterv1.WorldView, error) {
	ctx, cancel := c.client.untilClosed(ctx)
	defer cancel()
	pause := newDelay(firstLook, longestLook)
	var last *musterv1.WorldView
	for looked := false; ; looked = true {
		seen, err := c.look(ctx, world, generation)
		switch {
		case err != nil && looked && ctx.Err() != nil: // the time was over while it looked once more
			return last, &Error{Op: "wait", causes: []error{notYet(world, last, until), err}}
		case err != nil:
			return last, err
		case seen != nil:
			last = seen
			if reached, possible := until.holds(seen); reached {
				return seen, nil
			} else if !possible {
				return seen, &Missed{Until: until, World: seen}
			}
		case until != UntilLive || generation != 0:
			refusal := noWorld(world, generation)
			return last, &Error{Op: "wait", Refusal: refusal, causes: []error{rpcstatus.Error(refusal)}}
		}
		if pause.wait(ctx) != nil {
			return last, &Error{Op: "wait", causes: []error{notYet(world, last, until), outOfTime(ctx)}}
		}
	}
}

// WaitStop looks at a stop operation until it is over, and tells what became of its targets. The error is an *Error that unwraps
// to the context's error when that ended first; what was seen last is given then, too.
func (c *Cluster) WaitStop(ctx context.Context, operation uint64) (*musterv1.ViewStopResponse, error) {
	ctx, cancel := c.client.untilClosed(ctx)
	defer cancel()
	pause := newDelay(firstLook, longestLook)
	var last *musterv1.ViewStopResponse
	for {
		seen, err := c.ViewStop(ctx, operation)
		if err != nil && last != nil && ctx.Err() != nil { // as in WaitWorld
			return last, &Error{Op: "wait", causes: []error{notOver(operation), err}}
		}
		if err != nil {
			return last, err
		}
		if last = seen; seen.GetDone() {
			return seen, nil
		}
		if pause.wait(ctx) != nil {
			return last, &Error{Op: "wait", causes: []error{notOver(operation), outOfTime(ctx)}}
		}
	}
}

func notOver(operation uint64) error { return fmt.Errorf("stop operation %d is not over", operation) }

// look reads the newest generation of a world, or the one asked for; nil where there is none.
func (c *Cluster) look(ctx context.Context, world string, generation uint64) (*musterv1.WorldView, error) {
	view, err := c.ViewAll(ctx, &musterv1.ViewRequest{Worlds: []string{world}, IncludeEnded: true, OmitProcs: true})
	if err != nil {
		return nil, err
	}
	var found *musterv1.WorldView
	for _, w := range view.GetWorlds() {
		if generation != 0 && w.GetGeneration() != generation {
			continue
		}
		if w.GetGeneration() >= found.GetGeneration() {
			found = w
		}
	}
	return found, nil
}

// holds says whether the condition holds of a world, and if not, whether it still can.
func (u Until) holds(world *musterv1.WorldView) (reached, possible bool) {
	status := world.GetCondition().GetStatus()
	completed := status == musterv1.Status_STATUS_COMPLETED
	ended := completed || status == musterv1.Status_STATUS_FAILED || status == musterv1.Status_STATUS_STOPPED
	switch u {
	case UntilLive:
		reached = completed || status == musterv1.Status_STATUS_LIVE
	case UntilCompleted:
		reached = completed
	case UntilEnded:
		reached = ended
	}
	return reached, !ended
}

func noWorld(world string, generation uint64) *musterv1.Refusal {
	text := "there is no world " + world
	if generation != 0 {
		text += fmt.Sprintf(" of generation %d", generation)
	}
	return &musterv1.Refusal{Reason: musterv1.Reason_REASON_NOT_FOUND, Field: "world", Message: text + ": it was never created, or is forgotten"}
}

func notYet(world string, last *musterv1.WorldView, until Until) error {
	if last == nil {
		return fmt.Errorf("world %s is not %s: it has not been created", world, until)
	}
	condition := last.GetCondition()
	status := strings.ToLower(strings.TrimPrefix(condition.GetStatus().String(), "STATUS_"))
	return fmt.Errorf("world %s is not %s: it is %s (%s)", world, until, strings.ReplaceAll(status, "_", " "), condition.GetReason())
}
