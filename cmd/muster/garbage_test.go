package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGarbagePercent(t *testing.T) {
	for live, percent := range map[uint64]int{
		0: 400, 4 << 20: 400, 128 << 20: 400, 256 << 20: 200, 512 << 20: 100, 8 << 30: 100,
	} {
		require.Equal(t, percent, garbagePercent(live), "%d MiB", live>>20)
	}
}
