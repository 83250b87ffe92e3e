package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"muster/deploy/fleet"
	musterv1 "muster/proto/muster/v1"
)

const (
	standbyRanks = 3
	// worker is the rank of standby that is killed.
	worker = 1
	// slack is what a busy machine may add to a lease.
	slack = 2 * time.Second

	stateFile = "muster.state"
)

// onlyStandby is the world whose members have joined by themselves.
var onlyStandby = &musterv1.ViewRequest{Worlds: []string{"standby"}}

// startCluster starts three servers with empty data directories and waits until they are one cluster with nothing in it.
func (d *demo) startCluster(ctx context.Context) error {
	began := time.Now()
	leader, err := d.StartServers(ctx)
	if err != nil {
		return err
	}
	view, err := d.View(ctx, &musterv1.ViewRequest{})
	if err != nil {
		return err
	}
	if len(view.GetWorlds()) != 0 {
		return fmt.Errorf("the new cluster has worlds: %v", text(view))
	}
	d.Say("three servers at %s are a cluster, empty, after %.1fs; %s leads",
		strings.Join(d.Addresses(), ", "), time.Since(began).Seconds(), leader)
	return nil
}

// startStandby creates a world whose members join by themselves, starts them, and waits until it is Live.
func (d *demo) startStandby(ctx context.Context) error {
	if _, err := d.Command(ctx, "world", "create", "standby", "--procs", fmt.Sprint(standbyRanks)); err != nil {
		return err
	}
	var err error
	if d.standby, err = startMembers(d.Fleet, "standby", standbyRanks); err != nil {
		return err
	}
	if err := d.Await(ctx, "all of standby to have joined", func(context.Context) (bool, error) {
		return d.standby.saying(saidJoined) == standbyRanks, nil
	}); err != nil {
		return err
	}
	if d.before, err = d.View(ctx, onlyStandby); err != nil {
		return err
	}
	if w := fleet.World(d.before, "standby"); w.GetCondition().GetStatus() != musterv1.Status_STATUS_LIVE {
		return fmt.Errorf("all have joined, but the world is not Live: %v", text(w))
	}
	d.Say("%d processes have joined world standby with the Go SDK", standbyRanks)
	return nil
}

// killLeader kills the leader between the creation of words, whose second host comes only now, and its being Live. It tells how long the
// next write to the state took.
func (d *demo) killLeader(ctx context.Context) error {
	d.writer = startWriter(ctx, d.Client.Cluster(), fleet.World(d.before, "standby"))
	for range writesBefore {
		ack, err := d.writer.next()
		if err != nil {
			return err
		}
		d.acked = append(d.acked, ack)
	}
	var err error
	killed := time.Now()
	if d.killed, err = d.KillLeader(ctx); err != nil {
		return err
	}
	dead := time.Now()
	d.Say("killed the leader %s (SIGKILL) while words was waiting for its second host", d.killed.Name)
	if d.b, err = d.StartHost("machine-b", hosted, "--stay"); err != nil {
		return err
	}
	for {
		ack, err := d.writer.next()
		if err != nil {
			return err
		}
		d.acked = append(d.acked, ack)
		if ack.begun.After(dead) { // the one before may have been answered by the dead leader
			d.Say("a write is acknowledged again %.2fs after the kill", ack.acked.Sub(killed).Seconds())
			return nil
		}
	}
}

// restartKilled starts the killed node as it was started before, and waits until it follows and knows what the others did.
func (d *demo) restartKilled(ctx context.Context) error {
	leader, err := d.RestartServer(ctx, d.killed)
	if err != nil {
		return err
	}
	d.Say("%s runs again and has caught up; %s leads", d.killed.Name, leader)
	return nil
}

// checkNobodyNoticed compares standby with what it was before the kill: incarnations, healths, statuses and since when.
// Only the writer's labels have been added, every one that was acknowledged.
func (d *demo) checkNobodyNoticed(ctx context.Context) error {
	rest, err := d.writer.rest()
	if err != nil {
		return err
	}
	d.acked = append(d.acked, rest...)
	want := withLabels(d.before, "standby", d.acked)
	now, err := d.View(ctx, onlyStandby)
	if err != nil {
		return err
	}
	if err := compare(want, now); err != nil {
		return fmt.Errorf("the leader's death was noticed: %w", err)
	}
	if d.standby.saying(saidRejoined) > 0 {
		return errors.New("a member had to join again")
	}
	d.Say("nobody of standby noticed: same incarnations, healths and times; all %d acknowledged writes are there", len(d.acked))
	return nil
}

// killWorker kills a rank and waits until it is Expired.
func (d *demo) killWorker(ctx context.Context) error {
	killed := time.Now()
	if err := d.standby.processes[worker].Kill(); err != nil {
		return err
	}
	d.Say("killed standby[%d] (SIGKILL); its lease is %v", worker, fleet.Lease)
	expired := &musterv1.ProcView{}
	condition := &musterv1.Condition{}
	err := d.Await(ctx, "the killed rank to be Expired", func(ctx context.Context) (bool, error) {
		view, err := d.View(ctx, onlyStandby)
		standby := fleet.World(view, "standby")
		for _, proc := range standby.GetProcs() {
			if proc.GetHealth() == musterv1.Health_HEALTH_EXPIRED {
				expired, condition = proc, standby.GetCondition()
			}
		}
		return expired.GetProc() != nil, err
	})
	if err != nil {
		return err
	}
	took := time.Since(killed)
	if expired.GetProc().GetRank() != worker || expired.GetCause() == "" || !strings.Contains(condition.GetReason(), fmt.Sprintf("rank %d", worker)) {
		return fmt.Errorf("rank %d was killed; expired is %v, and the world is %v", worker, text(expired), text(condition))
	}
	if took > fleet.Lease+fleet.Grace+slack {
		return fmt.Errorf("the killed rank expired only after %v", took)
	}
	d.Say("it is Expired after %.1fs: %s", took.Seconds(), condition.GetReason())
	table, err := d.Command(ctx, "ps", fmt.Sprintf("standby/%d", worker))
	if err != nil {
		return err
	}
	for row := range strings.Lines(table) {
		fmt.Println("         " + strings.TrimSpace(row))
	}
	for row := range strings.Lines(table) {
		if columns := strings.Fields(row); columns[0] == fmt.Sprint(worker) && columns[1] == "Expired" {
			return nil
		}
	}
	return fmt.Errorf("muster ps does not show that rank %d is Expired", worker)
}
