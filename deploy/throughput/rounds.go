package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"muster/deploy/fleet"
)

const (
	// callers wait for an answer at once, over so many connections.
	callers, connections = 256, 8
	// sessions are of so many procs each, all named by one message, or each by one of its own. A stream of etcd's keeps as many leases alive as
	// the latter.
	sessions, packedProcs, singleProcs = 256, 64, 16
	// watchers are told of pacedRate events a second, which is little, and of fullRate, which is more than can be made, for so long.
	watchers, pacedRate, fullRate, watchFor = 100, 100, 20_000, 3 * time.Second
	// roundProcs report and are kept alive every roundInterval, with a lease of roundLease, for roundFleet, half way through which a share of them
	// dies. Twice the interval and the grace of the servers fit in the lease.
	roundProcs                            = 20_000
	roundInterval, roundLease, roundFleet = 2 * time.Second, 6 * time.Second, 8 * time.Second
	roundDie                              = "0.01"
	// roundMemory is how long leases are kept alive whose memory is looked at.
	roundMemory = 5 * time.Second
	// roundLimit bounds each measurement.
	roundLimit = 10 * time.Minute

	mib = 1 << 20
)

// stores are the log stores that we have, the first of which is the default.
var stores = []string{"boltdb", "wal"}

// load is one command line that measures, and the name of what it gives.
type load struct {
	name string
	args []string
}

// kind is what is measured of us, with some of the log stores, and what of etcd comes next to it.
type kind struct {
	ours   load
	stores []string // nil: the default one, and the name does not say it
	theirs []load
}

// kinds are all that is a load, in the order in which a round measures it: what is put beside each other is measured one behind the other.
func (b *bench) kinds() []kind {
	lasting := func(d time.Duration, args ...string) []string { return append(args, "--duration", d.String()) }
	calling := func(n int, args ...string) []string {
		return lasting(b.duration, append(args, "--callers", strconv.Itoa(n))...)
	}
	etcd := func(what string, n int) []string { return calling(n, "load", "--what", what) }
	reports := func(procs int, args ...string) []string {
		return lasting(b.duration, append([]string{"reports", "--sessions", strconv.Itoa(sessions), "--procs", strconv.Itoa(procs)}, args...)...)
	}
	keepalive := append(etcd("keepalive", sessions), "--leases", strconv.Itoa(singleProcs))
	watch := func(rate int, args ...string) []string {
		return lasting(watchFor, append(args, "--watchers", strconv.Itoa(watchers), "--rate", strconv.Itoa(rate))...)
	}
	return []kind{
		{load{"joins", calling(callers, "joins")}, stores, []load{{"etcd grant", etcd("grant", callers)}, {"etcd grant and put", etcd("grant-put", callers)}}},
		{load{"lone join", calling(1, "joins")}, stores, []load{{"etcd lone put", etcd("put", 1)}}},
		{load{"reports, packed", reports(packedProcs)}, stores, []load{{"etcd keepalive", keepalive}}},
		{load{"reports, single", reports(singleProcs, "--per-message", "1")}, stores, nil},
		{load{"watch, paced", watch(pacedRate, "watch")}, nil, []load{{"etcd watch, paced", watch(pacedRate, "load", "--what", "watch")}}},
		{load{"watch, full", watch(fullRate, "watch")}, nil, []load{{"etcd watch, full", watch(fullRate, "load", "--what", "watch")}}},
	}
}

// round measures everything once.
func (b *bench) round(ctx context.Context) error {
	for _, k := range b.kinds() {
		if k.stores == nil {
			if err := b.patiently(ctx, k.ours, func(l load) error { return b.ours(ctx, l, stores[0]) }); err != nil {
				return err
			}
		}
		for _, store := range k.stores {
			l := load{k.ours.name + ", " + store, k.ours.args}
			if err := b.patiently(ctx, l, func(l load) error { return b.ours(ctx, l, store) }); err != nil {
				return err
			}
		}
		for _, l := range k.theirs {
			l.args = append(l.args, "--connections", strconv.Itoa(connections))
			if err := b.theirs(ctx, l); err != nil {
				return err
			}
		}
	}
	if err := b.patiently(ctx, load{name: "fleet"}, func(l load) error { return b.dying(ctx, l.name) }); err != nil {
		return err
	}
	leases := func(d time.Duration, args ...string) []string {
		return append(args, "--leases", strconv.Itoa(roundProcs), "--ttl", roundLease.String(), "--interval", roundInterval.String(), "--duration", d.String())
	}
	if err := b.theirs(ctx, load{"etcd memory", leases(roundMemory, "memory")}); err != nil {
		return err
	}
	return b.theirs(ctx, load{"etcd expiry", leases(roundFleet, "expiry", "--die", roundDie)})
}

// patiently measures once more what has failed once, as where the disk of a busy machine hung for seconds, and tells it: all that was measured
// before is not to be lost. Between two measurements a Ctrl-C ends it.
func (b *bench) patiently(ctx context.Context, l load, measure func(load) error) error {
	for again := false; ; again = true {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		fmt.Printf("== %s\n", l.name)
		err := measure(l)
		if err == nil || ctx.Err() != nil || again {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s has failed and is measured once more: %v\n", l.name, err)
		b.again = append(b.again, l.name)
	}
}

// play runs three fresh servers with some flags, as etcd's are, and ends them behind what is done with them.
func (b *bench) play(ctx context.Context, limit time.Duration, flags []string, do func(context.Context, *fleet.Fleet) error) error {
	if err := context.Cause(ctx); err != nil { // a Ctrl-C before it
		return err
	}
	return fleet.Play(b.muster, false, limit, func(ctx context.Context, f *fleet.Fleet) error {
		f.Flags = flags
		if _, err := f.StartServers(ctx); err != nil {
			return err
		}
		if err := do(ctx, f); err != nil {
			return err
		}
		return f.EndServers(ctx)
	})
}

// ours measures a load on three servers with a log store, and what they use.
func (b *bench) ours(ctx context.Context, l load, store string) error {
	return b.play(ctx, roundLimit, []string{"--log-store", store}, func(ctx context.Context, f *fleet.Fleet) error {
		args := append([]string{"bench"}, l.args...)
		args = append(args, "--keep", "--servers", f.Servers[0].Address, "--connections", strconv.Itoa(connections)) // all goes with the servers
		var got struct {
			figure
			window
		}
		asked, stop := time.Now(), watchUsage(ctx, f)
		err := fleet.Measured(ctx, &got, b.muster, args...)
		samples := stop()
		if err != nil {
			return err
		}
		used, err := got.use(samples, asked)
		if err != nil {
			return err
		}
		got.CPU, got.Resident = used.micros(got.PerSecond), round(used.meanResident/mib)
		b.keep(l.name, got.figure)
		return nil
	})
}

// dying measures a fleet some of which die on three servers with the default log store.
func (b *bench) dying(ctx context.Context, name string) error {
	return b.play(ctx, roundLimit, nil, func(ctx context.Context, f *fleet.Fleet) error {
		before, err := usageOf(ctx, f)
		if err != nil {
			return err
		}
		lived, err := live(ctx, f)
		if err != nil {
			return err
		}
		got, used, err := b.fleetOf(ctx, f, roundProcs, roundFleet, "--interval", roundInterval.String(), "--lease", roundLease.String(), "--die", roundDie, "--keep")
		if err != nil {
			return err
		}
		lives, err := live(ctx, f)
		if err != nil {
			return err
		}
		kept := figure{
			PerSecond: got.PerSecond, CPU: used.micros(got.PerSecond), Resident: round(used.meanResident / mib), Detection: got.Detection,
			counts: counts{FalseExpiries: got.FalseExpiries, Undetected: got.Undetected, Brakes: got.Brakes},
		}
		kept.HeapOf, kept.ResidentOf = perProc(lives, lived, roundProcs), perProc(used.resident, before.resident, roundProcs)
		b.keep(name, kept)
		return nil
	})
}

// keep keeps a figure of ours, and what must not have happened.
func (b *bench) keep(name string, f figure) {
	b.all[name] = append(b.all[name], f)
	if f.counts != (counts{}) {
		b.broken = append(b.broken, fmt.Sprintf("%s: %+v", name, f.counts))
	}
}

// theirs measures etcd, which starts its own nodes; nothing where it is not to be measured. What happens to it that should not is in its own
// last line, and is told, not judged.
func (b *bench) theirs(ctx context.Context, l load) error {
	if b.etcd == "" {
		return nil
	}
	return b.patiently(ctx, l, func(l load) error {
		limited, cancel := context.WithTimeoutCause(ctx, roundLimit, fmt.Errorf("it took longer than %v", roundLimit))
		defer cancel()
		var got figure
		if err := fleet.Measured(limited, &got, b.etcd, l.args...); err != nil {
			return errors.Join(context.Cause(limited), err)
		}
		b.all[l.name] = append(b.all[l.name], got)
		return nil
	})
}
