package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"muster/deploy/fleet"
	musterv1 "muster/proto/muster/v1"
)

const (
	// sampleEvery is between two looks at what the servers use.
	sampleEvery = 500 * time.Millisecond
	// starting is left out of a window: a program that measures may take that long until it has begun to.
	starting = 200 * time.Millisecond
	// restartLook is between two looks at a node that has been started again.
	restartLook = 20 * time.Millisecond
	// mostLooks are taken at a heap until garbage has been collected, and sweeping more behind that.
	mostLooks, sweeping = 20_000, 10
)

// fleetSummary is what the last line says of a large fleet.
type fleetSummary struct {
	Procs         int     `json:"procs"`
	Seconds       float64 `json:"seconds"`
	FalseExpiries int     `json:"false_expiries"`
	P99Commit     float64 `json:"p99_commit_ms"`
	JoinSeconds   float64 `json:"join_seconds"`
	PerSecond     float64 `json:"per_second"` // reports of a proc
	// Cores is the processors that the three servers used together while all reported.
	Cores float64 `json:"cores"`
	// BytesPerProc is of the server that has most, as the leader does, which has the sessions: the most that lived on its heap while all reported, as of the
	// last collection of garbage (which may be from when the last few joined), less what did before.
	// ResidentPerProc is of one server, the mean of three: the least of its resident memory.
	BytesPerProc    float64 `json:"bytes_per_proc"`
	ResidentPerProc float64 `json:"resident_per_proc"`
}

// stateSummary is what it says of the state.
type stateSummary struct {
	Procs   int     `json:"procs"`
	Bytes   int64   `json:"bytes"`
	Save    float64 `json:"save_s"`
	Restore float64 `json:"restore_s"`
	// Restart is from the start of a follower that was killed until it serves and knows what the leader did.
	Restart      float64 `json:"restart_s"`
	MaxPause     float64 `json:"max_pause_ms"`
	SavePause    float64 `json:"save_pause_ms"`
	RestorePause float64 `json:"restore_pause_ms"`
}

// large measures a large fleet, and a state as large.
func (b *bench) large(ctx context.Context, procs int, duration time.Duration) (fleetOf fleetSummary, stateOf stateSummary, err error) {
	limit := 2*roundLimit + duration + time.Duration(procs)*time.Millisecond
	err = b.play(ctx, limit, nil, func(ctx context.Context, f *fleet.Fleet) (err error) {
		fleetOf, err = b.fleet(ctx, f, procs, duration)
		return err
	})
	if err != nil {
		return fleetOf, stateOf, err
	}
	err = b.play(ctx, limit, nil, func(ctx context.Context, f *fleet.Fleet) (err error) {
		stateOf, err = b.state(ctx, f, procs)
		return err
	})
	return fleetOf, stateOf, err
}

// usage is what the servers use at a moment: seconds of processors together, bytes that lived on the heap of the one that has most when garbage was
// collected last, and resident bytes of each on average.
type usage struct {
	at                  time.Time
	cpu, live, resident float64
}

func usageOf(ctx context.Context, f *fleet.Fleet) (u usage, err error) {
	for _, s := range f.Servers {
		v, err := s.Metrics(ctx, "process_cpu_seconds_total", "go_gc_heap_live_bytes", "process_resident_memory_bytes")
		if err != nil {
			return u, err
		}
		u.cpu += v[0]
		u.live = max(u.live, v[1])
		u.resident += v[2] / float64(len(f.Servers))
	}
	u.at = time.Now()
	return u, nil
}

// watchUsage looks at what the servers use until stop is called, which gives what was seen.
func watchUsage(ctx context.Context, f *fleet.Fleet) (stop func() []usage) {
	var samples []usage
	sampling, cancel := context.WithCancel(ctx)
	var sampler sync.WaitGroup
	sampler.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-sampling.Done():
				return
			}
			if u, err := usageOf(sampling, f); err == nil { // else it is looked again
				samples = append(samples, u)
			}
		}
	})
	return func() []usage {
		cancel()
		sampler.Wait()
		return samples
	}
}

// use is what the servers used for a while: cores together, the most that lived on a heap, and of what was resident of each on average the least and
// the mean.
type use struct{ cores, live, resident, meanResident float64 }

func useOf(samples []usage, from, to time.Time) (use, error) {
	var first, last usage
	seen, least := 0.0, use{resident: math.Inf(1)}
	for _, u := range samples {
		if u.at.Before(from) || u.at.After(to) {
			continue
		}
		if first.at.IsZero() {
			first = u
		}
		last, least.live, least.resident = u, max(least.live, u.live), min(least.resident, u.resident)
		seen++
		least.meanResident += (u.resident - least.meanResident) / seen
	}
	if !last.at.After(first.at) {
		return use{}, fmt.Errorf("what the servers use was not seen twice within %v", to.Sub(from))
	}
	least.cores = (last.cpu - first.cpu) / last.at.Sub(first.at).Seconds()
	return least, nil
}

// micros is the processor time for each of so many a second, in microseconds.
func (u use) micros(perSecond float64) float64 {
	if perSecond == 0 {
		return 0
	}
	return round(1e6 * u.cores / perSecond)
}

// live is what lives on the heaps of the servers, in bytes of one, the mean: see liveHeap.
func live(ctx context.Context, f *fleet.Fleet) (bytes float64, err error) {
	for _, s := range f.Servers {
		of, err := liveHeap(func() (collected, bytes float64, err error) {
			v, err := s.Metrics(ctx, "go_memstats_last_gc_time_seconds", "go_memstats_heap_alloc_bytes")
			if err != nil {
				return 0, 0, err
			}
			return v[0], v[1], nil
		})
		if err != nil {
			return 0, fmt.Errorf("the heap of %s: %w", s.Name, err)
		}
		bytes += of / float64(len(f.Servers))
	}
	return bytes, nil
}

// liveHeap looks at a heap until its garbage has been collected, which comes soon, as each look makes some; and then a few times more, while
// the collected is swept, for the least.
func liveHeap(look func() (collected, bytes float64, err error)) (least float64, err error) {
	before, _, err := look()
	if err != nil {
		return 0, err
	}
	least = math.Inf(1)
	for looks, behind := 0, 0; behind < sweeping; looks++ {
		collected, bytes, err := look()
		switch {
		case err != nil:
			return 0, err
		case collected != before:
			least = min(least, bytes)
			behind++
		case looks == mostLooks:
			return 0, fmt.Errorf("no garbage was collected while it was looked at %d times", looks)
		}
	}
	return least, nil
}

// perProc is how much more there is than before, for each of so many procs, in bytes of one.
func perProc(now, before float64, procs int) float64 {
	return math.Round((now - before) / float64(procs))
}

// window is when something was measured, as a last line tells it.
type window struct {
	Began   float64 `json:"began_ms"` // after it was asked for
	Seconds float64 `json:"seconds"`
}

// use is what the servers used in it, if the program that measured was started at asked.
func (w window) use(samples []usage, asked time.Time) (use, error) {
	began := asked.Add(time.Duration(w.Began * float64(time.Millisecond)))
	return useOf(samples, began.Add(starting), began.Add(time.Duration(w.Seconds*float64(time.Second))))
}

// measuredFleet is what a fleet says in its last line.
type measuredFleet struct {
	fleetSummary
	Began  float64 `json:"began_ms"`
	Brakes int     `json:"brakes"`
	// Of a fleet some of which die.
	Undetected int       `json:"undetected"`
	Detection  detection `json:"detection_ms"`
}

// fleetOf has a fleet join and report, and tells what the servers used while all reported.
func (b *bench) fleetOf(ctx context.Context, f *fleet.Fleet, procs int, duration time.Duration, flags ...string) (got measuredFleet, used use, err error) {
	asked, stop := time.Now(), watchUsage(ctx, f)
	args := []string{
		"bench", "fleet", "--servers", strings.Join(f.Addresses(), ","), "--procs", strconv.Itoa(procs), "--sessions", strconv.Itoa(min(100, procs)),
		"--duration", duration.String(),
	}
	err = fleet.Measured(ctx, &got, b.muster, append(args, flags...)...)
	samples := stop()
	if err != nil {
		return got, use{}, err
	}
	used, err = window{got.Began, got.Seconds}.use(samples, asked)
	return got, used, err
}

// fleet has a large fleet join and report.
func (b *bench) fleet(ctx context.Context, f *fleet.Fleet, procs int, duration time.Duration) (fleetSummary, error) {
	fmt.Printf("== fleet of %d\n", procs)
	before, err := usageOf(ctx, f)
	if err != nil {
		return fleetSummary{}, err
	}
	got, used, err := b.fleetOf(ctx, f, procs, duration, "--keep") // all goes with the servers
	if err != nil {
		return got.fleetSummary, err
	}
	got.Cores = round(used.cores)
	got.BytesPerProc, got.ResidentPerProc = perProc(used.live, before.live, procs), perProc(used.resident, before.resident, procs)
	return got.fleetSummary, nil
}

// state has a state saved and restored, and a follower killed and started again over it.
func (b *bench) state(ctx context.Context, f *fleet.Fleet, procs int) (got stateSummary, err error) {
	fmt.Printf("== state of %d\n", procs)
	err = fleet.Measured(ctx, &got, b.muster, "bench", "state", "--servers", strings.Join(f.Addresses(), ","), "--procs", strconv.Itoa(procs),
		"--restore", "--keep", "--dir", f.Dir)
	if err != nil {
		return got, err
	}
	leader, err := f.Leader(ctx)
	if err != nil {
		return got, err
	}
	follower := f.Servers[0]
	if follower == leader {
		follower = f.Servers[1]
	}
	if err := follower.Process.Kill(); err != nil {
		return got, err
	}
	known, began := f.Committed(ctx), time.Now()
	if err := f.StartServer(follower); err != nil {
		return got, err
	}
	if err := awaitApplied(ctx, f, follower, known); err != nil {
		return got, err
	}
	got.Restart = round(time.Since(began).Seconds())
	return got, nil
}

// awaitApplied waits until a node follows, and has applied the log up to index: as long as it takes, which is long where the state is large.
func awaitApplied(ctx context.Context, f *fleet.Fleet, s *fleet.Server, index uint64) error {
	for {
		_, nodes := f.Status(ctx)
		n := nodes[s.Name]
		if n.GetRole() == musterv1.NodeStatus_NODE_ROLE_FOLLOWER && n.GetProblem() == "" && n.GetLastContactMs() >= 0 && n.GetAppliedIndex() >= index {
			return nil
		}
		if err := f.Failed(); err != nil {
			return err
		}
		select {
		case <-time.After(restartLook):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to have caught up: %w", s.Name, context.Cause(ctx))
		}
	}
}

// round leaves two decimals.
func round(v float64) float64 { return math.Round(100*v) / 100 }
