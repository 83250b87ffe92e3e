// Command torture runs ten worlds of eight plain programs each over four host agents while it kills the leader every three seconds, and
// then counts: every world has Completed, every rank was started exactly once, all worlds ran at the same time, and the leader was killed
// often enough.
//
// The worlds are created over the first third of the time and end over the last, so that kills meet their creation, their starts, their
// exits and their ends. A killed node is started again at once: a majority has to be there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"muster/deploy/fleet"
)

const (
	worlds, ranks, hosts = 10, 8, 4
	// rest is between a kill and the next.
	rest = 3 * time.Second
	// offset puts the creations at different moments between two kills.
	offset = 310 * time.Millisecond
	// Of the kills that the duration has room for, so many percent have to happen: to find the next leader takes its time.
	enough = 75
	// slack is what is given beyond the duration for the last worlds to end.
	slack = time.Minute
)

// program says when it begins, works for BASE to BASE+SPREAD seconds, and says when it ends. A rank that is started twice says it twice.
const program = `echo begun $(date +%s); sleep $((BASE + (3 * RANK + 7 * SEED) % SPREAD)); echo ended $(date +%s)`

func main() {
	muster := flag.String("muster", "./muster", "the muster binary")
	duration := flag.Duration("duration", time.Minute, "how long leaders are killed")
	keep := flag.Bool("keep", false, "keep the directory with logs and data")
	flag.Parse()
	err := fleet.Play(*muster, *keep, *duration+slack, func(ctx context.Context, f *fleet.Fleet) error {
		return torture(ctx, f, *duration)
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "torture: failed: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("torture: ok")
}

func torture(ctx context.Context, f *fleet.Fleet, duration time.Duration) error {
	leader, err := f.StartServers(ctx)
	if err != nil {
		return err
	}
	f.Say("three servers are a cluster; %s leads", leader)
	var names []string
	for i := range worlds {
		names = append(names, fmt.Sprintf("w%d", i))
	}
	var agents []*fleet.Host
	for i := range hosts {
		h, err := f.StartHost(fmt.Sprintf("machine-%c", 'a'+i), names)
		if err != nil {
			return err
		}
		agents = append(agents, h)
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		g.Go(func() error {
			return seeThrough(ctx, f, name, i, duration)
		})
	}
	kills, killed := 0, errors.Join()
	for began := time.Now(); time.Since(began) < duration && killed == nil && ctx.Err() == nil; kills++ {
		killed = killOne(ctx, f)
	}
	if err := errors.Join(killed, g.Wait()); err != nil {
		return err
	}
	f.Say("all %d worlds are Completed; the leader was killed %d times", worlds, kills)
	if least := int(duration/rest) * enough / 100; kills < least {
		return fmt.Errorf("the leader was killed %d times in %v: at least %d were wanted", kills, duration, least)
	}
	for _, h := range agents { // they end by themselves, with success, as their worlds have completed
		if err := h.Process.Wait(context.WithoutCancel(ctx), fleet.Patience); err != nil {
			return err
		}
	}
	if err := count(agents, names); err != nil {
		return err
	}
	f.Say("each of %d ranks was started exactly once and ended by itself, and all worlds ran at the same time", worlds*ranks)
	return f.EndServers(context.WithoutCancel(ctx))
}

// killOne kills the leader, starts it again, and waits for the rest of the time.
func killOne(ctx context.Context, f *fleet.Fleet) error {
	next := time.After(rest)
	s, err := f.KillLeader(ctx)
	if err != nil {
		return err
	}
	f.Say("killed the leader %s", s.Name)
	if err := f.StartServer(s); err != nil {
		return err
	}
	select {
	case <-next:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// seeThrough creates a world in the first third of the time, and waits until it has completed: its ranks work for a third, up to two.
func seeThrough(ctx context.Context, f *fleet.Fleet, name string, seed int, duration time.Duration) error {
	third := duration / 3
	select {
	case <-time.After((third/worlds + offset) * time.Duration(seed)):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	seconds := int(third / time.Second)
	args := []string{"world", "create", name, "--procs", strconv.Itoa(ranks), "--procs-per-host", strconv.Itoa(ranks / hosts), "--timeout", "20s"}
	for _, v := range []string{fmt.Sprintf("SEED=%d", seed), fmt.Sprintf("BASE=%d", seconds), fmt.Sprintf("SPREAD=%d", max(1, seconds))} {
		args = append(args, "--env", v)
	}
	if _, err := f.Command(ctx, append(args, "--", "sh", "-c", program)...); err != nil {
		return err
	}
	_, err := f.Patiently(ctx, "world", "wait", name, "--for", "completed", "--timeout", (2*third + slack).String())
	return err
}
