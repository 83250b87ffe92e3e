package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"muster/cmd/muster/hostagent"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// job is one run.
type job struct {
	cluster  *client.Cluster
	spec     *musterv1.WorldSpec
	replace  bool          // an ended world of that name
	alone    bool          // no other node creates it
	patience time.Duration // for a server to answer
	out      io.Writer
	log      io.Writer
	logs     hostagent.Logs
}

// run creates the world, serves it as a host, shows what its ranks write, and says what became of it.
func (j *job) run(ctx context.Context, cfg hostagent.Config) error {
	created, err := j.create(ctx)
	if err != nil {
		return err
	}
	agent, err := hostagent.New(cfg)
	if err != nil {
		return err
	}
	following, unfollow := context.WithCancel(context.Background())
	var followers sync.WaitGroup
	followers.Go(func() { j.follow(following, created.GetGeneration(), &followers) })
	followers.Go(func() { j.endKept(following, created.GetGeneration()) })

	// The agent outlives ctx: a Ctrl-C stops the world, and the world's end the agent. Only a second one ends the agent itself.
	serving, abandon := context.WithCancel(context.Background())
	defer abandon()
	insisted := secondSignal(ctx)
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(serving, insisted) }()
	interrupted := false
	for hosting := true; hosting; {
		select {
		case err = <-ended:
			hosting = false
		case <-ctx.Done():
			interrupted = true
			if err := j.stop("interrupted"); err != nil {
				fmt.Fprintf(j.log, "muster: the others could not be told to stop: %v\n", err)
				abandon()
			}
			ctx = context.WithoutCancel(ctx)
			go func() {
				<-insisted
				abandon()
			}()
		}
	}
	unfollow()
	followers.Wait()
	return j.outcome(created.GetGeneration(), interrupted, err)
}

// create creates the world, or finds that another node has. One that is about to end is waited for where it is to be replaced.
func (j *job) create(ctx context.Context) (*musterv1.UpsertWorldResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, j.patience)
	defer cancel()
	name := j.spec.GetWorld()
	for {
		created, err := j.cluster.UpsertWorld(ctx, &musterv1.UpsertWorldRequest{Spec: j.spec, ReplaceEnded: j.replace})
		switch reason := client.RefusalOf(err).GetReason(); {
		case err == nil && j.alone && !created.GetChanged():
			return nil, fmt.Errorf("world %s is there already (generation %d), and another run's: `muster world stop %s` ends it", name, created.GetGeneration(), name)
		case reason == musterv1.Reason_REASON_WORLD_ENDED:
			return nil, fmt.Errorf("%w (--replace)", err)
		case reason != musterv1.Reason_REASON_WORLD_STOPPING || !j.replace:
			return created, err
		}
		if err := j.awaitEnd(ctx); err != nil {
			return nil, err
		}
	}
}

// awaitEnd waits until the world that is there has ended. Another node may replace it meanwhile.
func (j *job) awaitEnd(ctx context.Context) error {
	world, err := j.view(ctx, 0)
	if err != nil || world == nil {
		return err
	}
	_, err = j.cluster.WaitWorld(ctx, j.spec.GetWorld(), world.GetGeneration(), client.UntilEnded)
	return err
}

// view is the world, without its procs, while it has not ended, of a generation or of any (0); nil if it is not there.
func (j *job) view(ctx context.Context, generation uint64) (*musterv1.WorldView, error) {
	return j.viewWith(ctx, generation, &musterv1.ViewRequest{OmitProcs: true})
}

func (j *job) viewWith(ctx context.Context, generation uint64, req *musterv1.ViewRequest) (*musterv1.WorldView, error) {
	req.Worlds = []string{j.spec.GetWorld()}
	view, err := j.cluster.ViewAll(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, world := range view.GetWorlds() {
		if generation == 0 || world.GetGeneration() == generation {
			return world, nil
		}
	}
	return nil, nil
}

func (j *job) stop(reason string) error {
	ctx, cancel := context.WithTimeout(context.Background(), j.patience)
	defer cancel()
	_, err := j.cluster.Stop(ctx, &musterv1.StopRequest{
		Worlds: []string{j.spec.GetWorld()}, Reason: reason, ProcTimeoutNs: int64(hostagent.DefaultStopTimeout),
	})
	return err
}

// follow shows the output of each rank of this node from when it begins to write.
func (j *job) follow(ctx context.Context, generation uint64, followers *sync.WaitGroup) {
	const look = 50 * time.Millisecond
	shown := map[uint32]bool{}
	for {
		ranks, _ := j.logs.Ranks(j.spec.GetWorld(), generation) // none yet is no error here
		for _, rank := range ranks {
			if shown[rank] {
				continue
			}
			shown[rank] = true
			followers.Go(func() {
				path := j.logs.Path(j.spec.GetWorld(), generation, rank)
				if err := hostagent.Copy(ctx, j.out, path, -1, fmt.Sprintf("[%d] ", rank), true); err != nil {
					fmt.Fprintf(j.log, "muster: output of rank %d: %v\n", rank, err)
				}
			})
		}
		if ctx.Err() != nil {
			return
		}
		select {
		case <-ctx.Done(): // once more: a rank may have been quick
		case <-time.After(look):
		}
	}
}

const (
	exitInterrupted = 130
	signalExit      = 128
)

// outcome is what the command exits with.
func (j *job) outcome(generation uint64, interrupted bool, hosted error) error {
	ctx, cancel := context.WithTimeout(context.Background(), j.patience)
	defer cancel()
	world, err := j.cluster.WaitWorld(ctx, j.spec.GetWorld(), generation, client.UntilEnded)
	switch {
	case interrupted:
		return &codedError{exitInterrupted, errors.New("interrupted")}
	case err != nil && hosted != nil:
		return hosted
	case err != nil:
		return err
	}
	exit := world.GetFirstCause().GetExit()
	switch status := world.GetCondition().GetStatus(); {
	case status == musterv1.Status_STATUS_COMPLETED:
		return nil
	case status == musterv1.Status_STATUS_STOPPED && exit != nil: // whoever stopped it, a rank had failed
		return &codedError{rankCode(exit), errors.New(world.GetFirstCause().GetText())}
	case status == musterv1.Status_STATUS_STOPPED:
		return fmt.Errorf("stopped: %s", world.GetCondition().GetReason())
	}
	return &codedError{rankCode(exit), errors.New(world.GetCondition().GetReason())}
}

// rankCode is a rank's as a shell has it, and never 0.
func rankCode(exit *musterv1.Exit) int {
	switch {
	case exit.GetSignal() != 0:
		return signalExit + int(exit.GetSignal())
	case exit.GetCode() != 0:
		return int(exit.GetCode())
	}
	return exitFailed
}
