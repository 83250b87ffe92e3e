package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// watchersPerClient share connections, one to each node, as those of muster bench watch do.
	watchersPerClient = 16
	// lastEvents is how long the last events may take to arrive before they are lost.
	lastEvents = 10 * time.Second
	// watched is the prefix of the keys that are watched, and maxChanges bounds how many there are.
	watched    = "/bench/watch/"
	maxChanges = 1 << 20
)

// watchedKeys is what was measured: what muster bench watch tells of joins, told of puts.
type watchedKeys struct {
	Watchers int     `json:"watchers"`
	Events   int     `json:"events"` // that were made, each for every watcher
	Seconds  float64 `json:"seconds"`
	// Delivered is how many arrived, PerSecond how many a second; Lost did not, Doubled came twice to the same watcher.
	Delivered int     `json:"delivered"`
	PerSecond float64 `json:"per_second"`
	Lost      int     `json:"lost"`
	Doubled   int     `json:"doubled"`
	spread            // from asking for a put until its event is there, in milliseconds
	cost              // of an event that arrived
}

// keyWatcher is one of those who watch. Its fields are read when it has ended, arrived at any time.
type keyWatcher struct {
	arrived *atomic.Int64 // of all watchers
	sent    []atomic.Int64
	zero    time.Time // that sent is counted from

	seen    []bool // by number of the key
	took    []time.Duration
	doubled int
}

// watch has keys put that are watched on all nodes, evenly over the time. The nodes' use is of that time and of what they need for the last events.
func (l load) watch(ctx context.Context, c *cluster, clients []*clientv3.Client) (result watchedKeys, err error) {
	n := float64(l.rate) * l.duration.Seconds()
	if l.watchers < 1 || n < 1 || n > maxChanges {
		return result, fmt.Errorf("--watchers %d, --rate %d, --duration %v: give a watcher or more, and a rate and a duration that make 1 to %d events",
			l.watchers, l.rate, l.duration, maxChanges)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	sent, zero := make([]atomic.Int64, int(n)), time.Now()
	var arrived atomic.Int64
	var watchers []*keyWatcher
	var group []*clientv3.Client // of the watchers that share connections, one for each node
	for i := range l.watchers {
		if i%watchersPerClient == 0 {
			group = nil
			for _, n := range c.nodes {
				client, err := dial(1, n.client)
				if err != nil {
					return result, err
				}
				defer hangUp(client)
				group = append(group, client[0])
			}
		}
		w := &keyWatcher{arrived: &arrived, sent: sent, zero: zero, seen: make([]bool, len(sent))}
		watchers = append(watchers, w)
		events := group[i%len(group)].Watch(ctx, watched, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		if first, ok := <-events; !ok || !first.Created {
			return result, errors.Join(errors.New("a watch did not begin"), first.Err())
		}
		running.Go(func() {
			if err := w.run(events); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	var made int
	var lasted time.Duration
	use, err := c.during(ctx, func() (err error) {
		began := time.Now()
		if made, err = l.changes(ctx, clients, sent, zero); err == nil {
			err = awaitCount(ctx, &arrived, int64(made)*int64(l.watchers))
		}
		lasted = time.Since(began)
		return err
	})
	if err != nil {
		return result, orCause(ctx, err)
	}
	cancel(nil)
	running.Wait()
	return sumUp(watchers, made, lasted, use), nil
}

// sumUp is of watchers that have ended.
func sumUp(watchers []*keyWatcher, made int, lasted time.Duration, use used) watchedKeys {
	r := watchedKeys{Watchers: len(watchers), Events: made, Seconds: decimals(lasted.Seconds(), 3)}
	var took []time.Duration
	for _, w := range watchers {
		took = append(took, w.took...)
		r.Doubled += w.doubled
	}
	r.Delivered = len(took)
	r.Lost = made*len(watchers) - r.Delivered
	r.PerSecond, r.spread, r.cost = perSecond(r.Delivered, lasted), spreadOf(took), use.cost(r.Delivered)
	return r
}

// changes puts keys, evenly over the time, and tells how many it has. sent has when each was asked for.
func (l load) changes(ctx context.Context, clients []*clientv3.Client, sent []atomic.Int64, zero time.Time) (made int, err error) {
	putting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	atOnce := make(chan struct{}, l.callers)
	var puts sync.WaitGroup
	for began := time.Now(); made < len(sent) && time.Since(began) < l.duration; made++ {
		due := time.Duration(made) * time.Second / time.Duration(l.rate)
		if rest(putting, due-time.Since(began)) != nil {
			break
		}
		number := made
		atOnce <- struct{}{}
		puts.Go(func() {
			defer func() { <-atOnce }()
			sent[number].Store(int64(time.Since(zero)))
			if _, err := clients[number%len(clients)].Put(putting, watched+strconv.Itoa(number), "tcp:bench:1"); err != nil {
				cancel(fmt.Errorf("put %d: %w", number, err))
			}
		})
	}
	puts.Wait()
	return made, context.Cause(putting)
}

// awaitCount waits until so many have arrived, for a while.
func awaitCount(ctx context.Context, arrived *atomic.Int64, all int64) error {
	for began := time.Now(); arrived.Load() < all && time.Since(began) < lastEvents; {
		if err := rest(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// run notes what comes until it ends.
func (w *keyWatcher) run(events clientv3.WatchChan) error {
	for answer := range events {
		if err := answer.Err(); err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		for _, e := range answer.Events {
			w.event(string(e.Kv.Key))
		}
	}
	return nil
}

func (w *keyWatcher) event(key string) {
	number, err := strconv.Atoi(strings.TrimPrefix(key, watched))
	switch {
	case err != nil || number < 0 || number >= len(w.seen):
	case w.seen[number]:
		w.doubled++
	default:
		w.seen[number] = true
		w.took = append(w.took, time.Since(w.zero)-time.Duration(w.sent[number].Load()))
		w.arrived.Add(1)
	}
}
