package bench

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	musterv1 "muster/proto/muster/v1"
)

// forgetful is a session whose leader acknowledges the first report only when it is said for the third time.
type forgetful struct {
	grpc.BidiStreamingClient[musterv1.SessionRequest, musterv1.SessionResponse]
	heard []time.Time
	acks  chan uint64
}

func (f *forgetful) Send(m *musterv1.SessionRequest) error {
	if f.heard = append(f.heard, time.Now()); len(f.heard) > 2 {
		f.acks <- m.GetReport().GetSeq()
	}
	return nil
}

func (f *forgetful) Recv() (*musterv1.SessionResponse, error) {
	return &musterv1.SessionResponse{Body: &musterv1.SessionResponse_AckedSeq{AckedSeq: <-f.acks}}, nil
}

// TestReports_TooManyMessages: what a session sends before it waits is bounded.
func TestReports_TooManyMessages(t *testing.T) {
	require.NoError(t, ReportsConfig{Procs: 1_000_000}.Check())
	require.NoError(t, ReportsConfig{Procs: 2 * MostMessages, PerMessage: 2}.Check())
	require.Error(t, ReportsConfig{Procs: 2*MostMessages + 1, PerMessage: 2}.Check())
}

// TestReporter_NoSession: what is unacknowledged may be said again while no other session can be opened.
func TestReporter_NoSession(t *testing.T) {
	conn, err := grpc.NewClient("passthrough:///nobody", grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	f := &forgetful{acks: make(chan uint64, 10)}
	r := &reporter{stream: f}
	require.NoError(t, r.send(&musterv1.SessionRequest{}))
	require.Error(t, r.open(t.Context(), conn, 1, nil))
	r.sayAgain()
	require.Len(t, f.heard, 2)
	require.NoError(t, r.send())
}

// TestReporter_SaysAgain: a report whose entry came to nothing is said again until it is acknowledged, and not behind that.
func TestReporter_SaysAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &forgetful{acks: make(chan uint64, 10)}
		r := &reporter{stream: f}
		r.name("w", make([]uint32, 64))
		began := time.Now()
		var done atomic.Int64
		require.NoError(t, r.say(&done))
		require.NoError(t, r.say(&done))
		require.EqualValues(t, 128, done.Load())
		time.Sleep(time.Minute)
		var after []time.Duration
		for _, at := range f.heard {
			after = append(after, at.Sub(began))
		}
		require.Equal(t, []time.Duration{0, sayAgainAfter, 2 * sayAgainAfter, 2 * sayAgainAfter}, after)
	})
}
