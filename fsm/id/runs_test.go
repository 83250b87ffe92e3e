package id

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRuns(t *testing.T) {
	for _, c := range []struct {
		name  string
		ranks []uint32
		bytes int
	}{
		{"none", nil, 0},
		{"first", []uint32{0}, 2},
		{"sixty-four neighbours", seq(64, 64), 2},
		{"sixty-four far neighbours", seq(4096, 64), 3},
		{"holes", []uint32{1, 2, 5, 9, 10}, 6},
		{"last", []uint32{MaxProcs - 1}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			runs := AppendRuns(nil, c.ranks)
			require.Len(t, runs, c.bytes)
			require.NoError(t, CheckRuns(runs))
			require.Equal(t, c.ranks, slices.Collect(Ranks(runs)))
		})
	}
}

func TestRunsMalformed(t *testing.T) {
	for _, runs := range [][]byte{
		{0x80},                            // cut off in the gap
		{0x01},                            // no length
		{0x01, 0x00},                      // empty run
		{0x00, 0x80, 0x80, 0x80, 0x08, 1}, // longer than there are ranks
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x01}, // gap overflows
	} {
		require.ErrorIs(t, CheckRuns(runs), ErrRuns)
		n := 0
		for range Ranks(runs) {
			n++
		}
		require.LessOrEqual(t, n, int(MaxProcs))
	}
}

func FuzzRuns(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3})
	f.Fuzz(func(t *testing.T, runs []byte) {
		if CheckRuns(runs) != nil || len(runs) > 64 {
			return
		}
		ranks := slices.Collect(Ranks(runs))
		require.True(t, slices.IsSorted(ranks))
		require.Equal(t, ranks, slices.Collect(Ranks(AppendRuns(nil, ranks))))
	})
}

func seq(from, n uint32) []uint32 {
	s := make([]uint32, n)
	for i := range s {
		s[i] = from + uint32(i)
	}
	return s
}
