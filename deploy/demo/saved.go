package main

import (
	"context"
	"fmt"
	"time"

	"muster/deploy/fleet"
	musterv1 "muster/proto/muster/v1"
)

// saveState saves the state while standby is in it, and remembers what it says.
func (d *demo) saveState(ctx context.Context) error {
	var err error
	if d.saved, err = d.View(ctx, &musterv1.ViewRequest{}); err != nil {
		return err
	}
	if _, err := d.Command(ctx, "state", "save", stateFile); err != nil {
		return err
	}
	// What was read before the file was written and what is read behind it are the same, so that is what the file says.
	now, err := d.View(ctx, &musterv1.ViewRequest{})
	if err != nil {
		return err
	}
	if err := compare(d.saved, now); err != nil {
		return fmt.Errorf("something changed while the state was saved: %w", err)
	}
	if len(fleet.World(now, "standby").GetProcs()) != standbyRanks {
		return fmt.Errorf("standby should be in the state: %v", text(now))
	}
	return nil
}

// stopStandby stops the world. Its processes are told so and end by themselves.
func (d *demo) stopStandby(ctx context.Context) error {
	began := time.Now()
	if _, err := d.Command(ctx, "world", "stop", "standby", "--reason", "the demo moves on"); err != nil {
		return err
	}
	for rank, p := range d.standby.processes {
		if rank == worker {
			continue // it was killed
		}
		if err := p.Wait(ctx, fleet.Patience); err != nil {
			return fmt.Errorf("stopping standby: %w", err)
		}
		if !p.said.has(saidStopped) {
			return fmt.Errorf("%s ended without being told to", p.Name)
		}
	}
	// It stays readable after its end.
	view, err := d.View(ctx, &musterv1.ViewRequest{IncludeEnded: true})
	if err != nil {
		return err
	}
	if status := fleet.World(view, "standby").GetCondition().GetStatus(); status != musterv1.Status_STATUS_STOPPED {
		return fmt.Errorf("world standby was stopped and is %s", status)
	}
	d.Say("standby is Stopped, its processes have ended by themselves after %.1fs", time.Since(began).Seconds())
	return nil
}

// loseEverything ends the servers and wipes their data directories.
func (d *demo) loseEverything(ctx context.Context) error {
	if err := d.EndServers(ctx); err != nil {
		return err
	}
	if err := d.WipeServers(); err != nil {
		return err
	}
	d.Say("the three servers have ended and their data directories are wiped")
	return nil
}

// restoreState brings the saved state into the new cluster and compares. Nobody of the members runs any more, but a restore gives
// each of them a lease, so for so long everything is as it was.
func (d *demo) restoreState(ctx context.Context) error {
	if _, err := d.Command(ctx, "state", "restore", stateFile); err != nil {
		return err
	}
	restored, err := d.View(ctx, &musterv1.ViewRequest{})
	if err != nil {
		return err
	}
	if err := compare(forgetSince(d.saved), forgetSince(restored)); err != nil {
		return fmt.Errorf("what was restored is not what was saved: %w", err)
	}
	procs := 0
	for _, w := range restored.GetWorlds() {
		procs += len(w.GetProcs())
	}
	if procs != standbyRanks {
		return fmt.Errorf("%d ranks were restored, there were %d", procs, standbyRanks)
	}
	d.Say("%d ranks restored: incarnations, healths and reasons equal the saved ones", procs)
	return nil
}

// stopCluster is the end: nothing is left.
func (d *demo) stopCluster(ctx context.Context) error {
	if err := d.EndServers(ctx); err != nil {
		return err
	}
	d.Say("the three servers have ended, and nothing is left running")
	return nil
}
