package fsm

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// TestNear: wherever the ranks of a world are, and in whatever order they come and go, each is found in its slot, and the table by rank costs
// no more than the workers that have been there at once.
func TestNear(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			w, most := newWorld(), 0
			have := map[musterv1.Role]map[uint32]Slot{musterv1.Role_ROLE_WORKER: {}, musterv1.Role_ROLE_HOST: {}}
			spread := []uint32{100, 1000, 1 << 23}[seed%3]
			var ranks []uint32
			for i := range 4000 {
				role := musterv1.Role_ROLE_WORKER
				if rng.IntN(4) == 0 {
					role = musterv1.Role_ROLE_HOST
				}
				rank := rng.Uint32N(spread)
				ranks = append(ranks, rank)
				if rng.IntN(3) == 0 {
					rank = ranks[rng.IntN(len(ranks))]
					w.dropSlot(role, rank)
					delete(have[role], rank)
				} else {
					w.setSlot(role, rank, Slot(i))
					have[role][rank] = Slot(i)
				}
				most = max(most, w.workerCount())
				require.LessOrEqual(t, len(w.near), nearShare*most+nearLeast)
			}
			require.NoError(t, w.checkNear())
			require.Equal(t, have[musterv1.Role_ROLE_HOST], w.hosts)
			require.Equal(t, have[musterv1.Role_ROLE_WORKER], maps.Collect(w.workersFrom(0)))
			require.Equal(t, len(have[musterv1.Role_ROLE_WORKER]), w.workerCount())
			for role, slots := range have {
				for _, rank := range append(ranks, spread) {
					want, there := slots[rank]
					slot, ok := w.slot(role, rank)
					require.Equal(t, there, ok, "%v %d", role, rank)
					if there {
						require.Equal(t, want, slot, "%v %d", role, rank)
					}
				}
			}
			if spread <= 1000 {
				require.NotEmpty(t, w.near)
			}
		})
	}
}

// TestNear_Descending: a world that is joined from its highest rank down ends with all of it near.
func TestNear_Descending(t *testing.T) {
	const ranks = 1000
	w := newWorld()
	for rank := range uint32(ranks) {
		w.setSlot(musterv1.Role_ROLE_WORKER, ranks-1-rank, Slot(rank))
		require.LessOrEqual(t, len(w.near), nearShare*w.workerCount()+nearLeast)
	}
	require.Zero(t, len(w.far))
	require.Len(t, w.near, ranks)
	require.NoError(t, w.checkNear())
}

// TestNear_WalkReplaces: a walk comes by every worker once, in order, though it replaces them and drops those it has come to.
func TestNear_WalkReplaces(t *testing.T) {
	w := newWorld()
	ranks := []uint32{0, 1, 63, 64, 70, 90, 95, 300, 1 << 20, 1<<24 - 1}
	for i := range ranks { // from the highest down, so that two could be near by now, and are not
		w.setSlot(musterv1.Role_ROLE_WORKER, ranks[len(ranks)-1-i], Slot(i))
	}
	require.Contains(t, w.far, uint32(90))
	require.Less(t, 95, nearShare*w.workerCount()+nearLeast)
	var walked []uint32
	for rank, slot := range w.workersFrom(0) {
		require.Equal(t, Slot(len(ranks)-1-len(walked)), slot)
		walked = append(walked, rank)
		if _, far := w.far[rank]; !far {
			continue
		}
		for _, other := range ranks[len(walked)-1:] {
			slot, there := w.slot(musterv1.Role_ROLE_WORKER, other)
			require.True(t, there)
			w.setSlot(musterv1.Role_ROLE_WORKER, other, slot)
		}
		w.dropSlot(musterv1.Role_ROLE_WORKER, rank)
	}
	require.Equal(t, ranks, walked)
	left := 0
	for rank := range w.workersFrom(0) {
		left++
		w.dropSlot(musterv1.Role_ROLE_WORKER, rank)
	}
	require.Equal(t, 5, left, "those that were near")
	require.Zero(t, w.workerCount())
}
