package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/rpcstatus"
)

// Compacted is what a watch ends with that asked for what is not held any more, or was too slow.
type Compacted struct {
	// Number to view at, and to watch from.
	Number uint64
}

// Error says what to do.
func (e *Compacted) Error() string {
	return fmt.Sprintf("events up to %d are not held any more, and some were not told: list again, and watch from %d", e.Number, e.Number)
}

// Restored is what a watch ends with when the state was restored: numbers begin anew.
type Restored struct {
	// Epoch is the first number of the restored state.
	Epoch uint64
}

// Error says what to do.
func (e *Restored) Error() string {
	return fmt.Sprintf("the state was restored: list again, and watch from %d", e.Epoch)
}

// Watch calls each with every answer: events, or none where nothing happens, about four times a second. It goes from server to server as
// they come and go, without a gap and without telling anything twice, and ends with each's error, with a *Compacted or *Restored, with an
// *Error where the request is refused, or when ctx ends. req.From 0 = from now on.
func (c *Cluster) Watch(ctx context.Context, req *musterv1.WatchRequest, each func(*musterv1.WatchResponse) error) error {
	ctx, cancel := c.client.untilClosed(ctx)
	defer cancel()
	q := proto.CloneOf(req)
	pause := newDelay(firstPause, longestPause)
	for address := ""; ; {
		address = c.client.servers.next(address)
		heard, err := c.watch(ctx, address, q, each)
		var done *final
		switch {
		case errors.As(err, &done):
			return done.err
		case ctx.Err() != nil:
			return &Error{Op: "watch", causes: []error{outOfTime(ctx)}}
		case heard:
			pause.reset()
		}
		c.client.logger.Debug("watch goes to another server", "server", address, "error", err)
		if err := pause.wait(ctx); err != nil {
			return &Error{Op: "watch", causes: []error{outOfTime(ctx)}}
		}
	}
}

// watch is one stream. Its error is a *final where there is no use in another.
func (c *Cluster) watch(ctx context.Context, address string, q *musterv1.WatchRequest, each func(*musterv1.WatchResponse) error) (heard bool, err error) {
	conn, err := c.client.servers.connect(ctx, address)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := musterv1grpc.NewSystemServiceClient(conn).Watch(ctx, q)
	if err != nil {
		return false, err
	}
	moved, last := time.Now(), int64(-1)
	mute := time.AfterFunc(silence, func() { cancel(errMute) })
	defer mute.Stop()
	for {
		answer, err := stream.Recv()
		if refusal := rpcstatus.Refusal(err); refusal != nil && rpcstatus.Definite(err) && refusal.GetReason() == musterv1.Reason_REASON_INVALID {
			return heard, &final{err: &Error{Op: "watch", Refusal: refusal, causes: []error{err}}}
		}
		if err != nil {
			return heard, err
		}
		mute.Stop()
		heard = true
		switch {
		case answer.GetCompacted() != 0:
			return heard, &final{err: &Compacted{Number: answer.GetCompacted()}}
		case answer.GetRestored() != 0:
			return heard, &final{err: &Restored{Epoch: answer.GetRestored()}}
		case answer.GetNumber() < q.From:
			return heard, fmt.Errorf("server %s is at number %d, behind %d", address, answer.GetNumber(), q.From)
		}
		if answer.GetNumber() > q.From || answer.GetClockNs() != last {
			moved, last = time.Now(), answer.GetClockNs()
		} else if time.Since(moved) > standstill {
			return heard, fmt.Errorf("nothing goes on at server %s: it may be cut off", address)
		}
		q.From = answer.GetNumber()
		c.client.numbers.observe(answer.GetNumber())
		if err := each(answer); err != nil {
			return heard, &final{err: err}
		}
		mute.Reset(silence)
	}
}

// standstill is how long a watch stays with a server whose clock does not move. Nothing may happen at the moment; or the server hears nobody.
const standstill = 5 * time.Second

var errMute = errors.New("nothing is heard of the server")

// History tells what is still known of a world, over its generations.
func (c *Cluster) History(ctx context.Context, req *musterv1.HistoryRequest) (*musterv1.HistoryResponse, error) {
	return do(ctx, c.client, verb{op: "history", read: true}, nil,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.HistoryResponse, error) {
			return musterv1grpc.NewSystemServiceClient(conn).History(ctx, req)
		})
}
