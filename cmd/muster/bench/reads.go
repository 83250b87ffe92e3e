package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/rpcstatus"
)

// ReadsConfig is of a load of reads of one world.
type ReadsConfig struct {
	Target
	// Callers wait for an answer at once.
	Callers int
	// Procs of the world.
	Procs int
	// Duration is how long each kind of read is measured.
	Duration time.Duration
}

// Reads is what was measured, kind by kind.
type Reads struct {
	Procs int      `json:"procs"`
	Get   ReadKind `json:"get"`   // of the world without its procs, as of now
	Page  ReadKind `json:"page"`  // of the world with its procs, the first page of a view, as of now
	Stale ReadKind `json:"stale"` // of the world without its procs, of what followers have; of what the leader has where there are none
}

// ReadKind is one kind of read.
type ReadKind struct {
	Reads     int     `json:"reads"`  // answered
	Failed    int     `json:"failed"` // asked again, as after a change of the leader, which counts in their time
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	Spread            // of one read, in milliseconds
	// Histogram is of the same.
	Histogram Histogram `json:"-"`
}

// MeasureReads makes a world, has it read, and removes it.
func MeasureReads(ctx context.Context, cfg ReadsConfig) (result Reads, err error) {
	t, err := cfg.aim(ctx)
	if err != nil {
		return Reads{}, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	world, err := t.world(ctx, "bench-reads", quiet())
	if err != nil {
		return Reads{}, err
	}
	if _, _, err := t.joinAll(ctx, world, cfg.Procs, joinsAtOnce, nil); err != nil {
		return Reads{}, err
	}
	followers, err := t.followers(ctx)
	if err != nil {
		return Reads{}, err
	}
	result.Procs = cfg.Procs
	leader := func(i int) *grpc.ClientConn { return t.conn(i) }
	follower := func(i int) *grpc.ClientConn { return followers[i%len(followers)] }
	one := []string{world}
	for _, kind := range []struct {
		into *ReadKind
		what string
		conn func(int) *grpc.ClientConn
		ask  *musterv1.ViewRequest
	}{
		{&result.Get, "gets", leader, &musterv1.ViewRequest{Worlds: one, OmitProcs: true}},
		{&result.Page, "pages", leader, &musterv1.ViewRequest{Worlds: one}},
		{&result.Stale, "stale reads", follower, &musterv1.ViewRequest{Worlds: one, OmitProcs: true, Stale: true}},
	} {
		if err := t.reads(ctx, cfg, kind.into, kind.what, kind.conn, kind.ask); err != nil {
			return result, err
		}
	}
	return result, nil
}

// reads measures one kind. An answer without the world is an error: it would be quick.
func (t *target) reads(ctx context.Context, cfg ReadsConfig, into *ReadKind, what string, conn func(int) *grpc.ClientConn, ask *musterv1.ViewRequest) error {
	var failed atomic.Int64
	took, _, lasted, err := t.load(ctx, cfg.Callers, math.MaxInt64, cfg.Duration, what, func(ctx context.Context, caller int, _ int64) error {
		ctx, cancel := context.WithTimeout(ctx, writePatience)
		defer cancel()
		for {
			view, err := musterv1grpc.NewSystemServiceClient(conn(caller)).View(ctx, ask)
			switch {
			case err == nil && (len(view.GetWorlds()) != 1 || view.Worlds[0].GetJoined() != uint32(cfg.Procs)):
				return fmt.Errorf("%s: not one world of %d procs was read, but %v", what, cfg.Procs, view.GetWorlds())
			case err == nil:
				return nil
			}
			failed.Add(1)
			if !rpcstatus.Transient(err) || rest(ctx, followPause) != nil || t.follow(ctx) != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
	})
	*into = ReadKind{
		Reads: len(took), Failed: int(failed.Load()), Seconds: lasted.Seconds(), PerSecond: rate(int64(len(took)), lasted), Spread: spreadOf(took),
		Histogram: histogramOf(took),
	}
	return err
}

// followers are connections to all followers, those of the leader where there is none.
func (t *target) followers(ctx context.Context) (all []*grpc.ClientConn, err error) {
	status, err := t.client.Cluster().Status(ctx, &musterv1.StatusRequest{})
	if err != nil {
		return nil, err
	}
	for _, node := range status.GetNodes() {
		if node.GetRole() != musterv1.NodeStatus_NODE_ROLE_FOLLOWER {
			continue
		}
		conns, err := t.at(node.GetAddress())
		if err != nil {
			return nil, err
		}
		all = append(all, conns...)
	}
	if all == nil {
		return []*grpc.ClientConn{t.conn(0)}, nil
	}
	return all, nil
}
