package fsm

import (
	"fmt"
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
				most = max(most, len(w.workers))
				require.LessOrEqual(t, len(w.near), nearShare*most+nearLeast)
			}
			require.NoError(t, w.checkNear())
			for role, slots := range have {
				require.Equal(t, slots, w.members(role))
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
