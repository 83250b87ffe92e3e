package raftnode_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"muster/raftnode"
)

// BenchmarkGroupCommit has callers propose one command after another on three nodes in one process, with real log files over loopback.
// joins/entry is how many commands an entry carried in the mean.
func BenchmarkGroupCommit(b *testing.B) {
	for _, callers := range []int{1, 256} {
		for _, store := range []raftnode.LogStore{raftnode.Bolt, raftnode.WAL} {
			b.Run(fmt.Sprintf("%d/%s", callers, store), func(b *testing.B) { groupCommit(b, callers, store) })
		}
	}
}

func groupCommit(b *testing.B, callers int, store raftnode.LogStore) {
	d := newDirs(b)
	d.logs = map[string]raftnode.LogStore{"n1": store, "n2": store, "n3": store}
	d.configure = patient
	c := d.cluster(b, 3)
	defer c.Close()
	leader := c.Leader()
	term := leader.Term()
	before := leader.Node.Status().AppliedIndex
	text := string(make([]byte, 200))
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if _, err := term.Propose(context.Background(), line(text)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	entries := leader.Node.Status().AppliedIndex - before
	b.ReportMetric(float64(b.N)/float64(entries), "joins/entry")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}
