package system

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Numbers outlive the term they were counted in, and go on in the next one.
func TestStats_OverTerms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, sys := newFake(t, nil)
		lead := func() *leadership {
			l := f.lead()
			sys.counts.begin(l.clock)
			return l
		}
		l := lead()
		f.member(t, 0)
		time.Sleep(3 * time.Second) // a pause: the clock takes it for 100 ms
		l.clock.Step()
		require.Equal(t, 2900*time.Millisecond, sys.Stats().Uncharged)
		sys.counts.end()
		require.Equal(t, 2900*time.Millisecond, sys.Stats().Uncharged)

		l = lead()
		require.Equal(t, 2900*time.Millisecond, sys.Stats().Uncharged)
		for range 150 {
			time.Sleep(100 * time.Millisecond)
			l.clock.Step()
			l.observe()
			f.seal()
		}
		require.Equal(t, Stats{Expired: 1, Uncharged: 2900 * time.Millisecond}, sys.Stats())
	})
}
