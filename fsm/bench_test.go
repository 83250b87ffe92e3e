package fsm_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// crowded is a state with a world of so many members that are alive.
func crowded(b *testing.B, members uint32) *fsm.State {
	s := fsm.New()
	start := &musterv1.TermStart{ServerId: "n1", UnixMicros: 1000, ClusterId: "c1", ExecutionId: "x1", MachineVersion: fsm.MachineVersion}
	_, err := s.Apply(1, 1, &musterv1.Entry{Format: fsm.EntryFormat, Commands: []*musterv1.Command{{Body: &musterv1.Command_TermStart{TermStart: start}}}})
	if err != nil {
		b.Fatal(err)
	}
	const joins = 1000 // an entry
	for from := uint32(0); from < members; from += joins {
		e := &musterv1.Entry{Format: fsm.EntryFormat, RaftTerm: 1, Epoch: s.Epoch()}
		for rank := from; rank < min(from+joins, members); rank++ {
			e.Commands = append(e.Commands, &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
				World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Key: "k", Machine: "m", Address: "tcp:m:1",
				Nonce: []byte(fmt.Sprintf("nonce-%010d", rank)), Issued: s.Number(),
			}}})
		}
		if _, err := s.Apply(2, 1, e); err != nil {
			b.Fatal(err)
		}
	}
	if n := s.Status().Procs; n != members {
		b.Fatalf("%d members, want %d", n, members)
	}
	return s
}

// aliveEntry is "alive" of ranks from one on, each so many behind the one before.
func aliveEntry(s *fsm.State, from, ranks, step uint32) *musterv1.Entry {
	var list []uint32
	for i := range ranks {
		list = append(list, from+i*step)
	}
	return &musterv1.Entry{Format: fsm.EntryFormat, RaftTerm: 1, Epoch: s.Epoch(), StampNs: 1e9, WallMs: 1e12, Commands: []*musterv1.Command{{
		Body: &musterv1.Command_Report{Report: &musterv1.ReportBatch{Groups: []*musterv1.ReportGroup{{
			Number: s.Number(), Ranks: &musterv1.RankRuns{World: "w", Role: musterv1.Role_ROLE_WORKER, Runs: id.AppendRuns(nil, list)},
		}}}},
	}}}
}

// BenchmarkApply is a packed report of ranks from anywhere in a world of a million.
func BenchmarkApply(b *testing.B) {
	const members = 1_000_000
	s := crowded(b, members)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, ranks := range []uint32{64, 4096} {
		b.Run(fmt.Sprintf("ranks=%d", ranks), func(b *testing.B) {
			entries := make([]*musterv1.Entry, 1024)
			for i := range entries {
				entries[i] = aliveEntry(s, rng.Uint32N(members-ranks), ranks, 1)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				a, err := s.Apply(3, 1, entries[i%len(entries)])
				if err != nil || a.Dropped || a.Outcomes[0].Body != nil {
					b.Fatal(a, err)
				}
				i++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(ranks), "ns/rank")
		})
	}
}

// BenchmarkView is a page of a thousand procs, for which Apply waits, from anywhere in a world of a million.
func BenchmarkView(b *testing.B) {
	s := crowded(b, 1_000_000)
	q := &musterv1.ViewRequest{PageSize: 1000}
	for b.Loop() {
		v, err := s.View(q)
		if err != nil || len(v.Worlds) != 1 {
			b.Fatal(v, err)
		}
		q.PageToken = v.NextPageToken
	}
}

// BenchmarkRead is what other readers have Apply wait for: one hold each of a state with a world of a million and as many worlds as there may
// be. BenchmarkReadUnhealthy is the same where all of the million have expired.
func BenchmarkRead(b *testing.B) {
	s := crowded(b, 1_000_000)
	for i := range uint32(1<<15 - 1) {
		join := &musterv1.JoinRequest{World: fmt.Sprintf("world-%d", i), Role: musterv1.Role_ROLE_WORKER, Key: "k", Nonce: []byte(fmt.Sprintf("%16d", i)), Issued: s.Number()}
		e := &musterv1.Entry{Format: fsm.EntryFormat, RaftTerm: 1, Epoch: s.Epoch(), Commands: []*musterv1.Command{{Body: &musterv1.Command_Join{Join: join}}}}
		if _, err := s.Apply(3, 1, e); err != nil {
			b.Fatal(err)
		}
	}
	benchmarkReaders(b, s)
}

func BenchmarkReadUnhealthy(b *testing.B) {
	s := crowded(b, 1_000_000)
	q := &musterv1.ViewRequest{PageSize: 1000}
	for {
		v, err := s.View(q)
		if err != nil {
			b.Fatal(err)
		}
		expire := &musterv1.Expire{}
		for _, p := range v.Worlds[0].Procs {
			expire.Procs = append(expire.Procs, p.Proc)
		}
		e := &musterv1.Entry{Format: fsm.EntryFormat, RaftTerm: 1, Epoch: s.Epoch(), StampNs: 1e12, Commands: []*musterv1.Command{{Body: &musterv1.Command_Expire{Expire: expire}}}}
		if _, err := s.Apply(3, 1, e); err != nil {
			b.Fatal(err)
		}
		if q.PageToken = v.NextPageToken; q.PageToken == "" {
			break
		}
	}
	benchmarkReaders(b, s)
}

func benchmarkReaders(b *testing.B, s *fsm.State) {
	var many []string // that a watcher names
	for i := range 1000 {
		many = append(many, fmt.Sprintf("nobody-%d", i))
	}
	behind := s.Number() - 9000
	for _, r := range []struct {
		name string
		read func()
	}{
		{"supervision", func() { s.Supervision("w", false) }},
		{"supervision_all", func() { s.Supervision("w", true) }},
		{"view_worlds", func() { _, _ = s.View(&musterv1.ViewRequest{OmitProcs: true}) }},
		{"view_nobody", func() {
			_, _ = s.View(&musterv1.ViewRequest{ProcLabels: []*musterv1.Label{{Key: "no", Value: "body"}}})
		}},
		{"explain", func() { s.Explain(&musterv1.ExplainRequest{World: "w"}) }},
		{"history", func() { s.History("w") }},
		{"status", func() { s.Status(); s.Digest(); s.PendingOrders() }},
		{"watch", func() { s.Watch(&musterv1.WatchRequest{From: behind}) }},
		{"watch_many", func() { s.Watch(&musterv1.WatchRequest{From: behind, Worlds: many}) }},
	} {
		b.Run(r.name, func(b *testing.B) {
			for b.Loop() {
				r.read()
			}
		})
	}
}

// BenchmarkEntry is the codec of an entry with a packed report: of neighbours, which are one run, and of every other rank.
func BenchmarkEntry(b *testing.B) {
	for _, c := range []struct{ ranks, step uint32 }{{64, 1}, {4096, 1}, {4096, 2}} {
		e := aliveEntry(fsm.New(), 4096, c.ranks, c.step)
		data, err := proto.Marshal(e)
		if err != nil {
			b.Fatal(err)
		}
		name := fmt.Sprintf("ranks=%d/step=%d", c.ranks, c.step)
		b.Run("marshal/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := proto.Marshal(e); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("unmarshal/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := proto.Unmarshal(data, &musterv1.Entry{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
