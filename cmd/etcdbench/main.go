// Command etcdbench measures what Muster is compared with, three etcd nodes with default settings: the time from the last acknowledged put
// before the leader is killed to the first after, and how many leases they grant, with and without a key, how many puts and keepalives they
// take. It is a module of its own, which Muster does not need.
//
//	etcdbench failover --trials 15
//	etcdbench load --what grant --callers 256 --duration 5s
//
// The last line is JSON.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	var err error
	switch os.Args[1] {
	case "node":
		n := node{}
		flags.StringVar(&n.name, "name", "", "name of the node")
		flags.StringVar(&n.dir, "data-dir", "", "directory for its data")
		flags.StringVar(&n.client, "client", "", "URL for clients")
		flags.StringVar(&n.peer, "peer", "", "URL for peers")
		flags.StringVar(&n.cluster, "cluster", "", "all nodes: name=URL,…")
		_ = flags.Parse(os.Args[2:])
		err = n.run()
	case "failover":
		trials := flags.Int("trials", 15, "how often")
		_ = flags.Parse(os.Args[2:])
		err = failover(*trials)
	case "load":
		l := load{}
		what := flags.String("what", "grant", "grant, grant-put, put or keepalive")
		flags.IntVar(&l.callers, "callers", 256, "who wait for an answer at once")
		flags.IntVar(&l.connections, "connections", 8, "connections to the leader")
		flags.DurationVar(&l.duration, "duration", 5*time.Second, "how long")
		_ = flags.Parse(os.Args[2:])
		err = l.run(*what)
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcdbench:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "etcdbench failover [--trials N], etcdbench load [--what grant], or etcdbench node …, which those start")
	os.Exit(2)
}
