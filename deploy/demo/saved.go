package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// saveState saves the state while both worlds are in it, and remembers what it says.
func (d *demo) saveState(ctx context.Context) error {
	var err error
	if d.saved, err = d.view(ctx); err != nil {
		return err
	}
	if _, err := d.command(ctx, "state", "save", stateFile); err != nil {
		return err
	}
	// What was read before the file was written and what is read behind it are the same, so that is what the file says.
	now, err := d.view(ctx)
	if err != nil {
		return err
	}
	if err := compare(d.saved, now); err != nil {
		return fmt.Errorf("something changed while the state was saved: %w", err)
	}
	if len(now.GetWorlds()) != 2 {
		return fmt.Errorf("both worlds should be in the state: %v", text(now))
	}
	return nil
}

// stopWorlds stops both worlds. Their processes are told so and end by themselves.
func (d *demo) stopWorlds(ctx context.Context) error {
	began := time.Now()
	if _, err := d.command(ctx, "world", "stop", "words", "standby", "--reason", "the demo moves on"); err != nil {
		return err
	}
	all := slices.Concat(d.words.processes, d.standby.processes)
	for _, p := range all {
		if p.killed {
			continue
		}
		if err := p.wait(ctx, endPatience); err != nil {
			return fmt.Errorf("stopping the worlds: %w", err)
		}
		if !p.said.has(saidStopped) {
			return fmt.Errorf("%s ended without being told to", p.name)
		}
	}
	// They stay readable after their end.
	view, err := d.client.Cluster().ViewAll(ctx, &musterv1.ViewRequest{IncludeEnded: true})
	if err != nil {
		return fmt.Errorf("reading the state: %w", err)
	}
	for _, name := range []string{"words", "standby"} {
		if status := world(view, name).GetCondition().GetStatus(); status != musterv1.Status_STATUS_STOPPED {
			return fmt.Errorf("world %s was stopped and is %s", name, status)
		}
	}
	d.say("both worlds are Stopped, their processes have ended by themselves after %.1fs", time.Since(began).Seconds())
	return nil
}

// loseEverything ends the servers and wipes their data directories.
func (d *demo) loseEverything(ctx context.Context) error {
	if err := d.endServers(ctx); err != nil {
		return err
	}
	if err := d.servers.wipe(); err != nil {
		return err
	}
	d.say("the three servers have ended and their data directories are wiped")
	return nil
}

// restoreState brings the saved state into the new cluster and compares. Nobody of the members runs any more, but a restore gives
// each of them a lease, so for so long everything is as it was.
func (d *demo) restoreState(ctx context.Context) error {
	if _, err := d.command(ctx, "state", "restore", stateFile); err != nil {
		return err
	}
	restored, err := d.view(ctx)
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
	if procs != wordsRanks+standbyRanks {
		return fmt.Errorf("%d ranks were restored, there were %d", procs, wordsRanks+standbyRanks)
	}
	d.say("%d worlds, %d ranks: incarnations, healths and reasons equal the saved ones", len(restored.GetWorlds()), procs)
	return nil
}

// stopCluster is the end: nothing is left.
func (d *demo) stopCluster(ctx context.Context) error {
	if err := d.endServers(ctx); err != nil {
		return err
	}
	d.say("the three servers have ended, and nothing is left running")
	return nil
}

// endServers ends the servers in order. They were the last of our processes.
func (d *demo) endServers(ctx context.Context) error {
	if err := errors.Join(d.disconnect(), d.servers.end(ctx)); err != nil {
		return err
	}
	return d.processes.left()
}
