package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpreadOf(t *testing.T) {
	require.Equal(t, spread{}, spreadOf(nil))
	require.Equal(t, spread{7, 7, 7}, spreadOf([]float64{7}))
	values := []float64{9, 1, 5}
	require.Equal(t, spread{5, 1, 9}, spreadOf(values))
	require.Equal(t, []float64{9, 1, 5}, values, "the rounds stay in their order")
}

// Each ratio is of one round, so that what disturbs a round disturbs both; a median of ratios is not the ratio of medians.
func TestCompare(t *testing.T) {
	all := figures{
		"ours": {{PerSecond: 100, P50: 4}, {PerSecond: 300, P50: 2}, {PerSecond: 120, P50: 3}},
		"etcd": {{PerSecond: 50}, {PerSecond: 100}, {PerSecond: 90}},
	}
	require.Equal(t, compared{spread{120, 100, 300}, spread{90, 50, 100}, spread{2, 1.33, 3}}, all.compare("ours", "etcd", rate))
	require.Equal(t, compared{Ours: spread{3, 2, 4}}, all.compare("ours", "etcd", p50), "nothing is divided by 0")
	require.Equal(t, compared{Ours: spread{120, 100, 300}}, all.compare("ours", "nobody", rate))
}

// Every row finds its figures among those of a round, and every figure of a round is in a row.
func TestTable(t *testing.T) {
	b := &bench{all: figures{}}
	measured := []string{"fleet", "etcd memory", "etcd expiry"}
	for _, k := range b.kinds() {
		if k.stores == nil {
			measured = append(measured, k.ours.name)
		}
		for _, store := range k.stores {
			measured = append(measured, k.ours.name+", "+store)
		}
		for _, l := range k.theirs {
			measured = append(measured, l.name)
		}
	}
	var shown []string
	for _, r := range table {
		shown = append(shown, r.ours, r.theirs)
	}
	require.Subset(t, measured, shown)
	require.Subset(t, shown, measured)
}

func TestPrintRows(t *testing.T) {
	all := figures{
		"joins, boltdb": {{PerSecond: 14138, CPU: 88, Resident: 51.5}, {PerSecond: 15000, CPU: 90, Resident: 53}, {PerSecond: 13000, CPU: 99, Resident: 52.25}},
		"etcd grant":    {{PerSecond: 12000, CPU: 120, Resident: 44}, {PerSecond: 12500, CPU: 121, Resident: 45}, {PerSecond: 10000, CPU: 122, Resident: 46}},
	}
	var out strings.Builder
	printRows(&out, all.rows())
	lines := strings.Split(out.String(), "\n")
	require.Regexp(t, `^WHAT: OURS : ETCD'S  +OURS  +ETCD  +RATIO  +CPU µs  +ETCD  +RSS MiB  +ETCD$`, lines[0])
	require.Regexp(t, `^joins/s, boltdb : lease grants/s  +14,138 \(13,000–15,000\)  +12,000 \(10,000–12,500\)  +1.2 \(1.18–1.3\)  +90  +121  +52.25  +45$`, lines[1])
	require.Regexp(t, `^joins/s, wal : lease grants/s  +-  +12,000 .*\)  +-  +-  +121  +-  +45$`, lines[2])
}

// The last line has the keys that others read, and the table.
func TestSummary(t *testing.T) {
	b := &bench{all: figures{
		"joins, boltdb": {{PerSecond: 300}}, "etcd grant": {{PerSecond: 200}}, "etcd grant and put": {{PerSecond: 100}}, "joins, wal": {{PerSecond: 400}},
		"lone join, boltdb": {{P50: 1.5}}, "etcd lone put": {{P50: 1.2}}, "lone join, wal": {{P50: 1}}, "etcd keepalive": {{PerSecond: 50}},
		"reports, packed, boltdb": {{PerSecond: 500}}, "reports, single, boltdb": {{PerSecond: 25}}, "reports, packed, wal": {{PerSecond: 600}},
		"reports, single, wal": {{PerSecond: 30}},
	}}
	line, err := json.Marshal(b.summary(nil))
	require.NoError(t, err)
	require.Contains(t, string(line), `{"joins":{"ours":300,"etcd_grant":200,"etcd_grant_put":100,"ratio_grant":1.5,"ratio_grant_put":3},`+
		`"lone_join_ms":1.5,"etcd_put_ms":1.2,"reports_packed":{"ours":500,"etcd_keepalive":50,"ratio":10},`+
		`"reports_single":{"ours":25,"etcd_keepalive":50,"ratio":0.5},`+
		`"wal":{"joins":400,"ratio_grant":2,"lone_join_ms":1,"reports_packed":600,"reports_single":30},"fleet":{`)
	for _, key := range []string{"procs", "seconds", "false_expiries", "p99_commit_ms", "cores", "bytes_per_proc", "save_s", "restore_s", "restart_s", "max_pause_ms", "rows"} {
		require.Contains(t, string(line), `"`+key+`":`)
	}
}

func TestKeep(t *testing.T) {
	b := &bench{all: figures{}}
	b.keep("a", figure{PerSecond: 1})
	require.Empty(t, b.broken)
	b.keep("a", figure{PerSecond: 2, counts: counts{Lost: 3}})
	require.Equal(t, figures{"a": {{PerSecond: 1}, {PerSecond: 2, counts: counts{Lost: 3}}}}, b.all)
	require.Equal(t, []string{"a: {FalseExpiries:0 Undetected:0 Brakes:0 Lost:3 Doubled:0 Failed:0}"}, b.broken)
}

// What is there before the garbage was collected is not what lives, nor what has come since.
func TestLiveHeap(t *testing.T) {
	looks := 0
	look := func() (collected, bytes float64, err error) {
		if looks++; looks < 5 {
			return 1, 10, nil
		}
		return 2, float64(100 + (looks-7)*(looks-7)), nil // it is swept for two looks, and then there is new garbage
	}
	bytes, err := liveHeap(look)
	require.NoError(t, err)
	require.InDelta(t, 100, bytes, 0)
	require.Equal(t, 4+sweeping, looks)
	_, err = liveHeap(func() (float64, float64, error) { return 1, 10, nil })
	require.ErrorContains(t, err, "no garbage was collected")
	gone := errors.New("gone")
	_, err = liveHeap(func() (float64, float64, error) { return 0, 0, gone })
	require.ErrorIs(t, err, gone)
}

// What fails once is measured once more and told; what fails twice, or is interrupted, is an error.
func TestPatiently(t *testing.T) {
	b, times, gone := &bench{}, 0, errors.New("gone")
	failing := func(often int) func(load) error {
		times = 0
		return func(load) error {
			if times++; times <= often {
				return gone
			}
			return nil
		}
	}
	require.NoError(t, b.patiently(t.Context(), load{name: "a"}, failing(0)))
	require.Empty(t, b.again)
	require.NoError(t, b.patiently(t.Context(), load{name: "b"}, failing(1)))
	require.Equal(t, []string{"b"}, b.again)
	require.ErrorIs(t, b.patiently(t.Context(), load{name: "c"}, failing(2)), gone)
	require.Equal(t, 2, times)
	ctx, cancel := context.WithCancel(t.Context())
	fails := failing(9)
	err := b.patiently(ctx, load{name: "d"}, func(l load) error {
		cancel()
		return fails(l)
	})
	require.ErrorIs(t, err, gone)
	require.Equal(t, 1, times)
	require.ErrorIs(t, b.patiently(ctx, load{name: "e"}, fails), context.Canceled)
	require.Equal(t, 1, times)
	require.Equal(t, []string{"b", "c"}, b.again)
}
