package fsm

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRankTable: wherever ranks are, and in whatever order they come and go, each is found in its slot and walked in its place, and the table by
// rank costs no more than the members that have been there at once.
func TestRankTable(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			r, most := &rankTable{}, 0
			have := map[uint32]Slot{}
			spread := []uint32{100, 1000, 1 << 23}[seed%3]
			var drawn []uint32
			for i := range 4000 {
				rank := rng.Uint32N(spread)
				drawn = append(drawn, rank)
				if rng.IntN(3) == 0 {
					rank = drawn[rng.IntN(len(drawn))]
					r.drop(rank)
					delete(have, rank)
				} else {
					r.set(rank, Slot(i))
					have[rank] = Slot(i)
				}
				most = max(most, r.len())
				require.LessOrEqual(t, len(r.near), nearShare*most+nearLeast)
			}
			require.NoError(t, r.check())
			require.Equal(t, len(have), r.len())
			for _, first := range []uint32{0, spread / 2, spread} {
				walked := []uint32{}
				for rank, slot := range r.from(first) {
					require.Equal(t, have[rank], slot)
					walked = append(walked, rank)
				}
				require.Equal(t, slices.DeleteFunc(append([]uint32{}, slices.Sorted(maps.Keys(have))...), func(rank uint32) bool { return rank < first }), walked)
			}
			for _, rank := range append(drawn, spread) {
				want, there := have[rank]
				slot, ok := r.at(rank)
				require.Equal(t, there, ok, "%d", rank)
				if there {
					require.Equal(t, want, slot, "%d", rank)
				}
			}
			if spread <= 1000 {
				require.NotEmpty(t, r.near)
			}
		})
	}
}

// TestRankTable_Descending: a world that is joined from its highest rank down ends with all of it near.
func TestRankTable_Descending(t *testing.T) {
	const n = 1000
	r := &rankTable{}
	for rank := range uint32(n) {
		r.set(n-1-rank, Slot(rank))
		require.LessOrEqual(t, len(r.near), nearShare*r.len()+nearLeast)
	}
	require.Zero(t, r.far.Len())
	require.Len(t, r.near, n)
	require.NoError(t, r.check())
}

// TestRankTable_Ascending: ranks that come in order are near at once, unless some are far that they have to meet first, or near would be too long.
func TestRankTable_Ascending(t *testing.T) {
	r := &rankTable{}
	for rank := range uint32(1000) {
		r.set(rank, Slot(rank))
		require.Zero(t, r.far.Len())
	}
	require.NoError(t, r.check())
	for rank := range uint32(1000) {
		r.drop(rank)
	}
	r.set(1000, 1)
	require.Equal(t, 1, r.far.Len(), "a thousand places for one member")
	require.Len(t, r.near, 1000)

	r = &rankTable{}
	for i, rank := range []uint32{200, 70, 90} {
		r.set(rank, Slot(i))
	}
	for rank := range uint32(300) {
		r.set(rank, Slot(rank))
		require.NoError(t, r.check(), "%d", rank)
	}
	require.Zero(t, r.far.Len())
	require.Equal(t, 300, r.len())
}

// TestRankTable_WalkReplaces: a walk comes by every member once, in order, though it replaces them and drops those it has come to.
func TestRankTable_WalkReplaces(t *testing.T) {
	r := &rankTable{}
	have := []uint32{0, 1, 63, 64, 70, 90, 95, 300, 1 << 20, 1<<24 - 1}
	for i := range have { // from the highest down, so that two could be near by now, and are not
		r.set(have[len(have)-1-i], Slot(i))
	}
	_, far := r.far.Get(90)
	require.True(t, far)
	require.Less(t, 95, nearShare*r.len()+nearLeast)
	var walked []uint32
	for rank, slot := range r.from(0) {
		require.Equal(t, Slot(len(have)-1-len(walked)), slot)
		walked = append(walked, rank)
		if _, far := r.far.Get(rank); !far {
			continue
		}
		for _, other := range have[len(walked)-1:] {
			slot, there := r.at(other)
			require.True(t, there)
			r.set(other, slot)
		}
		r.drop(rank)
	}
	require.Equal(t, have, walked)
	left := 0
	for rank := range r.from(0) {
		left++
		r.drop(rank)
	}
	require.Equal(t, 5, left, "those that were near")
	require.Zero(t, r.len())
}
