package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"muster/deploy/fleet"
	musterv1 "muster/proto/muster/v1"
)

// deadline is for the whole demo. It takes less than half of that.
const deadline = 2 * time.Minute

func main() {
	if len(os.Args) > 1 && os.Args[1] == "member" {
		if err := memberMain(os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "member: %v\n", err)
			os.Exit(1)
		}
		return
	}
	muster := flag.String("muster", "./muster", "the muster binary")
	wordcount := flag.String("wordcount", ".build/wordcount", "the binary of deploy/wordcount")
	keep := flag.Bool("keep", false, "keep the directory with logs and data")
	flag.Parse()
	err := fleet.Play(*muster, *keep, deadline, func(ctx context.Context, f *fleet.Fleet) error {
		return (&demo{Fleet: f, wordcount: *wordcount}).play(ctx)
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: failed: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("demo: ok")
}

// demo is what the steps of the story share.
type demo struct {
	*fleet.Fleet
	wordcount string // the binary

	standby *members
	a, b    *fleet.Host
	// killed is the node that was killed; before is what standby was then, and acked what the writer has made of it since.
	killed *fleet.Server
	before *musterv1.ViewResponse
	writer *writer
	acked  []write
	// saved is what was in the state when it was saved.
	saved *musterv1.ViewResponse
}

// play is the story.
func (d *demo) play(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.startCluster,
		d.startStandby,
		d.createWords,
		d.killLeader,
		d.restartKilled,
		d.checkWords,
		d.checkNobodyNoticed,
		d.failRank,
		d.killAgent,
		d.killWorker,
		d.saveState,
		d.stopStandby,
		d.loseEverything,
		d.startCluster,
		d.restoreState,
		d.stopCluster,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}
