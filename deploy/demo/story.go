package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

const (
	wordsRanks, standbyRanks = 6, 3
	// worker is the rank of standby that is killed.
	worker = 1
	// slack is what a busy machine may add to a lease.
	slack = 2 * time.Second

	stateFile  = "muster.state"
	resultFile = "words.json"
)

// startCluster starts three servers with empty data directories and waits until they are one cluster with nothing in it.
func (d *demo) startCluster(ctx context.Context) error {
	began := time.Now()
	var err error
	if d.servers, err = newServers(d.dir); err != nil {
		return err
	}
	for _, s := range d.servers {
		if err := d.servers.start(d.processes, d.muster, s); err != nil {
			return err
		}
	}
	if d.client, err = client.New(client.Config{Servers: d.servers.addresses()}); err != nil {
		return err
	}
	leader, err := d.awaitNodes(ctx, 0)
	if err != nil {
		return err
	}
	view, err := d.view(ctx)
	if err != nil {
		return err
	}
	if len(view.GetWorlds()) != 0 {
		return fmt.Errorf("the new cluster has worlds: %v", text(view))
	}
	d.say("three servers at %s are a cluster, empty, after %.1fs; %s leads",
		strings.Join(d.servers.addresses(), ", "), time.Since(began).Seconds(), leader)
	return nil
}

// createWorlds does what an operator does.
func (d *demo) createWorlds(ctx context.Context) error {
	if _, err := d.command(ctx, "world", "create", "words", "--shape", "2,3"); err != nil {
		return err
	}
	_, err := d.command(ctx, "world", "create", "standby", "--procs", fmt.Sprint(standbyRanks))
	return err
}

// startRanks starts the members of both worlds and waits until the worlds are Live, and all of words at work.
func (d *demo) startRanks(ctx context.Context) error {
	source, err := goSource(ctx)
	if err != nil {
		return err
	}
	d.standby, err = startRanks(d.processes, d.servers.addresses(), "standby", standbyRanks)
	if err != nil {
		return err
	}
	if err := d.awaitAll(ctx, d.standby, saidJoined); err != nil {
		return err
	}
	d.words, err = startRanks(d.processes, d.servers.addresses(), "words", wordsRanks,
		"-source", source, "-result", filepath.Join(d.dir, resultFile))
	if err != nil {
		return err
	}
	if err := d.awaitAll(ctx, d.words, saidCounting); err != nil {
		return err
	}
	if d.before, err = d.view(ctx); err != nil {
		return err
	}
	for _, w := range d.before.GetWorlds() {
		if w.GetCondition().GetStatus() != musterv1.Status_STATUS_LIVE {
			return fmt.Errorf("all have joined, but a world is not Live: %v", text(w))
		}
	}
	d.say("%d + %d processes have joined by themselves; words counts the words of %s", wordsRanks, standbyRanks, source)
	return nil
}

// goSource is where the toolchain of this machine has its own source.
func goSource(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	// A walk does not follow the link that some systems have there.
	source, err := filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(string(out)), "src"))
	if err != nil {
		return "", fmt.Errorf("the toolchain's source: %w", err)
	}
	return source, nil
}

// killLeader kills the leader between two writes and tells how long the next one took.
func (d *demo) killLeader(ctx context.Context) error {
	cluster := d.client.Cluster()
	d.writer = startWriter(ctx, cluster, world(d.before, "words"))
	for range writesBefore {
		ack, err := d.writer.next()
		if err != nil {
			return err
		}
		d.acked = append(d.acked, ack)
	}
	leader, err := cluster.FindLeader(ctx)
	if err != nil {
		return err
	}
	if d.killed, err = d.servers.named(leader.GetNode()); err != nil {
		return err
	}
	counting := d.words.saying(saidCounting) - d.words.saying(saidCounted)
	if counting == 0 {
		return errors.New("no rank was counting any more when the leader was to be killed")
	}
	killed := time.Now()
	if err := d.killed.process.kill(); err != nil {
		return err
	}
	dead := time.Now()
	d.say("killed the leader %s (SIGKILL) while %d of %d ranks were counting", d.killed.name, counting, wordsRanks)
	for {
		ack, err := d.writer.next()
		if err != nil {
			return err
		}
		d.acked = append(d.acked, ack)
		if ack.begun.After(dead) { // the one before may have been answered by the dead leader
			d.say("a write is acknowledged again %.2fs after the kill", ack.acked.Sub(killed).Seconds())
			return nil
		}
	}
}

// restartKilled starts the killed node as it was started before, and waits until it follows and knows what the others did.
func (d *demo) restartKilled(ctx context.Context) error {
	known := uint64(0)
	_, nodes := d.status(ctx)
	for _, node := range nodes {
		known = max(known, node.GetCommitIndex())
	}
	if err := d.servers.start(d.processes, d.muster, d.killed); err != nil {
		return err
	}
	leader, err := d.awaitNodes(ctx, known)
	if err != nil {
		return err
	}
	d.say("%s runs again and has caught up; %s leads", d.killed.name, leader)
	return nil
}

// checkWords waits for the merged count and holds it against the count of a single process.
func (d *demo) checkWords(ctx context.Context) error {
	if err := d.await(ctx, "the merged count", func(context.Context) (bool, error) {
		return d.words.saying(saidMerged) == 1 && d.words.saying(saidDelivered) == wordsRanks-1, nil
	}); err != nil {
		return err
	}
	written, err := os.ReadFile(filepath.Join(d.dir, resultFile))
	if err != nil {
		return fmt.Errorf("the merged count: %w", err)
	}
	var merged wordCounts
	if err := json.Unmarshal(written, &merged); err != nil {
		return fmt.Errorf("the merged count: %w", err)
	}
	d.say("rank 0, found through Muster, has merged %d parts: %d words, %d different", wordsRanks, merged.total(), len(merged))
	began := time.Now()
	source, err := goSource(ctx)
	if err != nil {
		return err
	}
	files, err := sourceFiles(source)
	if err != nil {
		return err
	}
	alone, err := countFiles(ctx, files)
	if err != nil {
		return err
	}
	if !maps.Equal(alone, merged) {
		return fmt.Errorf("a single process counts %d words, %d different: the merged count is wrong", alone.total(), len(alone))
	}
	d.say("a single process counts the same in %d files in %.1fs", len(files), time.Since(began).Seconds())
	return nil
}

// checkNobodyNoticed compares both worlds with what they were before the kill: incarnations, healths, statuses and since when.
// Only the writer's labels have been added, every one that was acknowledged.
func (d *demo) checkNobodyNoticed(ctx context.Context) error {
	rest, err := d.writer.rest()
	if err != nil {
		return err
	}
	d.acked = append(d.acked, rest...)
	want := withLabels(d.before, "words", d.acked)
	now, err := d.view(ctx)
	if err != nil {
		return err
	}
	if err := compare(want, now); err != nil {
		return fmt.Errorf("the leader's death was noticed: %w", err)
	}
	if d.words.saying(saidRejoined)+d.standby.saying(saidRejoined) > 0 {
		return errors.New("a rank had to join again")
	}
	d.say("no rank noticed: same incarnations, healths and times; all %d acknowledged writes are there", len(d.acked))
	return nil
}

// killWorker kills a rank and waits until it is Expired.
func (d *demo) killWorker(ctx context.Context) error {
	killed := time.Now()
	if err := d.standby.processes[worker].kill(); err != nil {
		return err
	}
	d.say("killed standby[%d] (SIGKILL); its lease is %v", worker, lease)
	expired := &musterv1.ProcView{}
	condition := &musterv1.Condition{}
	err := d.await(ctx, "the killed rank to be Expired", func(ctx context.Context) (bool, error) {
		view, err := d.view(ctx)
		standby := world(view, "standby")
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
	if took > lease+grace+slack {
		return fmt.Errorf("the killed rank expired only after %v", took)
	}
	d.say("it is Expired after %.1fs: %s", took.Seconds(), condition.GetReason())
	table, err := d.command(ctx, "ps", fmt.Sprintf("standby/%d", worker))
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
