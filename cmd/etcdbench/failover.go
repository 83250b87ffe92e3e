package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
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
func (w *writer) flow(since time.Time) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		n := len(w.acks)
		ok := n > flowing && !w.acks[n-flowing].began.Before(since)
		w.mu.Unlock()
		if ok {
			return nil
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
func failover(trials int) (err error) {
	dir, err := os.MkdirTemp("", "etcdbench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := startCluster(dir)
	if err != nil {
		return err
	}
	defer c.killAll()
	client, err := clientv3.New(clientv3.Config{Endpoints: c.clients(), DialTimeout: time.Second, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, stop := context.WithCancel(context.Background())
	w := &writer{client: client}
	var running sync.WaitGroup
	running.Go(func() { w.run(ctx) })
	defer running.Wait()
	defer stop()

	var pauses []float64
	for i := range trials {
		leader, err := c.settled(client)
		if err == nil {
			err = w.flow(time.Now())
		}
		if err != nil {
			return fmt.Errorf("trial %d: %w", i+1, err)
		}
		began := time.Now()
		c.kill(leader)
		if err := errors.Join(w.flow(time.Now()), c.start(leader)); err != nil {
			return fmt.Errorf("trial %d: %w", i+1, err)
		}
		pause := math.Round(float64(w.pause(began).Microseconds())/100) / 10
		pauses = append(pauses, pause)
		fmt.Fprintf(os.Stderr, "etcd kill %d/%d: %s, %.1f ms\n", i+1, trials, c.nodes[leader].name, pause)
	}
	return tell(pauses)
}

// tell prints what was measured, for people and as JSON.
func tell(pauses []float64) error {
	slices.Sort(pauses)
	at := func(percent int) float64 { return pauses[max(0, (len(pauses)*percent+99)/100-1)] }
	fmt.Printf("etcd, %d kills: min %.1f, p50 %.1f, p99 %.1f, max %.1f ms\n", len(pauses), pauses[0], at(50), at(99), at(100))
	return json.NewEncoder(os.Stdout).Encode(struct {
		Trials int     `json:"trials"`
		Min    float64 `json:"min_ms"`
		P50    float64 `json:"p50_ms"`
		P99    float64 `json:"p99_ms"`
		Max    float64 `json:"max_ms"`
	}{len(pauses), pauses[0], at(50), at(99), at(100)})
}
