// Command etcdbench measures what Muster is compared with, three etcd nodes with default settings: the time from the last acknowledged put
// before the leader is killed to the first after; how many leases they grant, with and without a key, how many puts and keepalives they take,
// and how soon watchers are told; what a lease with a key costs them in memory; and how late leases expire. It is a module of its own, which
// Muster does not need.
//
//	etcdbench failover --trials 15
//	etcdbench load --what grant --callers 256 --duration 5s
//	etcdbench load --what watch --watchers 100 --rate 100
//	etcdbench memory --leases 20000
//	etcdbench expiry --leases 10000 --ttl 6s --interval 2s --die 0.01
//
// The last line is JSON. What the nodes use is read below /proc, so it runs on Linux. Whatever becomes of it, Ctrl-C too, no node and no
// directory is left behind.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := command(ctx, os.Args[1], os.Args[2:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcdbench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, name string, args []string) error {
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	switch name {
	case "node":
		n := node{}
		flags.StringVar(&n.name, "name", "", "name of the node")
		flags.StringVar(&n.dir, "data-dir", "", "directory for its data")
		flags.StringVar(&n.client, "client", "", "URL for clients")
		flags.StringVar(&n.peer, "peer", "", "URL for peers")
		flags.StringVar(&n.cluster, "cluster", "", "all nodes: name=URL,…")
		_ = flags.Parse(args)
		return n.run()
	case "failover":
		trials := flags.Int("trials", 15, "how often")
		_ = flags.Parse(args)
		return failover(ctx, *trials)
	case "load":
		l := load{}
		what := flags.String("what", "grant", "grant, grant-put, put, keepalive or watch")
		flags.IntVar(&l.callers, "callers", 256, "who wait for an answer at once")
		flags.IntVar(&l.connections, "connections", 8, "connections to the leader")
		flags.IntVar(&l.leases, "leases", 1, "of each caller, with --what keepalive: asked for one behind the other, awaited together")
		flags.DurationVar(&l.duration, "duration", 5*time.Second, "how long")
		flags.IntVar(&l.watchers, "watchers", 100, "on all nodes, with --what watch")
		flags.IntVar(&l.rate, "rate", 100, "events that are made a second, with --what watch")
		_ = flags.Parse(args)
		return l.run(ctx, *what)
	case "memory":
		f := fleet{}
		f.flags(flags, 20_000, 10*time.Second, 3*time.Second, 5*time.Second)
		_ = flags.Parse(args)
		return f.memory(ctx)
	case "expiry":
		f := fleet{}
		f.flags(flags, 10_000, 6*time.Second, 2*time.Second, 8*time.Second)
		flags.Float64Var(&f.die, "die", 0.01, "share of the leases that are not kept alive from half the time on, above 0 to 1")
		_ = flags.Parse(args)
		return f.expiry(ctx)
	default:
		usage()
		return nil
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "etcdbench failover [--trials N], load [--what grant], memory [--leases N], expiry [--leases N], "+
		"or node …, which those start; -h behind one of them tells the rest")
	os.Exit(2)
}
