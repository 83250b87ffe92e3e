package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"muster/transport/client"
)

// moving is cluster for what takes the longer the more there is of it: ctx ends with --timeout where the user gave one, else when nothing has moved
// for so long.
func (c *cli) moving(cmd *cobra.Command, do func(ctx context.Context, moved func(), cluster *client.Cluster) error) error {
	return c.connect(func(cluster *client.Cluster) error {
		if cmd.Flags().Changed("timeout") {
			ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
			defer cancel()
			return do(ctx, func() {}, cluster)
		}
		ctx, moved, cancel := whileMoving(cmd.Context(), c.timeout)
		defer cancel()
		err := do(ctx, moved, cluster)
		if why := (stalled{}); err != nil && errors.As(context.Cause(ctx), &why) && !errors.As(err, &why) {
			return fmt.Errorf("%w: %w", why, err)
		}
		return err
	})
}

// whileMoving is a context that ends like one with a deadline when moved has not been called for so long. moved is safe for concurrent use.
func whileMoving(parent context.Context, patience time.Duration) (ctx context.Context, moved func(), cancel context.CancelFunc) {
	ctx, end := context.WithCancelCause(parent)
	idle := time.AfterFunc(patience, func() { end(stalled{patience}) })
	done := make(chan struct{})
	context.AfterFunc(ctx, func() { close(done) })
	return stallable{ctx, done}, func() { idle.Reset(patience) }, func() {
		idle.Stop()
		end(nil)
	}
}

// stalled is why a context ended in which nothing moved any more.
type stalled struct{ patience time.Duration }

func (s stalled) Error() string { return fmt.Sprintf("nothing has moved for %v", s.patience) }

func (stalled) Unwrap() error { return context.DeadlineExceeded }

// stallable tells that the time is over where stalled is the cause. Contexts that are made of it ask it, since it has a channel of its own.
type stallable struct {
	context.Context
	done chan struct{}
}

func (c stallable) Done() <-chan struct{} { return c.done }

func (c stallable) Err() error {
	select {
	case <-c.done:
	default:
		return nil
	}
	if why := (stalled{}); errors.As(context.Cause(c.Context), &why) {
		return context.DeadlineExceeded
	}
	return c.Context.Err()
}

// movingWriter tells when something has moved through it.
type movingWriter struct {
	io.Writer
	moved func()
}

func (w movingWriter) Write(p []byte) (int, error) {
	w.moved()
	defer w.moved() // behind a slow one begins another wait
	return w.Writer.Write(p)
}

// movingReader tells when what is read from it has moved on: further than in any attempt before, or further than an attempt gets whose bytes nobody
// takes. Attempts that are refused again and again move nothing. Owned by one goroutine.
type movingReader struct {
	io.Reader
	moved               func()
	began, at, furthest int64 // where the attempt began, where it is, and where any has been
}

// buffered is more than connections take of a stream that nobody reads.
const buffered = 1 << 20

func (r *movingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.at += int64(n)
	if r.at > r.furthest || r.at-r.began > buffered {
		r.moved()
	}
	r.furthest = max(r.furthest, r.at)
	return n, err
}

// Seek begins another attempt. It fails where what is read cannot seek.
func (r *movingReader) Seek(offset int64, whence int) (int64, error) {
	s, ok := r.Reader.(io.Seeker)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	at, err := s.Seek(offset, whence)
	if err == nil {
		r.began, r.at = at, at
	}
	return at, err
}
