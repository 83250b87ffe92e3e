package hostagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// ranks are the programs of one membership. It is its client.HostHandler.
type ranks struct {
	agent *Agent
	world string
	log   hclog.Logger

	mu      sync.Mutex
	runs    map[uint64]*run // by spawn order
	closed  bool
	running sync.WaitGroup
}

func newRanks(a *Agent, world string) *ranks {
	return &ranks{agent: a, world: world, log: a.cfg.Logger.With("world", world), runs: map[uint64]*run{}}
}

// Port chooses where rank 0 listens for its peers.
func (r *ranks) Port(order *musterv1.SpawnOrder) (uint32, error) {
	port, err := r.agent.cfg.Ports.take(generation{r.world, order.GetGeneration()})
	if err != nil {
		r.log.Error("rank cannot be started", "rank", order.GetProc().GetRank(), "error", err)
	}
	return port, err
}

// Spawn runs a rank's program.
func (r *ranks) Spawn(rank *client.Rank) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	one := newRun()
	r.runs[rank.Number] = one
	r.running.Go(func() { r.keep(rank, one) })
}

// keep runs one rank's program until it has ended.
func (r *ranks) keep(rank *client.Rank, one *run) {
	defer close(one.done)
	number := rank.Order.GetProc().GetRank()
	exit := r.exec(rank, one)
	if exit.Code == 0 && exit.Signal == 0 && exit.Failure == "" {
		r.log.Info("rank completed", "rank", number)
	} else {
		r.log.Warn("rank ended", "rank", number, "code", exit.Code, "signal", exit.Signal, "failure", exit.Failure)
	}
	rank.Exited(exit)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.runs, rank.Number) // not before: who stops all waits for those that are here
}

func (r *ranks) exec(rank *client.Rank, one *run) *musterv1.Exit {
	order := rank.Order
	fail := func(err error) *musterv1.Exit {
		return &musterv1.Exit{Code: codeCannotRun, Failure: err.Error()}
	}
	exec := order.GetExec()
	if exec == nil {
		return fail(errors.New("the world has no program for a host to run: its procs join by themselves"))
	}
	env, err := environment(os.Environ(), r.agent.cfg.Servers, order, newRunName())
	if err != nil {
		return fail(err)
	}
	path := logPath(r.agent.cfg.LogDir, r.world, order.GetGeneration(), order.GetProc().GetRank())
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fail(fmt.Errorf("its log: %w", err))
	}
	var from int64
	if info, err := os.Stat(path); err == nil {
		from = info.Size() // started again: what an earlier run wrote is not how this one ended
	}
	s := spec{Program: exec.GetProgram(), Args: exec.GetArgs(), Env: env, Dir: exec.GetWorkingDirectory(), Log: path}
	exit := one.keep(r.agent.cfg.State, s, func() {
		r.log.Info("rank started", "rank", order.GetProc().GetRank(), "log", path)
		rank.Started()
	}, func(what string) {
		r.log.Error("what a rank has left cannot be ended by this agent: end it by hand", "rank", order.GetProc().GetRank(), "left", what)
	})
	exit.LastLines = lastLinesOf(path, from)
	return exit
}

// logPath is where the output of a rank goes.
func logPath(dir, world string, generation uint64, rank uint32) string {
	return filepath.Join(dir, world, strconv.FormatUint(generation, 10), strconv.FormatUint(uint64(rank), 10)+".log")
}

// StopRank asks a program to end.
func (r *ranks) StopRank(rank *client.Rank, timeout time.Duration, reason string) {
	if one := r.run(rank.Number); one != nil {
		r.log.Info("rank is asked to end", "rank", rank.Order.GetProc().GetRank(), "timeout", timeout, "reason", reason)
		one.stop(timeout)
	}
}

// Kill ends a program that must not run.
func (r *ranks) Kill(rank *client.Rank, reason string) {
	if one := r.run(rank.Number); one != nil {
		r.log.Warn("rank must not run here any more", "rank", rank.Order.GetProc().GetRank(), "reason", reason)
		one.kill()
	}
}

func (r *ranks) run(number uint64) *run {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs[number]
}

// Stop ends what is left of the world.
func (r *ranks) Stop(ctx context.Context, order *musterv1.StopOrder) client.StopOutcome {
	r.log.Info("asked to stop", "reason", order.GetReason())
	return client.StopOutcome{ActorsStopped: r.stopAll(ctx, time.Duration(order.GetProcTimeoutNs()))}
}

// stopAll asks all programs to end and waits until they have. What has not when ctx ends is killed. It returns how many there were.
func (r *ranks) stopAll(ctx context.Context, timeout time.Duration) uint32 {
	all := r.all()
	for _, one := range all {
		one.stop(timeout)
	}
	for _, one := range all {
		select {
		case <-one.done:
		case <-ctx.Done():
			one.kill()
			<-one.done
		}
	}
	return uint32(len(all))
}

func (r *ranks) all() []*run {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*run
	for _, one := range r.runs {
		all = append(all, one)
	}
	return all
}

// refuse has nothing started any more.
func (r *ranks) refuse() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// close kills what runs and waits for it. Nothing is started any more.
func (r *ranks) close() {
	r.refuse()
	for _, one := range r.all() {
		one.kill()
	}
	r.running.Wait()
	r.agent.cfg.Ports.release(r.world)
}
