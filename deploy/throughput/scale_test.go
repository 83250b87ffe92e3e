package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// measured are figures each of which is there once.
var measured = []scaled{
	{procs: 1000, perSecond: 101, micros: 12.25, cores: 0.07, heap: 2111, resident: 9001, p99: 4.1, detection: 130, detections: 261, election: 8},
	{procs: 20000, perSecond: 1999, micros: 3.5, cores: 0.11, heap: 905, resident: 1408, p99: 5.2, detection: 140, detections: 310, election: 25},
	{procs: 1000000, perSecond: 99123, micros: 2.75, cores: 0.83, heap: 803, resident: 1210, p99: 48.3, detection: 202, detections: 733, election: 1402, brakes: 6},
}

// The picture is well-formed, all that it shows is within it, and each figure is written at its point.
func TestScalePicture(t *testing.T) {
	for _, all := range [][]scaled{measured, measured[:1], {{procs: 1}, {procs: 2, heap: -350}}} {
		var texts []string
		decoder := xml.NewDecoder(strings.NewReader(scalePicture(all)))
		inText := false
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			switch token := token.(type) {
			case xml.StartElement:
				inText = token.Name.Local == "text"
				for _, a := range token.Attr {
					require.NotContains(t, a.Value, "NaN")
					require.NotContains(t, a.Value, "Inf")
					require.NotEqual(t, "href", a.Name.Local, "it refers to nothing")
				}
			case xml.CharData:
				if inText {
					texts = append(texts, string(token))
				}
			case xml.EndElement:
				inText = false
			}
		}
		for _, q := range quantities {
			for _, s := range all {
				require.Contains(t, texts, number(q.of(s)), "%s of %d", q.name, s.procs)
			}
			if q.panel != "" {
				require.Contains(t, strings.Join(texts, "\n"), q.panel)
			}
		}
	}
}

func TestAxis(t *testing.T) {
	a := axisOf([]float64{101, 99123})
	require.Equal(t, axis{2, 5, true}, a)
	require.InDelta(t, 1.0/3, a.place(1000), 1e-9)
	a = axisOf([]float64{2, 4})
	require.False(t, a.log)
	require.Zero(t, a.place(0))
	require.InDelta(t, 0.8, a.place(4), 1e-9, "of 5")
	require.Equal(t, []float64{0, 1, 1.5, 0.8, 3000}, []float64{roundUp(-3), roundUp(1), roundUp(1.01), roundUp(0.61), roundUp(2501)})
	require.Zero(t, axisOf([]float64{-5, 4}).place(-5), "what is below 0 is seen, too")
}

func TestScalePage(t *testing.T) {
	page := scalePage(measured, time.Minute)
	require.Contains(t, page, "with a lease of 30s, and report every 10s over 100 sessions for 1m0s, half\nway through which 1 % of them")
	require.Contains(t, page, "\n| procs | reports, /s | CPU a report, µs | cores | heap a proc, bytes |")
	require.Contains(t, page, "\n| 1,000,000 | 99,123 | 2.75 | 0.83 | 803 | 1,210 | 48.3 | 202 | 733 | 1,402 | 0 | 0 | 6 |\n")
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.076: "0.08", 99.5: "99.5", 100.4: "100", 1234.5: "1,234", 999999: "999,999", -1234567: "-1,234,567", -3: "-3"} {
		require.Equal(t, want, number(v))
	}
}

func TestSizesOf(t *testing.T) {
	sizes, err := sizesOf("1000,20000")
	require.NoError(t, err)
	require.Equal(t, []int{1000, 20000}, sizes)
	for _, list := range []string{"", "0", "x", "1000,", "2,2", "3,2"} {
		_, err := sizesOf(list)
		require.ErrorContains(t, err, "-scale", list)
	}
}

// An earlier term's lines count for nothing, nor does an election behind which nobody leads yet.
func TestTakeover(t *testing.T) {
	const first = "2026-03-01T10:00:01.500Z [INFO]  n2.raft: election won: term=2 tally=2\n2026-03-01T10:00:02.000Z [INFO]  n2.system: leading: raft_term=2\n"
	const second = first + "2026-03-01T10:00:05.250+0000 [INFO]  n2.raft: election won: term=9 tally=2\n"
	for log, want := range map[string]time.Duration{
		"":                                       -1,
		first:                                    500 * time.Millisecond,
		first[strings.IndexByte(first, '\n')+1:]: -1,
		second:                                   -1,
		second + "2026-03-01T10:00:05.268Z [INFO]  n2.system: leading: raft_term=9\n2026-03-01T10:00:07.000Z [WARN]  n2: something\n": 18 * time.Millisecond,
		second + "2026-03-02T00:00:00.001Z [INFO]  n2.system: leading: raft_term=9\n":                                                 13*time.Hour + 59*time.Minute + 54751*time.Millisecond,
	} {
		took, ok, err := takeover(strings.NewReader(log))
		require.NoError(t, err)
		require.Equal(t, want >= 0, ok, log)
		if ok {
			require.Equal(t, want, took)
		}
	}
	_, _, err := takeover(strings.NewReader("soon [INFO]  n2.raft: election won: term=2 tally=2\n"))
	require.ErrorContains(t, err, "no time in a line of a log: soon")
}

// What was seen before and behind the time counts for nothing.
func TestUseOf(t *testing.T) {
	zero := time.Now()
	var samples []usage
	for i, cpu := range []float64{0, 50, 51, 53, 90} {
		samples = append(samples, usage{at: zero.Add(time.Duration(i) * time.Second), cpu: cpu, live: 100 - cpu, resident: 200 + cpu})
	}
	used, err := useOf(samples, zero.Add(time.Second), zero.Add(3*time.Second))
	require.NoError(t, err)
	require.Equal(t, use{cores: 1.5, live: 50, resident: 250, meanResident: 200 + (50+51+53)/3.0}, used)
	require.InDelta(t, 750, used.micros(2000), 0)
	require.Zero(t, used.micros(0))
	require.InDelta(t, 3, perProc(used.resident, 150, 40), 0, "rounded")
	again, err := window{Began: 500, Seconds: 3}.use(samples, zero.Add(-500*time.Millisecond))
	require.NoError(t, err)
	require.Equal(t, used, again, "the program that measures needs a while to start")
	_, err = useOf(samples, zero, zero)
	require.ErrorContains(t, err, "not seen twice")
}
