package bench_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/bench"
	"muster/cmd/muster/clustertest/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// Leaders that are killed, asked to go, and restarted in turn cost nobody anything but time: no request or order is lost or done twice, none
// fails, and no healthy member expires. A member that dies with a leader does expire.
func TestFailover_CostsNothingButTime(t *testing.T) {
	for _, mode := range []string{bench.Kill, bench.Transfer, bench.Rolling} {
		t.Run(mode, func(t *testing.T) {
			cfg := bench.Config{Muster: process.Binary(t), Mode: mode, Trials: 2, Progress: testWriter{t}}
			changes := cfg.Trials
			if mode == bench.Rolling {
				cfg.Trials, changes = 1, 3
			}
			r, err := bench.Failover(cfg)
			require.NoError(t, err)
			require.Equal(t, changes, r.Trials)
			require.Positive(t, r.Writes)
			require.Empty(t, r.Errors)
			require.Zero(t, r.Failed+r.Lost+r.Doubled+r.FalseExpiries+r.ConnectionFailures, "%+v", r)
		})
	}
}

// Sessions that lose a killed leader are counted when they are back.
func TestFailover_Sessions(t *testing.T) {
	r, err := bench.Failover(bench.Config{Muster: process.Binary(t), Mode: bench.Kill, Trials: 1, Sessions: 50, Progress: testWriter{t}})
	require.NoError(t, err)
	require.Equal(t, 50, r.Sessions)
	require.NotNil(t, r.SessionsReattach)
	require.Positive(t, r.Terms)
	require.Zero(t, r.Failed+r.Lost+r.Doubled+r.FalseExpiries+r.ConnectionFailures, "%+v", r)
}

func TestFailover_UnknownMode(t *testing.T) {
	_, err := bench.Failover(bench.Config{Muster: process.Binary(t), Mode: "nothing", Trials: 1})
	require.ErrorContains(t, err, `mode "nothing": give kill, pause`)
}

// A soak counts what it should; how long a leader stays on a machine that others use is not for a test to say.
func TestSoak(t *testing.T) {
	s, err := bench.Soak(bench.SoakConfig{Muster: process.Binary(t), Duration: 2 * time.Second, Progress: testWriter{t}})
	require.NoError(t, err)
	require.Positive(t, s.Writes)
	require.Zero(t, s.Failed+s.FalseExpiries, "%+v", s)
}

// A cluster takes what a measurement of throughput gives it, all of it is counted, and nothing is left of it.
func TestThroughput(t *testing.T) {
	c := process.New(t)
	target := bench.Target{Servers: []string{c.Leader().Address}, Connections: 2, Progress: testWriter{t}}
	j, err := bench.MeasureJoins(t.Context(), bench.JoinsConfig{Target: target, Callers: 16, Count: 200, Duration: time.Minute})
	require.NoError(t, err)
	require.Equal(t, 200, j.Joins)
	require.Zero(t, j.Failed)
	r, err := bench.MeasureReports(t.Context(), bench.ReportsConfig{Target: target, Sessions: 8, Procs: 16, Duration: time.Second})
	require.NoError(t, err)
	require.Positive(t, r.Reports)
	require.Zero(t, r.Reports%16, "a message names all procs")
	code, out, errs := c.Muster("view")
	require.Zero(t, code, errs)
	require.NotContains(t, out, "bench-")
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(line []byte) (int, error) {
	w.t.Logf("%s", line)
	return len(line), nil
}
