package main

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"time"
)

// spread is a distribution in milliseconds. All are 0 without a sample.
type spread struct {
	Min float64 `json:"min_ms"`
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// spreadOf sums samples up.
func spreadOf(samples []time.Duration) spread {
	if len(samples) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(samples))
	// The smallest sample that so many percent are not above, with two decimals.
	at := func(percent int) float64 {
		return decimals(float64(sorted[max(0, (len(sorted)*percent+99)/100-1)])/float64(time.Millisecond), 2)
	}
	return spread{at(0), at(50), at(99), at(100)}
}

// decimals rounds to so many.
func decimals(v float64, n int) float64 {
	by := math.Pow10(n)
	return math.Round(v*by) / by
}

// perSecond is how many of something were done a second.
func perSecond(n int, lasted time.Duration) float64 {
	if lasted <= 0 {
		return 0
	}
	return math.Round(float64(n) / lasted.Seconds())
}

// tellJSON prints the last line.
func tellJSON(measured any) error { return json.NewEncoder(os.Stdout).Encode(measured) }
