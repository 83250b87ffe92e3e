package main

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func equal(t *testing.T, want, got any) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		t.Errorf("want %+v, got %+v", want, got)
	}
}

func TestSpreadOf(t *testing.T) {
	equal(t, spread{}, spreadOf(nil))
	var samples []time.Duration
	for i := range 200 {
		samples = append(samples, time.Duration(200-i)*time.Millisecond)
	}
	equal(t, spread{1, 100, 198, 200}, spreadOf(samples))
	equal(t, spread{1.23, 1.23, 1.23, 1.23}, spreadOf([]time.Duration{1234567 * time.Nanosecond}))
}

// The name of a program may look like more fields.
func TestParseStat(t *testing.T) {
	for stat, want := range map[string]struct {
		cpu   time.Duration
		pages int
	}{
		"7 (etcdbench) S 1 7 7 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 9 0 5566 12345678 2048 18446744073709551615 1": {1750 * time.Millisecond, 2048},
		"7 (a) b) 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 0 1 0 0 20 0 9 0 5566 12345678 3 18446744073709551615 1":       {10 * time.Millisecond, 3},
	} {
		cpu, pages, err := parseStat(stat)
		if err != nil {
			t.Errorf("%q: %v", stat, err)
		}
		equal(t, want.cpu, cpu)
		equal(t, want.pages, pages)
	}
	for _, stat := range []string{"", "7 (x) S 1", "7 S 1 7 7 0 -1 4194560 100 0 0 0 1 1 0 0 20 0 9 0 5566 12345678 3 1 1", "7 (x) S 1 7 7 0 -1 4194560 100 0 0 0 x 1 0 0 20 0 9 0 5566 12345678 3 1"} {
		if _, _, err := parseStat(stat); err == nil {
			t.Errorf("%q was taken", stat)
		}
	}
}

// Processors are counted from the first sample to the last; what is resident is the mean, and the least.
func TestUsedOf(t *testing.T) {
	samples := []sample{{2 * time.Second, 30 * mib}, {3 * time.Second, 10 * mib}, {5 * time.Second, 20 * mib}}
	u := usedOf(samples)
	equal(t, used{3 * time.Second, 20 * mib, 10 * mib}, u)
	equal(t, cost{1500000, 20}, u.cost(2))
	equal(t, cost{3000000, 20}, u.cost(0))
}

// What is there before the garbage was collected is not what lives, nor what has come since.
func TestLiveHeap(t *testing.T) {
	looks := 0
	live := func(collections bool) (float64, error) {
		looks = 0
		return liveHeap(t.Context(), func(context.Context) (collected, bytes float64, err error) {
			if looks++; looks < 5 || !collections {
				return 1, 10, nil
			}
			return 2, float64(100 + (looks-7)*(looks-7)), nil // it is swept for two looks, and then there is new garbage
		})
	}
	bytes, err := live(true)
	equal(t, nil, err)
	equal(t, 100.0, bytes)
	equal(t, 4+sweeping, looks)
	if _, err := live(false); err == nil {
		t.Error("what is garbage was taken for what lives")
	}
	failed := errors.New("gone")
	_, err = liveHeap(t.Context(), func(context.Context) (float64, float64, error) { return 0, 0, failed })
	equal(t, failed, err)
}

// What a watcher was not told is lost, and what it was told again is doubled. Other keys are nobody's.
func TestSumUp(t *testing.T) {
	sent := make([]atomic.Int64, 3)
	var watchers []*keyWatcher
	for _, keys := range [][]string{{watched + "0", watched + "2", watched + "0"}, {watched + "1", watched + "3", watched + "-1", watched + "x"}} {
		w := &keyWatcher{arrived: new(atomic.Int64), sent: sent, zero: time.Now(), seen: make([]bool, len(sent))}
		for _, key := range keys {
			w.event(key)
		}
		watchers = append(watchers, w)
	}
	r := sumUp(watchers, 3, 2*time.Second, used{cpu: 3 * time.Second, resident: mib})
	equal(t, []int{2, 3, 3, 3, 1}, []int{r.Watchers, r.Events, r.Delivered, r.Lost, r.Doubled})
	equal(t, cost{1e6, 1}, r.cost)
	equal(t, 2.0, r.PerSecond)
}

// Who dies is late from the end of the TTL after the last keepalive that was acknowledged, also where that came after the death; whoever else
// expires did so falsely, and nobody expires twice.
func TestKept(t *testing.T) {
	k, zero := newKept(4), time.Now()
	for i := range k.leases {
		k.leases[i] = lease{id: 1, ttl: 6 * time.Second, kept: zero}
	}
	k.renew(1, zero.Add(2*time.Second))
	k.kill([]int{1, 2})
	k.renew(2, zero.Add(time.Second)) // that was under way
	if _, ok := k.due(1); ok {
		t.Error("who died is kept alive")
	}
	if _, ok := k.due(3); !ok {
		t.Error("who lives is not kept alive")
	}
	k.expired(0, zero.Add(7*time.Second))
	k.expired(1, zero.Add(8300*time.Millisecond))
	k.expired(1, zero.Add(9*time.Second))
	equal(t, 1, k.left)
	select {
	case <-k.none:
		t.Error("one is left")
	default:
	}
	k.expired(2, zero.Add(7500*time.Millisecond))
	<-k.none
	slices.Sort(k.late)
	equal(t, []time.Duration{300 * time.Millisecond, 500 * time.Millisecond}, k.late)
	equal(t, []int{0, 1}, []int{k.left, k.falsely})
	equal(t, int64(2), k.keepalives.Load())
}
