package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

func TestSpread(t *testing.T) {
	require.Equal(t, Spread{}, spreadOf(nil))
	var samples []time.Duration
	for i := range 200 {
		samples = append(samples, time.Duration(200-i)*time.Millisecond)
	}
	require.Equal(t, Spread{Min: 1, P50: 100, P99: 198, Max: 200}, spreadOf(samples))
	require.Equal(t, Spread{Min: 7, P50: 7, P99: 7, Max: 7}, spreadOf([]time.Duration{7 * time.Millisecond}))
}

func TestHistogram(t *testing.T) {
	require.Nil(t, histogramOf(nil))
	var samples []time.Duration
	for range 80 {
		samples = append(samples, 1500*time.Microsecond)
	}
	h := histogramOf(append(samples, 2*time.Millisecond, 12*time.Millisecond))
	require.Equal(t, Histogram{{1, 2, 80}, {2, 5, 1}, {5, 10, 0}, {10, 20, 1}}, h)
	require.Equal(t, []string{
		"       1-2 ms | ######################################## 80",
		"       2-5 ms | #                                        1",
		"      5-10 ms |                                          0",
		"     10-20 ms | #                                        1",
	}, h.Lines())
	require.Equal(t, Histogram{{To: 0.1, Samples: 1}}, histogramOf([]time.Duration{0}))
	require.Equal(t, 1, histogramOf([]time.Duration{time.Hour})[0].Samples, "beyond the last bucket")
}

// What a watcher was not told is lost, and what it was told again is doubled.
func TestWatched_CountsLostAndDoubled(t *testing.T) {
	sent := make([]atomic.Int64, 3)
	var watchers []*eventWatcher
	for _, ranks := range [][]byte{{0, 3}, {1, 2}} { // 0 to 2, and 1 to 2
		w := &eventWatcher{arrived: new(atomic.Int64), sent: sent, zero: time.Now(), seen: make([]bool, 3)}
		w.event(&musterv1.Event{Ranks: ranks})
		watchers = append(watchers, w)
	}
	watchers[1].event(&musterv1.Event{Ranks: []byte{2, 1}})
	r := watched(WatchConfig{Watchers: 2}, watchers, 3, Window{700, 2})
	require.Equal(t, []int{3, 5, 1, 1}, []int{r.Events, r.Delivered, r.Lost, r.Doubled})
	require.Equal(t, Window{700, 2}, r.Window)
	require.InDelta(t, 2, r.PerSecond, 0)
	require.EqualError(t, r.Broken(), "what must not happen did: 1 events were lost, 1 events came twice")
}

// A brake that holds expiries back does not make a fleet look well.
func TestFleet_Broken(t *testing.T) {
	require.NoError(t, Fleet{Procs: 7, Returns: 3}.Broken())
	require.Error(t, Fleet{Brakes: 1}.Broken())
	require.EqualError(t, Fleet{Died: 2, Undetected: 1}.Broken(), "what must not happen did: 1 dead members did not expire")
}

// Who dies is taken for dead a lease after the last report that named it; whoever else expires is nobody's detection, and who does not is counted.
func TestDeaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reported := time.Now()
		d := newDeaths(3*time.Second, 3)
		d.expired(&musterv1.Event{World: "a", Ranks: []byte{0, 8}}, reported.Add(time.Second)) // before anybody died
		d.died("a", []uint32{2, 5}, reported)
		d.died("b", []uint32{2}, reported.Add(time.Second))
		d.expired(&musterv1.Event{World: "a", Ranks: []byte{1, 2}}, reported.Add(3020*time.Millisecond)) // rank 1 has not died
		d.expired(&musterv1.Event{World: "a", Ranks: []byte{2, 1}}, reported.Add(9*time.Second))         // again
		d.expired(&musterv1.Event{World: "b", Ranks: []byte{2, 1}}, reported.Add(4050*time.Millisecond))
		took, undetected, err := d.await(t.Context(), time.Minute)
		require.NoError(t, err)
		require.Equal(t, []time.Duration{20 * time.Millisecond, 50 * time.Millisecond}, took)
		require.Equal(t, 1, undetected)
		require.Equal(t, time.Minute, time.Since(reported), "it was waited for the last")
		d.expired(&musterv1.Event{World: "a", Ranks: []byte{5, 1}}, reported.Add(5*time.Second))
		_, undetected, err = d.await(t.Context(), time.Minute)
		require.NoError(t, err)
		require.Zero(t, undetected)
		require.Equal(t, time.Minute, time.Since(reported), "there was nobody to wait for")
	})
}

// The pause that is under way when something begins counts from the last acknowledgement.
func TestProber_Pause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &prober{acked: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		writing.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				p.ack()
				if i == 9 {
					time.Sleep(700 * time.Millisecond)
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
		lasted, pause, err := p.during(ctx, func() error { time.Sleep(20 * time.Millisecond); return nil })
		require.NoError(t, err)
		require.Equal(t, 20*time.Millisecond, lasted)
		require.Equal(t, 702.0, pause)
		_, pause, err = p.during(ctx, func() error { return nil })
		require.NoError(t, err)
		require.Equal(t, 2.0, pause)
		cancel()
		writing.Wait()
	})
}

func TestWriter_Pause(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	w := &writer{}
	for _, end := range []int{0, 90, 100, 150, 155, 300} {
		w.acks = append(w.acks, timed{at(end - 3), at(end)})
	}
	require.Equal(t, timed{at(155), at(300)}, w.pause(at(120), at(200)), "the pause that is under way at the end counts")
	require.Zero(t, w.pause(at(301), at(400)))
	require.Equal(t, 2, w.writes(at(152)))
}

func TestOrders(t *testing.T) {
	o := &orders{spawned: map[uint64]int{}}
	world := &musterv1.WorldView{}
	for order := uint64(1); order <= 3; order++ {
		world.Procs = append(world.Procs, &musterv1.ProcView{
			Proc:       &musterv1.ProcRef{Role: musterv1.Role_ROLE_WORKER, Rank: uint32(order)},
			Assignment: &musterv1.Assignment{Order: order, State: musterv1.Assignment_STATE_STARTED},
		})
	}
	o.add(1)
	o.add(2)
	require.Equal(t, 1, o.lost(world, 3), "order 3")
	require.Zero(t, o.doubled())
	o.add(3)
	o.add(3)
	require.Zero(t, o.lost(world, 3))
	require.Equal(t, 1, o.doubled())
}

// A member that nobody killed counts, and so does a killed one that expires again.
func TestObserver_CountsFalseExpiries(t *testing.T) {
	o := newObserver()
	expired := func(world string) {
		o.event(&musterv1.Event{Kind: musterv1.Event_KIND_PROC_EXPIRED, World: world, Ranks: []byte{4, 1}}) // rank 4
	}
	o.died(4)
	expired(victimsWorld)
	require.Zero(t, o.falseExpiries)
	require.NoError(t, o.await(t.Context()))
	expired(victimsWorld)
	expired(membersWorld)
	require.Equal(t, 2, o.falseExpiries)
	o.event(&musterv1.Event{Kind: musterv1.Event_KIND_UNDELIVERABLE})
	require.Equal(t, 1, o.undeliverable)
}

func TestVictim_Excess(t *testing.T) {
	died := time.Now()
	v := &victim{died: died, expired: died.Add(3300 * time.Millisecond), lag: time.Second, late: 1200 * time.Millisecond}
	excess, uncharged := v.excess(3*time.Second, 50*time.Millisecond)
	require.Equal(t, []time.Duration{100 * time.Millisecond, 200 * time.Millisecond}, []time.Duration{excess, uncharged})
	excess, _ = v.excess(3*time.Second, 250*time.Millisecond)
	require.Equal(t, 50*time.Millisecond, excess)
}

func TestResult_Broken(t *testing.T) {
	require.NoError(t, Result{Writes: 7, SlowDisk: 1, DeadDetectionExcess: 30}.Broken())
	require.EqualError(t, Result{Failed: 1, Doubled: 2}.Broken(), "what must not happen did: 1 requests failed, 2 requests or orders were done twice")
}
