package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// What a rank process says on its standard output, a line each, when it has come so far.
const (
	saidJoined    = "joined"
	saidCounting  = "counting"
	saidCounted   = "counted"
	saidDelivered = "delivered"
	saidMerged    = "merged"
	saidRejoined  = "joined again"
	saidStopped   = "stopped"
)

// errToldToStop is why a rank stops that has got a stop order.
var errToldToStop = errors.New("told to stop")

// rank is one rank process.
type rank struct {
	servers string
	world   string
	rank    int
	ranks   int
	source  string // empty: it only is there
	result  string // where rank 0 writes the merged count
}

// rankMain is the program "demo rank": it joins its world, does its work, and stays a member until it is told to stop.
func rankMain(args []string) error {
	r := &rank{}
	flags := flag.NewFlagSet("rank", flag.ContinueOnError)
	flags.StringVar(&r.servers, "servers", "", "addresses of the servers, separated by commas")
	flags.StringVar(&r.world, "world", "", "world to join")
	flags.IntVar(&r.rank, "rank", 0, "rank in it")
	flags.IntVar(&r.ranks, "ranks", 1, "how many ranks there are")
	flags.StringVar(&r.source, "source", "", "directory whose Go files are to be counted")
	flags.StringVar(&r.result, "result", "", "file for the merged count")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return r.run()
}

func (r *rank) run() error {
	muster, err := client.New(client.Config{
		Servers: strings.Split(r.servers, ","),
		Logger:  hclog.New(&hclog.LoggerOptions{Name: fmt.Sprintf("%s[%d]", r.world, r.rank), Level: hclog.Debug, Output: os.Stderr}),
	})
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	defer muster.Close() // ends the member, if nothing else has
	// Only rank 0 listens; the others find it through Muster.
	var listener net.Listener
	address := ""
	if r.source != "" && r.rank == 0 {
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		defer listener.Close()
		address = "tcp:" + listener.Addr().String()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	member, err := muster.Join(ctx, client.MemberConfig{
		World: r.world, Rank: uint32(r.rank), Address: address,
		OnRejoin: func(*musterv1.ProcRef) { fmt.Println(saidRejoined) },
		Handler: client.StopFunc(func(_ context.Context, order *musterv1.StopOrder) client.StopOutcome {
			cancel(fmt.Errorf("%w: %s", errToldToStop, order.GetReason()))
			return client.StopOutcome{}
		}),
	})
	if err != nil {
		return err
	}
	fmt.Println(saidJoined)
	watching.Go(func() {
		<-member.Done()
		cancel(errors.New("not a member any more"))
	})

	if r.source != "" {
		if err := r.work(ctx, muster.Cluster(), listener, member.Generation()); err != nil {
			return err
		}
	}
	<-member.Done()
	var ended *client.Ended
	if !errors.As(member.Err(), &ended) || ended.Kind != musterv1.Verdict_KIND_ENDED || !errors.Is(context.Cause(ctx), errToldToStop) {
		return fmt.Errorf("ended without being stopped: %w", member.Err())
	}
	fmt.Println(saidStopped)
	return nil
}

// work counts this rank's share and brings it to rank 0, which writes the sum.
func (r *rank) work(ctx context.Context, cluster *client.Cluster, listener net.Listener, generation uint64) error {
	files, err := sourceFiles(r.source)
	if err != nil {
		return err
	}
	fmt.Println(saidCounting)
	counts, err := countFiles(ctx, share(files, r.rank, r.ranks))
	if err != nil {
		return err
	}
	fmt.Println(saidCounted)
	own := part{Generation: generation, Rank: r.rank, Counts: counts}
	if r.rank != 0 {
		if err := r.bring(ctx, cluster, own); err != nil {
			return err
		}
		fmt.Println(saidDelivered)
		return nil
	}
	merged, err := collect(ctx, listener, own, r.ranks)
	if err != nil {
		return err
	}
	text, err := json.Marshal(merged)
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	if err := os.WriteFile(r.result, text, 0o600); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	fmt.Println(saidMerged)
	return nil
}

// bring delivers the part, again if need be: rank 0 may not listen yet, or may have come back elsewhere.
func (r *rank) bring(ctx context.Context, cluster *client.Cluster, p part) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	for {
		address, err := cluster.Address(ctx, r.world, 0)
		if err != nil {
			return err
		}
		if err = deliver(ctx, strings.TrimPrefix(address, "tcp:"), p); err == nil {
			return nil
		}
		fmt.Fprintf(os.Stderr, "again: %v\n", err)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
