package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/rpcstatus"
)

const (
	// stateWorld is how many procs a world of a state has at most.
	stateWorld = 10_000
	// probePause is between two writes of the prober.
	probePause = 2 * time.Millisecond
	// probeFlow is how many of them are to be acknowledged before and behind what is measured.
	probeFlow = 5
)

// StateConfig is of a state of a size, which is saved and maybe restored.
type StateConfig struct {
	Target
	// Procs that are added to what the cluster has.
	Procs int
	// Restore has the cluster's state replaced by what was saved just before.
	Restore bool
	// Keep leaves the procs and their worlds in the cluster.
	Keep bool
	// Dir is where the file is written, which is removed afterwards; empty = the system's directory for temporary files.
	Dir string
}

// State is what was measured.
type State struct {
	Procs int `json:"procs"`
	// Bytes is the size of the file, Save how long it took until it was on the disk, Restore until the cluster said that it is in force;
	// 0 where it was not asked for. Both in seconds.
	Bytes   int64   `json:"bytes"`
	Save    float64 `json:"save_s"`
	Restore float64 `json:"restore_s"`
	// MaxPause is the longest time between two acknowledged writes of somebody who wrote all the time, in milliseconds: the greater of
	// those while it was saved and restored. While a restore is staged, writes are refused.
	MaxPause     float64 `json:"max_pause_ms"`
	SavePause    float64 `json:"save_pause_ms"`
	RestorePause float64 `json:"restore_pause_ms"`
	Writes       int     `json:"writes"` // acknowledged meanwhile
	Spread               // of one of them, in milliseconds
	// Histogram is of the same.
	Histogram Histogram `json:"-"`
}

// MeasureState has procs join, saves the state, restores it where that is asked for, and removes the procs unless they are to be kept.
func MeasureState(ctx context.Context, cfg StateConfig) (result State, err error) {
	t, err := cfg.aim(ctx)
	if err != nil {
		return State{}, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	result.Procs = cfg.Procs
	if err := t.fill(ctx, cfg.Procs); err != nil {
		return State{}, err
	}
	if cfg.Keep {
		t.worlds = nil
	}
	probed, err := t.world(ctx, "bench-probe", quiet())
	if err != nil {
		return State{}, err
	}
	probing, stop := context.WithCancelCause(ctx)
	p := &prober{t: t, world: probed, acked: make(chan struct{}), giveUp: stop}
	var running sync.WaitGroup
	running.Go(func() { p.run(probing) })
	running.Go(func() { t.report(probing, "writes", p.writes.Load, goal{}) })
	err = result.measure(probing, cfg, p)
	stop(nil)
	running.Wait()
	result.MaxPause = max(result.SavePause, result.RestorePause)
	result.Writes, result.Spread, result.Histogram = len(p.took), spreadOf(p.took), histogramOf(p.took)
	return result, err
}

// measure saves and restores while somebody writes.
func (r *State) measure(ctx context.Context, cfg StateConfig, p *prober) (err error) {
	file, err := os.CreateTemp(cfg.Dir, "muster-bench-*.state")
	if err != nil {
		return fmt.Errorf("the state file: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	var lasted time.Duration
	lasted, r.SavePause, err = p.during(ctx, func() error {
		if r.Bytes, err = p.t.client.Cluster().SaveState(ctx, file); err != nil {
			return err
		}
		return file.Sync()
	})
	r.Save = seconds(lasted)
	if err != nil || !cfg.Restore {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("the state file: %w", err)
	}
	lasted, r.RestorePause, err = p.during(ctx, func() error {
		_, err := p.t.client.Cluster().RestoreState(ctx, file, false)
		return err
	})
	r.Restore = seconds(lasted)
	return err
}

// seconds is a duration with three decimals.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

// fill has so many procs join, in worlds that are not too large.
func (t *target) fill(ctx context.Context, procs int) error {
	var joined atomic.Int64
	telling, told := context.WithCancel(ctx)
	var progress sync.WaitGroup
	progress.Go(func() { t.report(telling, "joins", joined.Load, goal{count: int64(procs)}) })
	defer progress.Wait()
	defer told()
	for ; procs > 0; procs -= min(procs, stateWorld) {
		world, err := t.world(ctx, "bench-state", quiet())
		if err != nil {
			return err
		}
		if _, _, err := t.joinAll(ctx, world, min(procs, stateWorld), joinsAtOnce, &joined); err != nil {
			return err
		}
	}
	return nil
}

// prober writes one after the other: members that join a world of their own.
type prober struct {
	t      *target
	world  string
	writes atomic.Int64
	took   []time.Duration // read when it has ended
	giveUp context.CancelCauseFunc

	mu      sync.Mutex
	last    time.Time     // the last acknowledgement
	longest time.Duration // between two, since the last call of reset
	acked   chan struct{} // closed and made anew at each acknowledgement
}

// run writes until ctx ends. What is refused for a while is asked for again.
func (p *prober) run(ctx context.Context) {
	for rank := uint32(0); ctx.Err() == nil; rank++ {
		q := p.t.joinOf(p.world, rank)
		asked := time.Now()
		for {
			limited, cancel := context.WithTimeout(ctx, writePatience)
			_, err := musterv1grpc.NewMemberServiceClient(p.t.conn(0)).Join(limited, q)
			cancel()
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				break
			}
			refusal := rpcstatus.Refusal(err)
			switch {
			case refusal.GetNumber() > q.Issued: // the numbers began anew: that is how a write is told that was asked for before
				q.Issued = refusal.GetNumber()
			case !rpcstatus.Transient(err):
				p.giveUp(fmt.Errorf("write %d: %w", rank, err))
				return
			case refusal.GetReason() != musterv1.Reason_REASON_RESTORING:
				_ = p.t.follow(ctx) // or it is asked where the leader was
			}
			_ = rest(ctx, probePause)
		}
		p.took = append(p.took, time.Since(asked))
		p.ack()
		_ = rest(ctx, probePause)
	}
}

func (p *prober) ack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.last.IsZero() {
		p.longest = max(p.longest, now.Sub(p.last))
	}
	p.last = now
	p.writes.Add(1)
	close(p.acked)
	p.acked = make(chan struct{})
}

// during does something between writes that are acknowledged, and tells how long it took and the longest pause of them in milliseconds.
func (p *prober) during(ctx context.Context, do func() error) (lasted time.Duration, pause float64, err error) {
	if err := p.flow(ctx); err != nil {
		return 0, 0, err
	}
	p.mu.Lock()
	p.longest = 0
	p.mu.Unlock()
	began := time.Now()
	if err := do(); err != nil {
		return 0, 0, err
	}
	lasted = time.Since(began)
	if err := p.flow(ctx); err != nil {
		return 0, 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return lasted, ms(p.longest), nil
}

// flow waits for some acknowledgements.
func (p *prober) flow(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cleanupPatience, fmt.Errorf("no write was acknowledged within %v", cleanupPatience))
	defer cancel()
	for range probeFlow {
		p.mu.Lock()
		acked := p.acked
		p.mu.Unlock()
		select {
		case <-acked:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
