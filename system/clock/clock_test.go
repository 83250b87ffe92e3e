package clock

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClock_Steps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var since time.Time
		c := New(int64(time.Hour), time.Now, func() (time.Time, bool) { return since, !since.IsZero() })
		start := time.Now()
		passed := func(d time.Duration) time.Duration { c.step(start.Add(d)); return time.Duration(c.NowNs()) - time.Hour }

		require.Equal(t, 25*time.Millisecond, passed(25*time.Millisecond), "time passes")
		require.Equal(t, 125*time.Millisecond, passed(10*time.Second), "a pause counts as one step")
		require.Equal(t, 125*time.Millisecond, passed(10*time.Second), "no time, no step")
		since = start.Add(10 * time.Second)
		require.Equal(t, 150*time.Millisecond, passed(10*time.Second+25*time.Millisecond), "a young proposal does not matter")
		require.Equal(t, 150*time.Millisecond, passed(11*time.Second), "nothing is charged while nothing commits")
		since = time.Time{}
		require.Equal(t, 175*time.Millisecond, passed(11*time.Second+25*time.Millisecond), "and it goes on when it does")
		require.Equal(t, 11*time.Second+25*time.Millisecond-175*time.Millisecond, c.Uncharged())
	})
}

func TestClock_RunFollowsRealTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(0, time.Now, func() (time.Time, bool) { return time.Time{}, false })
		go c.Run(t.Context())
		time.Sleep(10*time.Second + time.Millisecond)
		require.Equal(t, 10*time.Second, time.Duration(c.NowNs()))
		require.Zero(t, c.Uncharged())
	})
}

func TestClock_StandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var since time.Time
		c := New(0, time.Now, func() (time.Time, bool) { return since, !since.IsZero() })
		require.False(t, c.StandsStill())
		since = time.Now()
		time.Sleep(Stalled)
		require.False(t, c.StandsStill())
		time.Sleep(time.Millisecond)
		require.True(t, c.StandsStill())
	})
}
