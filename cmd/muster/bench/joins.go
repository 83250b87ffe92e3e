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
	// Keep leaves the members and their world in the cluster.
	Keep bool
}

// Joins is what was measured.
type Joins struct {
	Joins  int `json:"joins"` // acknowledged
	Failed int `json:"failed"`
	Window
	PerSecond float64 `json:"per_second"`
	Spread            // of one join, in milliseconds
	// Histogram is of the same.
	Histogram Histogram `json:"-"`
}

// MeasureJoins has members join a world of their own, and removes it unless it is to be kept.
func MeasureJoins(ctx context.Context, cfg JoinsConfig) (result Joins, err error) {
	t, err := cfg.aim(ctx)
	if err != nil {
		return Joins{}, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	world, err := t.world(ctx, "bench-joins", quiet())
	if err != nil {
		return Joins{}, err
	}
	began := time.Now()
	took, failed, lasted, err := t.load(ctx, cfg.Callers, int64(cfg.Count), cfg.Duration, "joins", func(ctx context.Context, caller int, rank int64) error {
		_, err := musterv1grpc.NewMemberServiceClient(t.conn(caller)).Join(ctx, t.joinOf(world, uint32(rank)))
		if err != nil {
			return fmt.Errorf("join of rank %d: %w", rank, err)
		}
		return nil
	})
	if cfg.Keep && err == nil {
		t.worlds = nil
	}
	return Joins{
		Joins: len(took), Failed: failed, Window: t.window(began, lasted), PerSecond: rate(int64(len(took)), lasted), Spread: spreadOf(took),
		Histogram: histogramOf(took),
	}, err
}

// load has so many callers do something until the time is over, or it was done so often; each waits for what it has begun, and ends with its
// first error; of many errors a few are told. do is given the caller and the number of what is to be done, both from 0 on.
func (t *target) load(ctx context.Context, callers int, count int64, d time.Duration, what string, do func(ctx context.Context, caller int, n int64) error) (
	took []time.Duration, failed int, lasted time.Duration, err error,
) {
	loading, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var next, done atomic.Int64
	var calling, telling sync.WaitGroup
	each := make([][]time.Duration, callers)
	errs := make([]error, callers)
	telling.Go(func() { t.report(loading, what, done.Load, goal{count, d}) })
	began := time.Now()
	for i := range callers {
		calling.Go(func() {
			for n := next.Add(1) - 1; n < count && loading.Err() == nil; n = next.Add(1) - 1 {
				asked := time.Now()
				if errs[i] = do(ctx, i, n); errs[i] != nil {
					return
				}
				each[i] = append(each[i], time.Since(asked))
				done.Add(1)
			}
		})
	}
	calling.Wait()
	lasted = time.Since(began)
	cancel()
	telling.Wait()
	var told []error
	for i := range each {
		took = append(took, each[i]...)
		if errs[i] != nil {
			failed++
			told = append(told, errs[i])
		}
	}
	return took, failed, lasted, errors.Join(told[:min(len(told), maxErrors)]...)
}

// joinOf is the join of a member that nobody runs.
func (t *target) joinOf(world string, rank uint32) *musterv1.JoinRequest {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	return &musterv1.JoinRequest{World: world, Rank: rank, Key: "bench", Machine: "bench", Address: "tcp:bench:1", Nonce: nonce, Issued: t.client.Number()}
}
