// Command failover has muster bench failover measure every mode, and etcdbench measure etcd in the same run, and puts their results together.
// The last line it prints is JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"

	"muster/deploy/fleet"
)

// mode is what is measured, and how often by default.
type mode struct {
	name   string
	trials int
}

var modes = []mode{{"kill", 100}, {"pause", 20}, {"partition", 20}, {"transfer", 50}, {"rolling", 5}}

// figures are what a measurement says in its last line.
type figures struct {
	Trials int     `json:"trials"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

// counts are the part of it that is added up.
type counts struct {
	FalseExpiries int `json:"false_expiries"`
	Lost          int `json:"lost"`
	Doubled       int `json:"doubled"`
}

// measured is a last line as a whole.
type measured struct {
	figures
	counts
	ConnectionFailures int     `json:"connection_failures"`
	Failed             int     `json:"failed"`
	Excess             float64 `json:"dead_detection_excess_ms"`
}

// etcdFigures are what is told of etcd.
type etcdFigures struct {
	Trials int     `json:"trials"`
	P50    float64 `json:"p50_ms"`
}

// summary is the last line of all.
type summary struct {
	Kill      figures     `json:"kill"`
	Pause     figures     `json:"pause"`
	Partition figures     `json:"partition"`
	Transfer  figures     `json:"transfer"`
	Rolling   figures     `json:"rolling"`
	Etcd      etcdFigures `json:"etcd_kill"`
	Ratio     float64     `json:"ratio"` // etcd's median by ours
	counts
	Excess float64 `json:"dead_detection_excess_ms"`
}

func main() {
	muster := flag.String("muster", "./muster", "the muster binary")
	etcd := flag.String("etcdbench", "", "the etcdbench binary; empty = etcd is not measured")
	share := flag.Int("percent", 100, "how many percent of the trials")
	flag.Parse()
	if err := run(*muster, *etcd, *share); err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		os.Exit(1)
	}
}

func run(muster, etcd string, share int) error {
	var s summary
	into := map[string]*figures{"kill": &s.Kill, "pause": &s.Pause, "partition": &s.Partition, "transfer": &s.Transfer, "rolling": &s.Rolling}
	for _, m := range modes {
		var got measured
		if err := fleet.Measured(context.Background(), &got, muster, "bench", "failover", "--mode", m.name, "--trials", trials(m.trials, share)); err != nil {
			return err
		}
		*into[m.name] = got.figures
		s.FalseExpiries += got.FalseExpiries + got.ConnectionFailures
		s.Lost += got.Lost + got.Failed // nobody knows what became of a request that failed
		s.Doubled += got.Doubled
		s.Excess = max(s.Excess, got.Excess)
	}
	if etcd != "" {
		if err := fleet.Measured(context.Background(), &s.Etcd, etcd, "failover", "--trials", trials(15, share)); err != nil {
			return err
		}
		s.Ratio = math.Round(10*s.Etcd.P50/s.Kill.P50) / 10
	}
	if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
		return err
	}
	if s.counts != (counts{}) {
		return fmt.Errorf("what must be 0 is not: %+v", s.counts)
	}
	return nil
}

// trials is a share of so many, at least one.
func trials(all, share int) string { return strconv.Itoa(max(1, all*share/100)) }
