package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Spread is a distribution in milliseconds. All are 0 without a sample.
type Spread struct {
	Min float64 `json:"min_ms"`
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// spreadOf sums samples up.
func spreadOf(samples []time.Duration) Spread {
	if len(samples) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(samples))
	return Spread{
		Min: ms(sorted[0]), P50: ms(quantile(sorted, 50)), P99: ms(quantile(sorted, 99)), Max: ms(sorted[len(sorted)-1]),
	}
}

// quantile is the smallest sample that so many percent are not above.
func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

// ms is a duration in milliseconds with one decimal.
func ms(d time.Duration) float64 {
	return float64(d.Round(100*time.Microsecond)) / float64(time.Millisecond)
}

// Histogram counts samples by how long they took.
type Histogram []Bucket

// Bucket is the samples from From up to and without To, both in milliseconds.
type Bucket struct {
	From, To float64
	Samples  int
}

// bars is the width of the longest bar.
const bars = 40

// histogramOf has no bucket before the first and behind the last that has a sample.
func histogramOf(samples []time.Duration) Histogram {
	if len(samples) == 0 {
		return nil
	}
	h := Histogram{{To: 0.1}}
	for decade := 0.1; decade < 1e5; decade *= 10 {
		h = append(h, Bucket{From: decade, To: 2 * decade}, Bucket{From: 2 * decade, To: 5 * decade}, Bucket{From: 5 * decade, To: 10 * decade})
	}
	for _, s := range samples {
		took := float64(s) / float64(time.Millisecond)
		i := 0
		for i < len(h)-1 && took >= h[i].To {
			i++
		}
		h[i].Samples++
	}
	first, last := 0, len(h)-1
	for h[first].Samples == 0 {
		first++
	}
	for h[last].Samples == 0 {
		last--
	}
	return h[first : last+1]
}

// Lines shows it, a line a bucket.
func (h Histogram) Lines() []string {
	most := 0
	for _, b := range h {
		most = max(most, b.Samples)
	}
	var lines []string
	for _, b := range h {
		bar := strings.Repeat("#", (b.Samples*bars+most-1)/most)
		lines = append(lines, fmt.Sprintf("  %8s ms | %-*s %d", fmt.Sprintf("%g-%g", b.From, b.To), bars, bar, b.Samples))
	}
	return lines
}
