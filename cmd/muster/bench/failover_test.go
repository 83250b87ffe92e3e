package bench_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"muster/cmd/muster/bench"
	"muster/cmd/muster/clustertest/process"
	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
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

// What is counted as a report is in the log, however few procs a message names: all procs have reported near the end of it.
func TestThroughput_ReportsAreLogged(t *testing.T) {
	c := process.New(t)
	const sessions, procs = 8, 16
	r, err := bench.MeasureReports(t.Context(), bench.ReportsConfig{
		Target:   bench.Target{Servers: []string{c.Leader().Address}, Connections: 2, Progress: testWriter{t}},
		Sessions: sessions, Procs: procs, PerMessage: 5, Duration: 4 * time.Second, Keep: true,
	})
	require.NoError(t, err)
	require.Equal(t, 5, r.Procs)
	require.Positive(t, r.Reports)
	require.Zero(t, r.Reports%procs, "a session waits when it has named all procs")

	name := filepath.Join(t.TempDir(), "state")
	code, _, errs := c.Muster("state", "save", name)
	require.Zero(t, code, errs)
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	records, err := fsm.NewFileReader(file)
	require.NoError(t, err)
	var reported []time.Duration
	for {
		body, err := records.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		record := &musterv1.Record{}
		require.NoError(t, proto.Unmarshal(body, record))
		if p := record.GetProc(); p != nil {
			reported = append(reported, time.Duration(p.GetLastReportNs()))
		}
	}
	require.Len(t, reported, sessions*procs)
	require.Less(t, slices.Max(reported)-slices.Min(reported), 2*time.Second)
}

// A fleet joins, reports and goes again, reads are answered, watchers are told, a state is saved and restored, by a real cluster: all of it is
// counted, and nothing but what was there before is left.
func TestLoads(t *testing.T) {
	c := process.New(t)
	target := bench.Target{Servers: []string{c.Leader().Address}, Connections: 2, Progress: testWriter{t}}
	code, _, errs := c.Muster("world", "create", "before", "--open")
	require.Zero(t, code, errs)

	t.Run("fleet", func(t *testing.T) {
		f, err := bench.MeasureFleet(t.Context(), bench.FleetConfig{
			Target: target, Procs: 301, Sessions: 4, Interval: time.Second, Lease: 10 * time.Second, Duration: 2 * time.Second,
		})
		require.NoError(t, err)
		require.Equal(t, 301, f.Procs)
		require.Zero(t, f.FalseExpiries, "%+v", f) // and not f.Broken: on a busy machine all may be silent for two intervals, which the brake sees
		require.Positive(t, f.Reports)
		require.Positive(t, f.JoinSeconds)
		require.Positive(t, f.P99Commit)
		require.NotEmpty(t, f.Histogram)
	})
	t.Run("fleet, some of which die", func(t *testing.T) {
		f, err := bench.MeasureFleet(t.Context(), bench.FleetConfig{
			Target: target, Procs: 200, Sessions: 4, Interval: 400 * time.Millisecond, Lease: 3 * time.Second, Duration: 1200 * time.Millisecond, Die: 0.05,
		})
		require.NoError(t, err)
		require.Equal(t, []int{10, 0, 0}, []int{f.Died, f.Undetected, f.FalseExpiries}, "%+v", f)
		require.NotNil(t, f.Detection)
		require.GreaterOrEqual(t, f.Detection.Min, 0.0, "nobody expires within its lease")
		died := 0
		for _, b := range f.Detections {
			died += b.Samples
		}
		require.Equal(t, 10, died)
		_, err = bench.MeasureFleet(t.Context(), bench.FleetConfig{
			Target: target, Procs: 10, Sessions: 1, Interval: time.Second, Lease: 10 * time.Second, Duration: time.Second, Die: 0.51,
		})
		require.ErrorContains(t, err, "holds back the expiry of more than 50 % of all agents at once")
	})
	t.Run("reads", func(t *testing.T) {
		r, err := bench.MeasureReads(t.Context(), bench.ReadsConfig{Target: target, Callers: 4, Procs: 50, Duration: 300 * time.Millisecond})
		require.NoError(t, err)
		for _, kind := range []bench.ReadKind{r.Get, r.Page, r.Stale} {
			require.Positive(t, kind.Reads)
			require.Positive(t, kind.P99)
		}
	})
	t.Run("watch", func(t *testing.T) {
		w, err := bench.MeasureWatch(t.Context(), bench.WatchConfig{Target: target, Watchers: 20, Rate: 50, Duration: time.Second})
		require.NoError(t, err)
		require.NoError(t, w.Broken(), "%+v", w)
		require.Positive(t, w.Events)
		require.Equal(t, 20*w.Events, w.Delivered)
		require.Positive(t, w.P99)
	})
	t.Run("state", func(t *testing.T) {
		dir, epoch := t.TempDir(), c.Status().GetState().GetEpoch()
		s, err := bench.MeasureState(t.Context(), bench.StateConfig{Target: target, Procs: 300, Dir: dir})
		require.NoError(t, err)
		require.Positive(t, s.Bytes)
		require.Positive(t, s.Writes)
		require.Positive(t, s.SavePause)
		require.Zero(t, s.Restore+s.RestorePause, "only where it is asked for")
		require.Equal(t, epoch, c.Status().GetState().GetEpoch(), "nothing was restored")
		s, err = bench.MeasureState(t.Context(), bench.StateConfig{Target: target, Procs: 300, Dir: dir, Restore: true})
		require.NoError(t, err)
		require.Positive(t, s.RestorePause)
		require.Equal(t, max(s.SavePause, s.RestorePause), s.MaxPause)
		require.Greater(t, c.Status().GetState().GetEpoch(), epoch, "it was restored")
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	})
	code, out, errs := c.Muster("view")
	require.Zero(t, code, errs)
	require.NotContains(t, out, "bench-")
	require.Contains(t, out, "before")
}

// A proc of a fleet that is not alive at the end is counted, whatever became of it; sessions that a change of the leader ends come back, and
// cost nobody's life.
func TestFleet_CountsWhoIsGone(t *testing.T) {
	c := process.New(t)
	cluster := c.Client().Cluster()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var f bench.Fleet
	done := make(chan error, 1)
	go func() {
		var err error
		f, err = bench.MeasureFleet(ctx, bench.FleetConfig{
			Target: bench.Target{Servers: strings.Split(c.Addresses(), ","), Connections: 1}, Procs: 20, Sessions: 2,
			Interval: 500 * time.Millisecond, Lease: 10 * time.Second, Duration: 4 * time.Second,
		})
		done <- err
	}()
	var gone *musterv1.ProcRef
	c.Eventually("all to join", func() bool {
		view, err := cluster.ViewAll(ctx, &musterv1.ViewRequest{})
		joined := 0
		for _, w := range view.GetWorlds() {
			joined += len(w.GetProcs())
			for _, p := range w.GetProcs() {
				gone = p.GetProc()
			}
		}
		return err == nil && joined == 20
	})
	leader, err := grpc.NewClient("passthrough:///"+c.Leader().Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer leader.Close()
	left, err := musterv1grpc.NewMemberServiceClient(leader).Leave(ctx, &musterv1.LeaveRequest{Proc: gone, Issued: gone.GetIncarnation()})
	require.NoError(t, err)
	require.True(t, left.GetRemoved())
	code, _, errs := c.Muster("cluster", "transfer-leader")
	for ctx.Err() == nil && strings.Contains(errs, "leadership transfer timeout") { // on a machine that has no time for it
		code, _, errs = c.Muster("cluster", "transfer-leader")
	}
	require.Zero(t, code, errs)
	require.NoError(t, <-done)
	require.Positive(t, f.Returns)
	require.Equal(t, 1, f.FalseExpiries)
	require.ErrorContains(t, f.Broken(), "what must not happen did: 1 members expired falsely")
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(line []byte) (int, error) {
	w.t.Logf("%s", line)
	return len(line), nil
}
