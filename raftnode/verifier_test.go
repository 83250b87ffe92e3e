package raftnode

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Whoever arrives while a round runs shares the next one: that one began after their index was taken.
func TestVerifier_SharesTheNextRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds atomic.Int32
		v := &verifier{verify: func() error {
			rounds.Add(1)
			time.Sleep(10 * time.Millisecond)
			return nil
		}}
		n := &Node{}
		began := time.Now()
		n.spawn(func() { require.NoError(t, v.join(context.Background(), n)) })
		synctest.Wait()
		for range 100 {
			n.spawn(func() {
				require.NoError(t, v.join(context.Background(), n))
				require.Equal(t, 20*time.Millisecond, time.Since(began), "the running round proves nothing for a later reader")
			})
		}
		n.tasks.Wait()
		require.EqualValues(t, 2, rounds.Load())
	})
}

func TestVerifier_CallerMayGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &verifier{verify: func() error {
			time.Sleep(time.Hour)
			return nil
		}}
		n := &Node{}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, v.join(ctx, n), context.DeadlineExceeded)
		n.tasks.Wait()
	})
}
