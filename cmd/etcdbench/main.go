// Command etcdbench measures what Muster is compared with: three etcd nodes with default settings whose leader is killed, trial after
// trial, and the time from the last acknowledged put before to the first after. It is a module of its own, which Muster does not need.
//
//	etcdbench failover --trials 15
//
// The last line is JSON.
package main

import (
	"flag"
	"fmt"
	"os"
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
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcdbench:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "etcdbench failover [--trials N], or etcdbench node …, which failover starts")
	os.Exit(2)
}
