package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// A collection takes a good part of two processors while it lasts, and what waits for a processor meanwhile is Raft, too: with the
	// runtime's 100 %, of ten changes of leader with 10,000 sessions two had a heartbeat come 200 ms late, always in a collection; with
	// 400 %, none of thirty. So a small heap may grow to five times what lives in it, a large one by mostGarbage, or double at least.
	mostGarbage  = 512 << 20 // bytes
	leastPercent = 100
	mostPercent  = 400

	garbageLook = 5 * time.Second
)

// garbagePercent is by how much the heap may grow between collections where so many bytes are in use.
func garbagePercent(live uint64) int {
	if live == 0 {
		return mostPercent
	}
	return int(max(leastPercent, min(mostPercent, mostGarbage*100/live)))
}

// tuneGarbage follows the heap until ctx ends. A GOGC in the environment is left as it is.
func tuneGarbage(ctx context.Context) {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	look := time.NewTicker(garbageLook)
	defer look.Stop()
	for {
		metrics.Read(live)
		debug.SetGCPercent(garbagePercent(live[0].Value.Uint64()))
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}
