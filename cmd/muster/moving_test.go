package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"muster/transport/client"
)

// TestWhileMoving: the time is over when nothing has moved for long enough, however long it took before, and not sooner.
func TestWhileMoving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, moved, cancel := whileMoving(t.Context(), 10*time.Second)
		defer cancel()
		child, release := context.WithCancel(ctx)
		defer release()
		in, out := &movingReader{Reader: strings.NewReader(strings.Repeat("x", 100)), moved: moved}, movingWriter{&bytes.Buffer{}, moved}
		for range 100 {
			time.Sleep(9 * time.Second)
			_, err := io.CopyN(out, in, 1)
			require.NoError(t, err)
			require.NoError(t, child.Err())
		}
		began := time.Now()
		<-child.Done()
		require.Equal(t, 10*time.Second, time.Since(began))
		require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
		require.ErrorIs(t, child.Err(), context.DeadlineExceeded)
		require.EqualError(t, context.Cause(ctx), "nothing has moved for 10s")
	})
}

// TestWhileMoving_Refused: attempts that are refused again and again, each behind its first bytes, move nothing; one that gets on does, though an earlier
// one had come as far.
func TestWhileMoving_Refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, moved, cancel := whileMoving(t.Context(), 10*time.Second)
		defer cancel()
		const piece = buffered / 4
		r := &movingReader{Reader: bytes.NewReader(make([]byte, 100*piece)), moved: moved}
		read := func(pieces int) {
			_, err := r.Seek(0, io.SeekStart)
			require.NoError(t, err)
			for range pieces {
				_, err := io.ReadFull(r, make([]byte, piece))
				require.NoError(t, err)
				time.Sleep(time.Second)
			}
		}
		read(50)
		read(40)
		require.NoError(t, ctx.Err())
		began := time.Now()
		for range 100 {
			read(1)
			time.Sleep(time.Second)
			synctest.Wait()
			if ctx.Err() != nil {
				break
			}
		}
		require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
		require.LessOrEqual(t, time.Since(began), 11*time.Second)
	})
}

// TestWhileMoving_Ended: what ends otherwise says so.
func TestWhileMoving_Ended(t *testing.T) {
	parent, interrupt := context.WithCancel(t.Context())
	ctx, _, cancel := whileMoving(parent, time.Hour)
	interrupt()
	<-ctx.Done()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	cancel()
	ctx, _, cancel = whileMoving(t.Context(), time.Hour)
	require.NoError(t, ctx.Err())
	cancel()
	<-ctx.Done()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
}

// TestMovingReader_Seeks where what it reads does: a pipe can be restored from, but only once.
func TestMovingReader_Seeks(t *testing.T) {
	r := &movingReader{Reader: strings.NewReader("abc"), moved: func() {}}
	_, err := io.ReadAll(r)
	require.NoError(t, err)
	_, err = r.Seek(1, io.SeekStart)
	require.NoError(t, err)
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "bc", string(rest))
	_, err = (&movingReader{Reader: io.LimitReader(r, 1)}).Seek(0, io.SeekCurrent)
	require.True(t, errors.Is(err, errors.ErrUnsupported), err)
}

// TestMoving_SaysThatNothingMoves: whatever the call made of its end, it is told why it ended, and the exit code is that of time.
func TestMoving_SaysThatNothingMoves(t *testing.T) {
	c := &cli{servers: "127.0.0.1:1", timeout: time.Millisecond}
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	ended := errors.New("the stream has ended")
	err := c.moving(cmd, func(ctx context.Context, _ func(), _ *client.Cluster) error {
		<-ctx.Done()
		return ended
	})
	require.ErrorIs(t, err, ended)
	require.EqualError(t, err, "nothing has moved for 1ms: the stream has ended")
	require.Equal(t, exitTimeout, exitCode(err))
	require.NoError(t, c.moving(cmd, func(context.Context, func(), *client.Cluster) error { return nil }))
}
