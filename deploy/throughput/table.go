package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// figure is what was measured of one thing in one round. What does not belong to the thing is 0.
type figure struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	// CPU is microseconds of processors of three servers together for each of what was done, all that they used meanwhile.
	CPU float64 `json:"cpu_us"`
	// Resident is the resident memory of one server, the mean of three and of the time, in MiB.
	Resident float64 `json:"rss_mib"`

	// HeapOf and ResidentOf are bytes of a server for a proc, or for a lease with a key: what lives on the heap, behind a collection of garbage,
	// and the least resident memory before that, some garbage included.
	HeapOf     float64 `json:"heap_per_lease"`
	ResidentOf float64 `json:"resident_per_lease"`
	// Detection is from the end of a lease until its expiry was heard of.
	Detection detection `json:"detection_ms"`
	counts
}

// detection is of those that died and expired, in milliseconds.
type detection struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// counts are what must be 0.
type counts struct {
	FalseExpiries int `json:"false_expiries"`
	Undetected    int `json:"undetected"`
	Brakes        int `json:"brakes"`
	Lost          int `json:"lost"`
	Doubled       int `json:"doubled"`
	Failed        int `json:"failed"`
}

// figures are of each thing by its name, one for each round.
type figures map[string][]figure

// quantities of a figure.
func rate(f figure) float64         { return f.PerSecond }
func p50(f figure) float64          { return f.P50 }
func p99(f figure) float64          { return f.P99 }
func cpu(f figure) float64          { return f.CPU }
func resident(f figure) float64     { return f.Resident }
func heapOf(f figure) float64       { return f.HeapOf }
func residentOf(f figure) float64   { return f.ResidentOf }
func detectedP50(f figure) float64  { return f.Detection.P50 }
func detectedP99(f figure) float64  { return f.Detection.P99 }
func detectedLast(f figure) float64 { return f.Detection.Max }

// spread is of a quantity over the rounds. All are 0 where nothing was measured.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf has the greater one of two in the middle for the median.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return spread{sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1]}
}

func (all figures) spread(name string, of func(figure) float64) spread {
	var values []float64
	for _, f := range all[name] {
		values = append(values, of(f))
	}
	return spreadOf(values)
}

// compared is a quantity of ours, of etcd's, and their ratio in each of the rounds in which etcd's is not 0, with two decimals.
type compared struct {
	Ours  spread `json:"ours"`
	Etcd  spread `json:"etcd"`
	Ratio spread `json:"ratio"`
}

func (all figures) compare(ours, theirs string, of func(figure) float64) compared {
	var ratios []float64
	for i, f := range all[theirs] {
		if of(f) != 0 && i < len(all[ours]) {
			ratios = append(ratios, round(of(all[ours][i])/of(f)))
		}
	}
	return compared{all.spread(ours, of), all.spread(theirs, of), spreadOf(ratios)}
}

// row is one of the table.
type row struct {
	What string `json:"what"`
	compared
	// The medians of what each costs: microseconds of processors for a request, and MiB of a server.
	CPU     float64 `json:"cpu_us"`
	EtcdCPU float64 `json:"etcd_cpu_us"`
	RSS     float64 `json:"rss_mib"`
	EtcdRSS float64 `json:"etcd_rss_mib"`
}

// table says what is put beside what.
var table = []struct {
	what         string
	ours, theirs string
	of           func(figure) float64
}{
	{"joins/s, boltdb : lease grants/s", "joins, boltdb", "etcd grant", rate},
	{"joins/s, wal : lease grants/s", "joins, wal", "etcd grant", rate},
	{"joins/s, boltdb : grants with a put/s", "joins, boltdb", "etcd grant and put", rate},
	{"joins/s, wal : grants with a put/s", "joins, wal", "etcd grant and put", rate},
	{"lone join, boltdb : lone put, p50 ms", "lone join, boltdb", "etcd lone put", p50},
	{"lone join, wal : lone put, p50 ms", "lone join, wal", "etcd lone put", p50},
	{"reports/s, 64 a message, boltdb : keepalives/s", "reports, packed, boltdb", "etcd keepalive", rate},
	{"reports/s, 64 a message, wal : keepalives/s", "reports, packed, wal", "etcd keepalive", rate},
	{"reports/s, one a message, boltdb : keepalives/s", "reports, single, boltdb", "etcd keepalive", rate},
	{"reports/s, one a message, wal : keepalives/s", "reports, single, wal", "etcd keepalive", rate},
	{"events told/s, as many as can be", "watch, full", "etcd watch, full", rate},
	{"event until told, 100 made/s, p50 ms", "watch, paced", "etcd watch, paced", p50},
	{"event until told, 100 made/s, p99 ms", "watch, paced", "etcd watch, paced", p99},
	{"heap, bytes a proc : a lease with a key", "fleet", "etcd memory", heapOf},
	{"resident, bytes a proc : a lease with a key", "fleet", "etcd memory", residentOf},
	{"expiry behind the lease, p50 ms", "fleet", "etcd expiry", detectedP50},
	{"expiry behind the lease, p99 ms", "fleet", "etcd expiry", detectedP99},
	{"expiry behind the lease, max ms", "fleet", "etcd expiry", detectedLast},
}

// rows are the table.
func (all figures) rows() (rows []row) {
	for _, t := range table {
		rows = append(rows, row{
			What: t.what, compared: all.compare(t.ours, t.theirs, t.of),
			CPU: all.spread(t.ours, cpu).Median, EtcdCPU: all.spread(t.theirs, cpu).Median,
			RSS: all.spread(t.ours, resident).Median, EtcdRSS: all.spread(t.theirs, resident).Median,
		})
	}
	return rows
}

// printRows prints the table: medians, and in brackets the least and the greatest of the rounds.
func printRows(out io.Writer, rows []row) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT: OURS : ETCD'S\tOURS\tETCD\tRATIO\tCPU µs\tETCD\tRSS MiB\tETCD")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%v\t%v\t%v\t%s\t%s\t%s\t%s\n", r.What, r.Ours, r.Etcd, r.Ratio, orDash(r.CPU), orDash(r.EtcdCPU), orDash(r.RSS), orDash(r.EtcdRSS))
	}
	_ = w.Flush()
	fmt.Fprintln(out, "Medians of the rounds, in brackets the least and the greatest. CPU: microseconds of processors of the three servers together for a\n"+
		"request, a report, an event told, all that they used meanwhile; RSS: of one server.")
}

func (s spread) String() string {
	if s == (spread{}) {
		return "-"
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Min), number(s.Max))
}

func orDash(v float64) string {
	if v == 0 {
		return "-"
	}
	return number(v)
}
