package fsm_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

const (
	manyProcs    = 1_000_000
	manyWorlds   = 100
	manyMachines = 1_000
	joinsAtOnce  = 1_000
)

// joinMany has so many members join m, in worlds of equal size, as clients would have them: one request each, with a nonce of its own.
func joinMany(m *fsmtest.Machine, procs int) {
	m.Start(nil)
	perWorld := procs / manyWorlds
	var commands []*musterv1.Command
	for i := range procs {
		nonce := binary.LittleEndian.AppendUint64(make([]byte, 8, 16), uint64(i))
		commands = append(commands, &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
			World: fmt.Sprintf("world-%02d", i/perWorld), Rank: uint32(i % perWorld), Key: fmt.Sprintf("key-%d", i),
			Machine: fmt.Sprintf("machine-%04d.example.org", i/(procs/manyMachines)), Nonce: nonce, Issued: m.State.Number(),
		}}})
		if len(commands) == joinsAtOnce {
			m.ClockNs++
			m.Apply(commands...)
			commands, m.Log = commands[:0], nil
		}
	}
}

// heapOf is the live heap, in bytes, that build leaves behind.
func heapOf(build func()) uint64 {
	var before, after runtime.MemStats
	live := func(m *runtime.MemStats) {
		runtime.GC()
		runtime.GC() // what pools had
		runtime.ReadMemStats(m)
	}
	live(&before)
	build()
	live(&after)
	return after.HeapAlloc - before.HeapAlloc
}

// longestOfRestore has m restored from a file, and tells how long the longest entry of that took.
func longestOfRestore(b *testing.B, m *fsmtest.Machine, file []byte) (longest time.Duration) {
	records, header, trailer := fsmtest.Records(file)
	apply := func(c *musterv1.Command) {
		began := time.Now()
		out := m.Apply(c)
		longest = max(longest, time.Since(began))
		m.Log = nil
		if out[0].GetRefusal() != nil {
			b.Fatal(out[0])
		}
	}
	apply(&musterv1.Command{Body: &musterv1.Command_RestoreBegin{RestoreBegin: &musterv1.RestoreBegin{
		Meta: &musterv1.RequestMeta{Id: make([]byte, 16), Issued: m.State.Number()}, RestoreId: []byte("r"), Header: header,
	}}})
	seq := uint64(0)
	chunk := func(records [][]byte) {
		seq++
		apply(&musterv1.Command{Body: &musterv1.Command_RestoreChunk{RestoreChunk: &musterv1.RestoreChunk{
			RestoreId: []byte("r"), Seq: seq, Packed: pack(records...),
		}}})
	}
	for some := range slices.Chunk(records, 1900) { // 256 KiB
		chunk(some)
	}
	for range fsm.RestoreSteps(trailer.GetCount()) {
		chunk(nil)
	}
	apply(&musterv1.Command{Body: &musterv1.Command_RestoreCommit{RestoreCommit: &musterv1.RestoreCommit{RestoreId: []byte("r"), Trailer: trailer}}})
	return longest
}

// BenchmarkMillion is the life of a state of a million procs: what a join costs, what a proc takes of the heap when it has joined and when
// it was restored from a snapshot, for how long Apply waits for a snapshot, how long writing and
// reading one takes, and how long the longest entry of a restore.
func BenchmarkMillion(b *testing.B) {
	for b.Loop() {
		m := fsmtest.NewMachine()
		began := time.Now()
		heap := heapOf(func() { joinMany(m, manyProcs) })
		b.ReportMetric(float64(time.Since(began).Nanoseconds())/manyProcs, "ns/join")
		b.ReportMetric(float64(heap)/manyProcs, "B/proc")

		began = time.Now()
		frozen, err := m.State.Freeze()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms-frozen")
		var file bytes.Buffer
		began = time.Now()
		if _, err := frozen.WriteTo(&file); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-written")
		b.ReportMetric(float64(file.Len())/manyProcs, "B/proc-in-file")

		var loaded *fsm.State
		began = time.Now()
		heap = heapOf(func() {
			if loaded, err = fsm.Decode(bytes.NewReader(file.Bytes())); err != nil {
				b.Fatal(err)
			}
		})
		b.ReportMetric(time.Since(began).Seconds(), "s-read")
		b.ReportMetric(float64(heap)/manyProcs, "B/proc-read")
		runtime.KeepAlive(loaded)
		b.ReportMetric(longestOfRestore(b, m, file.Bytes()).Seconds()*1000, "ms-longest-of-restore")
		runtime.KeepAlive(m) // or what these free would be taken off what was read
		runtime.KeepAlive(&file)
	}
}
