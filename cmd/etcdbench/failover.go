package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// putTime is how long a put may take before it is sent again: a follower that has lost its leader would keep it for seconds.
	putTime = 200 * time.Millisecond
	// putPause is between an acknowledged put and the next.
	putPause = 2 * time.Millisecond
	// patience is for whatever is waited for.
	patience = 60 * time.Second
	// flowing is how many puts have to be acknowledged before and after a kill.
	flowing = 5
)

// writer puts one key after the other.
type writer struct {
	client *clientv3.Client

	mu   sync.Mutex
	acks []ack
}

type ack struct{ began, ended time.Time }

// run puts until ctx ends.
func (w *writer) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		began := time.Now()
		for !w.put(ctx, fmt.Sprintf("key-%d", n%64), fmt.Sprint(n)) && ctx.Err() == nil {
		}
		w.mu.Lock()
		w.acks = append(w.acks, ack{began, time.Now()})
		w.mu.Unlock()
		time.Sleep(putPause)
	}
}

func (w *writer) put(ctx context.Context, key, value string) bool {
	ctx, cancel := context.WithTimeout(ctx, putTime)
	defer cancel()
	_, err := w.client.Put(ctx, key, value)
	return err == nil
}

// flow waits until some puts are acknowledged that began at since or later.
func (w *writer) flow(ctx context.Context, since time.Time) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		w.mu.Lock()
		n := len(w.acks)
		ok := n > flowing && !w.acks[n-flowing].began.Before(since)
		w.mu.Unlock()
		if ok {
			return nil
		}
		if err := rest(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("no put is acknowledged")
}

// pause is the longest time between two acknowledged puts since from.
func (w *writer) pause(from time.Time) (longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.acks) - 1; i > 0 && w.acks[i].ended.After(from); i-- {
		longest = max(longest, w.acks[i].ended.Sub(w.acks[i-1].ended))
	}
	return longest
}

// failover kills the leader so often and tells how long the client's puts paused.
func failover(ctx context.Context, trials int) error {
	if trials < 1 {
		return fmt.Errorf("--trials %d: give 1 or more", trials)
	}
	return play(func(c *cluster) error {
		clients, err := dial(1, c.clients()...)
		defer hangUp(clients)
		if err != nil {
			return err
		}
		pauses, err := c.pauses(ctx, clients[0], trials)
		if err != nil {
			return orCause(ctx, err)
		}
		return tell(pauses)
	})
}

// pauses kills the leader so often.
func (c *cluster) pauses(ctx context.Context, client *clientv3.Client, trials int) (pauses []time.Duration, err error) {
	writing, stop := context.WithCancel(ctx)
	w := &writer{client: client}
	var running sync.WaitGroup
	running.Go(func() { w.run(writing) })
	defer running.Wait()
	defer stop()
	for i := range trials {
		leader, err := c.settled(ctx, client)
		if err == nil {
			err = w.flow(ctx, time.Now())
		}
		if err != nil {
			return nil, fmt.Errorf("trial %d: %w", i+1, err)
		}
		began := time.Now()
		c.kill(leader)
		if err := errors.Join(w.flow(ctx, time.Now()), c.start(leader)); err != nil {
			return nil, fmt.Errorf("trial %d: %w", i+1, err)
		}
		pause := w.pause(began)
		pauses = append(pauses, pause)
		fmt.Fprintf(os.Stderr, "etcd kill %d/%d: %s, %.1f ms\n", i+1, trials, c.nodes[leader].name, float64(pause)/float64(time.Millisecond))
	}
	return pauses, nil
}

// tell prints what was measured, for people and as JSON.
func tell(pauses []time.Duration) error {
	s := spreadOf(pauses)
	fmt.Printf("etcd, %d kills: min %.1f, p50 %.1f, p99 %.1f, max %.1f ms\n", len(pauses), s.Min, s.P50, s.P99, s.Max)
	return tellJSON(struct {
		Trials int `json:"trials"`
		spread
	}{len(pauses), s})
}
