// Command torture runs ten worlds of eight plain programs each over four host agents while it kills the leader every three seconds, and
// then counts: every world has Completed, and every rank was started exactly once.
//
// The worlds are created over the whole time, so that kills meet their creation, their starts, their exits and their ends. A killed node
// is started again at once: a majority has to be there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
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
	// slack is what is given beyond the duration for the last worlds to end.
	slack = time.Minute
)

// program says that it begins, works for one to five seconds, and says that it has ended. A rank that is started twice says it twice.
const program = `echo begun; sleep $((1 + (RANK + SEED) % 5)); echo ended`

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
			return seeThrough(ctx, f, name, i, duration*time.Duration(i)/worlds+offset*time.Duration(i))
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
	for _, h := range agents { // they end by themselves, with success, as their worlds have completed
		if err := h.Process.Wait(context.WithoutCancel(ctx), fleet.Patience); err != nil {
			return err
		}
	}
	if err := count(agents, names); err != nil {
		return err
	}
	f.Say("each of %d ranks was started exactly once and ended by itself", worlds*ranks)
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

// seeThrough creates a world after a while and waits until it has completed.
func seeThrough(ctx context.Context, f *fleet.Fleet, name string, seed int, after time.Duration) error {
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if _, err := f.Command(ctx, "world", "create", name, "--procs", strconv.Itoa(ranks), "--procs-per-host", strconv.Itoa(ranks/hosts),
		"--env", fmt.Sprintf("SEED=%d", seed), "--timeout", "20s", "--", "sh", "-c", program); err != nil {
		return err
	}
	_, err := f.Command(ctx, "world", "wait", name, "--for", "completed", "--timeout", "30s")
	return err
}

// count looks at what the ranks wrote.
func count(agents []*fleet.Host, names []string) error {
	began, ended := regexp.MustCompile(`(?m)^begun$`), regexp.MustCompile(`(?m)^ended$`)
	var problems []error
	for _, name := range names {
		seen := map[string]bool{}
		for _, h := range agents {
			logs, err := h.Logs(name)
			if err != nil {
				return err
			}
			for _, log := range logs {
				text, err := os.ReadFile(log)
				if err != nil {
					return err
				}
				rank := log[strings.LastIndexByte(log, '/')+1:]
				if seen[rank] {
					problems = append(problems, fmt.Errorf("%s of %s ran on two hosts", rank, name))
				}
				seen[rank] = true
				if b, e := len(began.FindAll(text, -1)), len(ended.FindAll(text, -1)); b != 1 || e != 1 {
					problems = append(problems, fmt.Errorf("%s was started %d times and ended %d times: %s", log, b, e, text))
				}
			}
		}
		if len(seen) != ranks {
			problems = append(problems, fmt.Errorf("%d ranks of %s were started, not %d", len(seen), name, ranks))
		}
	}
	return errors.Join(problems...)
}
