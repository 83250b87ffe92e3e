package bench

import (
	"slices"
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
