// Command throughput measures three servers and, in turn and several times over on the same disk, three etcd nodes with what comes next to
// that: joins, supervision reports, and what watchers are told, with the processors and the memory that each costs; and fleets some of whose
// procs die, and leases some of which are not kept alive, with what each takes in memory and how late it expires. Then a large fleet reports
// to three servers, and a state as large is saved and restored. It prints a table, and what falls short of what is wanted; the last line is
// JSON. It is an error, with all of that printed, where something happened to us that must not.
//
// With -scale it measures fleets of several sizes instead, some of whose procs die, and a change of the leader with each, and writes a page
// and a picture of that.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// bench measures everything, round by round.
type bench struct {
	muster, etcd string
	duration     time.Duration
	all          figures
	broken       []string // what must not have happened
	again        []string // what failed once and was measured once more
}

func main() {
	b := bench{all: figures{}}
	rounds := flag.Int("rounds", 3, "how often everything is measured")
	flag.StringVar(&b.muster, "muster", "./muster", "the muster binary")
	flag.StringVar(&b.etcd, "etcdbench", "", "the etcdbench binary; empty = etcd is not measured")
	flag.DurationVar(&b.duration, "duration", 5*time.Second, "how long each measurement takes, but for watching and what expires; 2s or more")
	procs := flag.Int("procs", 100_000, "how many procs the fleet and the state have; 0 = neither is measured")
	reporting := flag.Duration("fleet", 30*time.Second, "how long the fleet reports")
	scale := flag.String("scale", "", "sizes of fleets, such as 1000,10000, that are measured instead of all else")
	out := flag.String("out", "deploy/bench", "where scale.md and scale.svg are written")
	flag.Parse()
	// Also between two measurements: each of them ends in order at a Ctrl-C.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := b.command(ctx, *rounds, *procs, *reporting, *scale, *out)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "throughput:", err)
		os.Exit(1)
	}
}

func (b *bench) command(ctx context.Context, rounds, procs int, reporting time.Duration, scale, out string) error {
	if scale == "" {
		return b.run(ctx, rounds, procs, reporting)
	}
	sizes, err := sizesOf(scale)
	if err != nil {
		return err
	}
	return b.scale(ctx, sizes, reporting, out)
}

func (b *bench) run(ctx context.Context, rounds, procs int, reporting time.Duration) error {
	for range rounds {
		if err := b.round(ctx); err != nil {
			return err
		}
	}
	rows := b.all.rows()
	sum := b.summary(rows)
	if procs > 0 {
		var err error
		if sum.Fleet, sum.State, err = b.large(ctx, procs, reporting); err != nil {
			return err
		}
	}
	if rounds > 0 {
		printRows(os.Stdout, rows)
	}
	sum.Short = sum.short()
	printShort(os.Stdout, sum.Short)
	if err := json.NewEncoder(os.Stdout).Encode(sum); err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	if len(b.broken) > 0 {
		return fmt.Errorf("what must not happen did: %v", b.broken)
	}
	return nil
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

// summary is the last line: medians of the rounds, and ratios that are medians of those of each round.
type summary struct {
	Joins    joins   `json:"joins"`
	LoneJoin float64 `json:"lone_join_ms"`
	EtcdPut  float64 `json:"etcd_put_ms"`
	Packed   reports `json:"reports_packed"`
	Single   reports `json:"reports_single"`
	WAL      wal     `json:"wal"`

	Fleet fleetSummary `json:"fleet"`
	State stateSummary `json:"state"`

	// Rows are the table.
	Rows []row `json:"rows"`
	// Short is what falls short of what is wanted.
	Short []string `json:"short,omitempty"`
	// Again is what failed once and was measured once more.
	Again []string `json:"measured_again,omitempty"`
}

func (b *bench) summary(rows []row) summary {
	grant, grantPut := b.all.compare("joins, boltdb", "etcd grant", rate), b.all.compare("joins, boltdb", "etcd grant and put", rate)
	lone := b.all.compare("lone join, boltdb", "etcd lone put", p50)
	ofReports := func(kind string) reports {
		c := b.all.compare("reports, "+kind+", boltdb", "etcd keepalive", rate)
		return reports{c.Ours.Median, c.Etcd.Median, c.Ratio.Median}
	}
	return summary{
		Joins:    joins{grant.Ours.Median, grant.Etcd.Median, grantPut.Etcd.Median, grant.Ratio.Median, grantPut.Ratio.Median},
		LoneJoin: lone.Ours.Median, EtcdPut: lone.Etcd.Median,
		Packed: ofReports("packed"), Single: ofReports("single"),
		WAL: wal{
			b.all.spread("joins, wal", rate).Median, b.all.compare("joins, wal", "etcd grant", rate).Ratio.Median, b.all.spread("lone join, wal", p50).Median,
			b.all.spread("reports, packed, wal", rate).Median, b.all.spread("reports, single, wal", rate).Median,
		},
		Rows: rows, Again: b.again,
	}
}
