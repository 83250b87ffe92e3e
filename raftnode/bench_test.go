package raftnode_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkGroupCommit256 has 256 callers propose one command after another on three nodes in one process, with real log files
// over loopback. joins/entry is how many commands an entry carried in the mean.
func BenchmarkGroupCommit256(b *testing.B) {
	const callers = 256
	d := newDirs(b)
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
