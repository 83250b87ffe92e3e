package bench

import (
	"testing"
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
