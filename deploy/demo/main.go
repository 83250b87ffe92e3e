package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// deadline is for the whole demo. It takes less than a quarter of that.
const deadline = 90 * time.Second

func main() {
	if len(os.Args) > 1 && os.Args[1] == "rank" {
		if err := rankMain(os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "rank: %v\n", err)
			os.Exit(1)
		}
		return
	}
	muster := flag.String("muster", "./muster", "the muster binary")
	keep := flag.Bool("keep", false, "keep the directory with logs and data")
	flag.Parse()
	if err := run(*muster, *keep); err != nil {
		fmt.Fprintf(os.Stderr, "demo: failed: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("demo: ok")
}

// run plays the story and cleans up, whatever became of it.
func run(muster string, keep bool) error {
	// Children are to die with this process, which the kernel takes for the thread that started them: see dieWithParent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(interrupted, deadline, fmt.Errorf("it took longer than %v", deadline))
	defer cancel()

	muster, err := filepath.Abs(muster)
	if err != nil {
		return fmt.Errorf("the muster binary: %w", err)
	}
	dir, err := os.MkdirTemp("", "muster-demo-")
	if err != nil {
		return fmt.Errorf("temporary directory: %w", err)
	}
	d := &demo{muster: muster, dir: dir, began: time.Now(), processes: &processes{dir: dir}}
	err = d.play(ctx)
	if interrupted.Err() != nil {
		err = context.Cause(interrupted)
	} else if err != nil {
		d.processes.tails(os.Stderr)
	}
	err = errors.Join(err, d.processes.killAll(), d.disconnect())
	if keep {
		fmt.Fprintf(os.Stderr, "logs and data are kept in %s\n", dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// play is the story.
func (d *demo) play(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.startCluster,
		d.createWorlds,
		d.startRanks,
		d.killLeader,
		d.restartKilled,
		d.checkWords,
		d.checkNobodyNoticed,
		d.killWorker,
		d.saveState,
		d.stopWorlds,
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
