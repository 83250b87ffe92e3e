package system

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

var errBroken = errors.New("broken on purpose")

// TestLead_BuildFails: a term that cannot be built is given away, by an error or by a fault of this program; where that was the third in a
// row the node stays, serves reads and refuses changes, and what is built in the end takes them.
func TestLead_BuildFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, sys := newFake(t, nil)
		f.auto = true
		var cured atomic.Bool
		bare := func() (n uint32) {
			f.Read(func(s *fsm.State) { n = s.BareTermStarts() })
			return n
		}
		sys.OnBuild(func() error {
			switch {
			case cured.Load():
				return nil
			case bare() == 2:
				panic("a nil map, say")
			}
			return errBroken
		})
		sys.Lead(f)
		require.Equal(t, 1, f.resigned)
		f.again()
		sys.Lead(f)
		require.Equal(t, 2, f.resigned)
		require.NoError(t, sys.Unbuilt(), "it does not lead")

		f.again()
		led := make(chan struct{})
		go func() { defer close(led); sys.Lead(f) }()
		time.Sleep(time.Minute)
		require.Equal(t, 2, f.resigned, "it stays")
		require.EqualValues(t, 3, bare(), "and writes nothing of its own")
		_, _, leads := sys.Leading()
		require.False(t, leads)
		_, term, serves := sys.Serving()
		require.True(t, serves)
		require.Equal(t, f.Number(), term)
		refused := func(err error) {
			t.Helper()
			require.ErrorIs(t, err, ErrUnbuilt)
			require.ErrorIs(t, err, ErrNotApplied)
			require.NotErrorIs(t, err, ErrNotLeading)
			require.ErrorIs(t, err, errBroken)
			require.ErrorContains(t, err, "transfer-leader")
		}
		refused(sys.Unbuilt())
		_, err := sys.Set(t.Context(), &musterv1.SetRequest{})
		refused(err)
		_, err = sys.Join(t.Context(), &musterv1.JoinRequest{})
		refused(err)
		_, err = sys.Attach(func(uint64) {}, func([]*musterv1.Verdict) {})
		refused(err)
		require.NoError(t, sys.Read(t.Context(), false, func(*fsm.State) {}))

		cured.Store(true)
		time.Sleep(maxBuildPause)
		_, _, leads = sys.Leading()
		require.True(t, leads)
		require.NoError(t, sys.Unbuilt())
		require.Zero(t, bare(), "it has put into the log that its term was built")
		f.member(t, 0)
		f.cancel()
		<-led
		_, _, serves = sys.Serving()
		require.False(t, serves)
	})
}

// TestLead_EndsWhileItStays: a leader that stays without its term stays no longer than it leads.
func TestLead_EndsWhileItStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, sys := newFake(t, nil)
		f.again()
		f.again()
		sys.OnBuild(func() error { return errBroken })
		led := make(chan struct{})
		go func() { defer close(led); sys.Lead(f) }()
		synctest.Wait()
		require.Error(t, sys.Unbuilt())
		f.cancel()
		synctest.Wait()
		<-led
		require.NoError(t, sys.Unbuilt())
		require.ErrorIs(t, sys.Read(t.Context(), false, func(*fsm.State) {}), ErrNotLeading)
	})
}
