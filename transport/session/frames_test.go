package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestConnection_TakesTurns: the streams of a connection show by turns that the leader is there, one at a time, a frame's interval behind
// whatever the last of them wrote; without streams nothing is left.
func TestConnection_TakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &connection{}
		began := time.Now()
		streams := []*stream{{out: newOutbox(&share{})}, {out: newOutbox(&share{})}, {out: newOutbox(&share{})}}
		due := func() (all []int) {
			synctest.Wait()
			for i, s := range streams {
				if s.out.frameDue() {
					all = append(all, i)
				}
			}
			return all
		}
		for _, s := range streams {
			c.add(s)
		}
		for i := range 6 {
			time.Sleep(time.Until(began.Add(time.Duration(i+1)*frameInterval - time.Millisecond)))
			require.Empty(t, due())
			time.Sleep(time.Millisecond)
			require.Equal(t, []int{(i + 1) % 3}, due())
		}

		time.Sleep(100 * time.Millisecond)
		c.wrote()
		time.Sleep(frameInterval - time.Millisecond)
		require.Empty(t, due(), "something was written since")
		time.Sleep(time.Millisecond)
		require.Len(t, due(), 1)

		require.False(t, c.remove(streams[1]))
		require.False(t, c.remove(streams[0]))
		time.Sleep(frameInterval)
		require.Equal(t, []int{2}, due(), "the one that is left")
		require.True(t, c.remove(streams[2]))
		time.Sleep(time.Second)
		require.Empty(t, due())
	})
}

// TestFrame_Return: what is told grows with the crowd, and ten thousand are to be back within two seconds.
func TestFrame_Return(t *testing.T) {
	require.Zero(t, frame(1).ReturnWithinMs)
	require.EqualValues(t, 15, frame(100).ReturnWithinMs)
	require.Less(t, time.Duration(frame(10_000).ReturnWithinMs)*time.Millisecond, 2*time.Second)
}

// TestHub_ForgetsConnections that have no stream any more.
func TestHub_ForgetsConnections(t *testing.T) {
	h := newTestHub()
	first, second := enter(t, h), enter(t, h)
	require.Len(t, h.connections, 2)
	h.leave(first)
	h.leave(second)
	require.Empty(t, h.connections)
}
