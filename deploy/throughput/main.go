// Command throughput has three servers with either log store take joins and supervision reports, and three etcd nodes what comes next to
// them, in turn and several times over, on the same disk. Then a large fleet reports to three servers, and a state as large is saved and
// restored. It prints a table of medians and ratios; the last line is JSON.
//
// With -scale it measures fleets of several sizes instead, some of whose procs die, and a change of the leader with each, and writes a page
// and a picture of that.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"muster/deploy/fleet"
)

const (
	// callers wait for an answer at once, over so many connections.
	callers, connections = 256, 8
	// packedSessions of packedProcs each, and singleSessions of one.
	packedSessions, packedProcs, singleSessions = 256, 64, 4096
	// roundLimit bounds what one kind of server is measured for in one round.
	roundLimit = 10 * time.Minute
)

// series are the figures of one thing, one for each round.
type series []float64

// figure is what a measurement says in its last line.
type figure struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
}

// bench measures everything, round by round.
type bench struct {
	muster, etcd string
	duration     time.Duration
	all          map[string]*series // by name
}

func main() {
	b := bench{all: map[string]*series{}}
	rounds := flag.Int("rounds", 3, "how often everything is measured")
	flag.StringVar(&b.muster, "muster", "./muster", "the muster binary")
	flag.StringVar(&b.etcd, "etcdbench", "", "the etcdbench binary; empty = etcd is not measured")
	flag.DurationVar(&b.duration, "duration", 5*time.Second, "how long each measurement takes")
	procs := flag.Int("procs", 100_000, "how many procs the fleet and the state have; 0 = neither is measured")
	reporting := flag.Duration("fleet", 30*time.Second, "how long the fleet reports")
	scale := flag.String("scale", "", "sizes of fleets, such as 1000,10000, that are measured instead of all else")
	out := flag.String("out", "deploy/bench", "where scale.md and scale.svg are written")
	flag.Parse()
	if *scale != "" {
		sizes, err := sizesOf(*scale)
		if err == nil {
			err = b.scale(sizes, *reporting, *out)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "throughput:", err)
			os.Exit(1)
		}
		return
	}
	if err := b.run(*rounds, *procs, *reporting); err != nil {
		fmt.Fprintln(os.Stderr, "throughput:", err)
		os.Exit(1)
	}
}

func (b *bench) run(rounds, procs int, reporting time.Duration) error {
	for range rounds {
		for _, store := range []string{"boltdb", "wal"} {
			if err := b.ours(store); err != nil {
				return err
			}
		}
		if b.etcd == "" {
			continue
		}
		if err := b.theirs(); err != nil {
			return err
		}
	}
	sum := b.summary()
	if procs > 0 {
		var err error
		if sum.Fleet, sum.State, err = b.large(procs, reporting); err != nil {
			return err
		}
	}
	if rounds > 0 {
		b.table()
	}
	return json.NewEncoder(os.Stdout).Encode(sum)
}

// ours measures three servers with a log store.
func (b *bench) ours(store string) error {
	return fleet.Play(b.muster, false, roundLimit, func(ctx context.Context, f *fleet.Fleet) error {
		f.Flags = []string{"--log-store", store}
		if _, err := f.StartServers(ctx); err != nil {
			return err
		}
		of := func(sessions, procs int) []string {
			return []string{"reports", "--sessions", strconv.Itoa(sessions), "--procs", strconv.Itoa(procs)}
		}
		for _, m := range []struct {
			name string
			args []string
		}{
			{"joins", []string{"joins", "--callers", strconv.Itoa(callers)}},
			{"lone join", []string{"joins", "--callers", "1"}},
			{"reports, packed", of(packedSessions, packedProcs)},
			{"reports, single", of(singleSessions, 1)},
		} {
			args := append([]string{"bench"}, m.args...)
			args = append(args, "--servers", f.Servers[0].Address, "--connections", strconv.Itoa(connections), "--duration", b.duration.String())
			if err := b.measure(ctx, m.name+", "+store, b.muster, args...); err != nil {
				return err
			}
		}
		return f.EndServers(ctx)
	})
}

// theirs measures etcd.
func (b *bench) theirs() error {
	ctx, cancel := context.WithTimeout(context.Background(), roundLimit)
	defer cancel()
	for _, m := range []struct {
		name, what string
		callers    int
	}{
		{"etcd grant", "grant", callers}, {"etcd grant and put", "grant-put", callers}, {"etcd lone put", "put", 1}, {"etcd keepalive", "keepalive", callers},
	} {
		args := []string{"load", "--what", m.what, "--callers", strconv.Itoa(m.callers), "--connections", strconv.Itoa(connections), "--duration", b.duration.String()}
		if err := b.measure(ctx, m.name, b.etcd, args...); err != nil {
			return err
		}
	}
	return nil
}

// measure keeps the rate of what many do, and the time of what one does.
func (b *bench) measure(ctx context.Context, name, program string, args ...string) error {
	fmt.Printf("== %s\n", name)
	var got figure
	if err := fleet.Measured(ctx, &got, program, args...); err != nil {
		return err
	}
	if b.all[name] == nil {
		b.all[name] = &series{}
		b.all[name+" ms"] = &series{}
	}
	*b.all[name] = append(*b.all[name], got.PerSecond)
	*b.all[name+" ms"] = append(*b.all[name+" ms"], got.P50)
	return nil
}

// median is 0 where nothing was measured.
func (b *bench) median(name string) float64 {
	s := b.all[name]
	if s == nil {
		return 0
	}
	sorted := slices.Sorted(slices.Values(*s))
	return sorted[len(sorted)/2]
}

// ratio is of two medians of the same rounds, with two decimals.
func (b *bench) ratio(ours, theirs string) float64 {
	if b.median(theirs) == 0 {
		return 0
	}
	return math.Round(100*b.median(ours)/b.median(theirs)) / 100
}

func (b *bench) table() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tOURS\tETCD\tRATIO\tOURS, ROUND BY ROUND")
	for _, row := range []struct{ ours, theirs string }{
		{"joins, boltdb", "etcd grant"}, {"joins, boltdb", "etcd grant and put"}, {"joins, wal", "etcd grant"}, {"joins, wal", "etcd grant and put"},
		{"lone join, boltdb ms", "etcd lone put ms"}, {"lone join, wal ms", "etcd lone put ms"},
		{"reports, packed, boltdb", "etcd keepalive"}, {"reports, packed, wal", "etcd keepalive"},
		{"reports, single, boltdb", "etcd keepalive"}, {"reports, single, wal", "etcd keepalive"},
	} {
		fmt.Fprintf(w, "%s / %s\t%g\t%g\t%g\t%v\n", row.ours, row.theirs, b.median(row.ours), b.median(row.theirs), b.ratio(row.ours, row.theirs), *b.all[row.ours])
	}
	_ = w.Flush()
}

// joins and reports are what the last line says of them.
type joins struct {
	Ours          float64 `json:"ours"`
	EtcdGrant     float64 `json:"etcd_grant"`
	EtcdGrantPut  float64 `json:"etcd_grant_put"`
	RatioGrant    float64 `json:"ratio_grant"`
	RatioGrantPut float64 `json:"ratio_grant_put"`
}

type reports struct {
	Ours      float64 `json:"ours"`
	Keepalive float64 `json:"etcd_keepalive"`
	Ratio     float64 `json:"ratio"`
}

// wal is what the other log store does.
type wal struct {
	Joins      float64 `json:"joins"`
	RatioGrant float64 `json:"ratio_grant"`
	LoneJoin   float64 `json:"lone_join_ms"`
	Packed     float64 `json:"reports_packed"`
	Single     float64 `json:"reports_single"`
}

type summary struct {
	Joins    joins   `json:"joins"`
	LoneJoin float64 `json:"lone_join_ms"`
	EtcdPut  float64 `json:"etcd_put_ms"`
	Packed   reports `json:"reports_packed"`
	Single   reports `json:"reports_single"`
	WAL      wal     `json:"wal"`

	Fleet fleetSummary `json:"fleet"`
	State stateSummary `json:"state"`
}

func (b *bench) summary() summary {
	ofReports := func(kind string) reports {
		name := "reports, " + kind + ", boltdb"
		return reports{b.median(name), b.median("etcd keepalive"), b.ratio(name, "etcd keepalive")}
	}
	return summary{
		Joins: joins{
			b.median("joins, boltdb"), b.median("etcd grant"), b.median("etcd grant and put"),
			b.ratio("joins, boltdb", "etcd grant"), b.ratio("joins, boltdb", "etcd grant and put"),
		},
		LoneJoin: b.median("lone join, boltdb ms"), EtcdPut: b.median("etcd lone put ms"),
		Packed: ofReports("packed"), Single: ofReports("single"),
		WAL: wal{
			b.median("joins, wal"), b.ratio("joins, wal", "etcd grant"), b.median("lone join, wal ms"),
			b.median("reports, packed, wal"), b.median("reports, single, wal"),
		},
	}
}
