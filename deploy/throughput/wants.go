package main

import (
	"fmt"
	"io"
)

// million is how many procs a fleet and a state have of which we want a size or a time: smaller ones are done sooner, and a proc of theirs has a
// greater share of what any server needs.
const million = 1_000_000

// want is what we want of a quantity: so much at least, or so much at most.
type want struct {
	what        string
	of          func(summary) float64 // 0: it was not measured
	least, most float64               // one of them; the other is 0
}

// wants were set for a machine with two cores. On a slower one ratios can be reached all the same, rates and times perhaps not.
var wants = []want{
	{"joins to lease grants, boltdb", ratioOf("joins/s, boltdb : lease grants/s"), 1.5, 0},
	{"joins to lease grants, wal", ratioOf("joins/s, wal : lease grants/s"), 2.4, 0},
	{"joins to grants with a put, boltdb", ratioOf("joins/s, boltdb : grants with a put/s"), 4.5, 0},
	{"joins to grants with a put, wal", ratioOf("joins/s, wal : grants with a put/s"), 7, 0},
	{"a lone join to a lone put, boltdb", ratioOf("lone join, boltdb : lone put, p50 ms"), 0, 1.8},
	{"a lone join to a lone put, wal", ratioOf("lone join, wal : lone put, p50 ms"), 0, 1.1},
	{"reports/s, 64 a message, boltdb", oursOf("reports/s, 64 a message, boltdb : keepalives/s"), 300_000, 0},
	{"reports/s, 64 a message, wal", oursOf("reports/s, 64 a message, wal : keepalives/s"), 600_000, 0},
	{"reports, 64 a message, to keepalives, boltdb", ratioOf("reports/s, 64 a message, boltdb : keepalives/s"), 2, 0},
	{"reports, 64 a message, to keepalives, wal", ratioOf("reports/s, 64 a message, wal : keepalives/s"), 4, 0},
	{"reports/s, one a message, boltdb", oursOf("reports/s, one a message, boltdb : keepalives/s"), 80_000, 0},
	{"reports/s, one a message, wal", oursOf("reports/s, one a message, wal : keepalives/s"), 120_000, 0},
	{"expiry behind the lease, p99 ms", oursOf("expiry behind the lease, p99 ms"), 0, 50},
	{"commit of a report of the fleet, p99 ms", func(s summary) float64 { return s.Fleet.P99Commit }, 0, 1000},
	{"cores of the fleet's servers", func(s summary) float64 { return s.Fleet.Cores }, 0, 1.5},
	{"heap a proc of a million, bytes", ofMillion(func(s summary) float64 { return s.Fleet.BytesPerProc }), 0, 400},
	{"save of a million, s", ofMillion(func(s summary) float64 { return s.State.Save }), 0, 3},
	{"restore of a million, s", ofMillion(func(s summary) float64 { return s.State.Restore }), 0, 5},
	{"restart with a million, s", ofMillion(func(s summary) float64 { return s.State.Restart }), 0, 10},
}

// ratioOf and oursOf are of a row of the table.
func ratioOf(what string) func(summary) float64 {
	return func(s summary) float64 { return s.row(what).Ratio.Median }
}

func oursOf(what string) func(summary) float64 {
	return func(s summary) float64 { return s.row(what).Ours.Median }
}

// ofMillion is 0 where fewer were measured.
func ofMillion(of func(summary) float64) func(summary) float64 {
	return func(s summary) float64 {
		if s.Fleet.Procs < million {
			return 0
		}
		return of(s)
	}
}

func (s summary) row(what string) row {
	for _, r := range s.Rows {
		if r.What == what {
			return r
		}
	}
	return row{}
}

// short is what was measured and is not as wanted, in words.
func (s summary) short() (short []string) {
	for _, w := range wants {
		switch got := w.of(s); {
		case got == 0:
		case got < w.least:
			short = append(short, fmt.Sprintf("%s: %s, at least %s is wanted", w.what, number(got), number(w.least)))
		case w.most > 0 && got > w.most:
			short = append(short, fmt.Sprintf("%s: %s, at most %s is wanted", w.what, number(got), number(w.most)))
		}
	}
	return short
}

// printShort names what falls short.
func printShort(out io.Writer, short []string) {
	if len(short) == 0 {
		fmt.Fprintln(out, "All of this is as it is wanted on a machine with two cores.")
		return
	}
	fmt.Fprintln(out, "Short of what is wanted on a machine with two cores:")
	for _, s := range short {
		fmt.Fprintln(out, "  "+s)
	}
}
