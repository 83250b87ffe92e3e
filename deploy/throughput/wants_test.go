package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every want of the table is of a row that is there, so that none is taken for unmeasured.
func TestWants_AreOfRows(t *testing.T) {
	all := figures{}
	for _, r := range table {
		all[r.ours] = []figure{{PerSecond: 1, P50: 1, P99: 1, HeapOf: 1, ResidentOf: 1, Detection: detection{1, 1, 1}}}
		all[r.theirs] = all[r.ours]
	}
	s := summary{Rows: all.rows(), Fleet: fleetSummary{Procs: million, P99Commit: 1, Cores: 1, BytesPerProc: 1}, State: stateSummary{Save: 1, Restore: 1, Restart: 1}}
	for _, w := range wants {
		require.NotZero(t, w.of(s), w.what)
		require.True(t, (w.least == 0) != (w.most == 0), w.what)
	}
}

func TestShort(t *testing.T) {
	s := summary{
		Rows: []row{
			{What: "joins/s, boltdb : lease grants/s", compared: compared{Ratio: spread{Median: 1.5}}},
			{What: "joins/s, wal : lease grants/s", compared: compared{Ratio: spread{Median: 2.39}}},
			{What: "lone join, boltdb : lone put, p50 ms", compared: compared{Ratio: spread{Median: 1.8}}},
			{What: "lone join, wal : lone put, p50 ms", compared: compared{Ratio: spread{Median: 1.11}}},
			{What: "reports/s, one a message, wal : keepalives/s", compared: compared{Ours: spread{Median: 119_999}}},
		},
		Fleet: fleetSummary{Procs: million - 1, BytesPerProc: 4000, Cores: 1.4},
		State: stateSummary{Restore: 9},
	}
	few := []string{
		"joins to lease grants, wal: 2.39, at least 2.4 is wanted",
		"a lone join to a lone put, wal: 1.11, at most 1.1 is wanted",
		"reports/s, one a message, wal: 119,999, at least 120,000 is wanted",
	}
	require.Equal(t, few, s.short(), "what was not measured, or of fewer than a million, is not short")
	s.Fleet.Procs = million
	require.Equal(t, append(few, "heap a proc of a million, bytes: 4,000, at most 400 is wanted", "restore of a million, s: 9, at most 5 is wanted"), s.short())

	var out strings.Builder
	printShort(&out, few[:1])
	require.Equal(t, "Short of what is wanted on a machine with two cores:\n  joins to lease grants, wal: 2.39, at least 2.4 is wanted\n", out.String())
	out.Reset()
	printShort(&out, summary{}.short())
	require.Contains(t, out.String(), "All of this")
}
