package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
)

// JoinsConfig is of a load of joins, each a request and an answer of its own, which a majority has on its disks when it comes.
type JoinsConfig struct {
	Target
	// Callers are those who wait for an answer at once.
	Callers int
	// Count and Duration bound it, whichever comes first.
	Count    int
	Duration time.Duration
}

// Joins is what was measured.
type Joins struct {
	Joins     int     `json:"joins"` // acknowledged
	Failed    int     `json:"failed"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	Spread            // of one join, in milliseconds
}

// MeasureJoins has members join a world of their own, and removes it.
func MeasureJoins(ctx context.Context, cfg JoinsConfig) (result Joins, err error) {
	t, err := cfg.aim(ctx)
	if err != nil {
		return Joins{}, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	world, err := t.world(ctx, "bench-joins")
	if err != nil {
		return Joins{}, err
	}
	loading, cancel := context.WithTimeout(ctx, cfg.Duration)
	defer cancel()
	var next, done atomic.Int64
	var callers, telling sync.WaitGroup
	took := make([][]time.Duration, cfg.Callers)
	errs := make([]error, cfg.Callers)
	telling.Go(func() { t.report(loading, "joins", done.Load) })
	began := time.Now()
	for i := range cfg.Callers {
		member := musterv1grpc.NewMemberServiceClient(t.conns[i%len(t.conns)])
		callers.Go(func() {
			for rank := next.Add(1) - 1; rank < int64(cfg.Count) && loading.Err() == nil; rank = next.Add(1) - 1 {
				asked := time.Now()
				_, err := member.Join(ctx, t.joinOf(world, uint32(rank)))
				if err != nil {
					errs[i] = fmt.Errorf("join of rank %d: %w", rank, err)
					return
				}
				took[i] = append(took[i], time.Since(asked))
				done.Add(1)
			}
		})
	}
	callers.Wait()
	lasted := time.Since(began)
	cancel()
	telling.Wait()
	var all []time.Duration
	for i := range took {
		all = append(all, took[i]...)
		if errs[i] != nil {
			result.Failed++
		}
	}
	result.Joins, result.Seconds, result.PerSecond, result.Spread = len(all), lasted.Seconds(), rate(int64(len(all)), lasted), spreadOf(all)
	return result, errors.Join(errs...)
}

// joinOf is the join of a member that nobody runs.
func (t *target) joinOf(world string, rank uint32) *musterv1.JoinRequest {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	return &musterv1.JoinRequest{World: world, Rank: rank, Key: "bench", Machine: "bench", Address: "tcp:bench:1", Nonce: nonce, Issued: t.client.Number()}
}
