package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/rpcstatus"
)

// chunk is how much of a state file one message carries.
const chunk = 256 << 10

// SaveState writes the state as a file to w and returns its size in bytes. Once something has been written a failure is final:
// what w got is then no state file.
func (c *Cluster) SaveState(ctx context.Context, w io.Writer) (int64, error) {
	return do(ctx, c.client, verb{op: "save state", read: true, stream: true}, nil,
		func(ctx context.Context, conn grpc.ClientConnInterface) (int64, error) {
			written, err := copyState(ctx, conn, w)
			if err != nil && written > 0 {
				err = &final{err: fmt.Errorf("after %d bytes: %w", written, err)}
			}
			return written, err
		})
}

func copyState(ctx context.Context, conn grpc.ClientConnInterface, w io.Writer) (int64, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the stream also where w fails
	defer cancel()
	stream, err := musterv1grpc.NewClusterServiceClient(conn).SaveState(ctx, &musterv1.SaveStateRequest{})
	if err != nil {
		return 0, err
	}
	written := int64(0)
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		n, err := w.Write(piece.GetData())
		written += int64(n)
		if err != nil {
			return written, &final{err: fmt.Errorf("writing the state file: %w", err)}
		}
	}
}

// RestoreState replaces the state by a state file read from r; adopt accepts a file of another cluster. Where r is also an
// io.Seeker an attempt that failed on the way is repeated from where r stood, under the same request id.
func (c *Cluster) RestoreState(ctx context.Context, r io.Reader, adopt bool) (*musterv1.RestoreStateResponse, error) {
	if c.client.leader.address() == "" {
		// Only the leader serves it, and a pipe can be sent only once: better not to a follower.
		_, _ = c.client.findLeader(ctx, false)
	}
	source := &rewinder{r: r}
	if seeker, ok := r.(io.Seeker); ok {
		// A pipe is a file too, but one that cannot seek.
		if start, err := seeker.Seek(0, io.SeekCurrent); err == nil {
			source.seeker, source.start = seeker, start
		}
	}
	req, err := c.request(ctx, "restore state", nil)
	if err != nil {
		return nil, err
	}
	return do(ctx, c.client, verb{op: "restore state", stream: true}, req,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.RestoreStateResponse, error) {
			if err := source.rewind(); err != nil {
				return nil, &final{err: err}
			}
			answer, err := sendState(ctx, conn, source, &musterv1.RestoreStateRequest{Meta: req.meta(), Adopt: adopt})
			if read := new(final); err != nil && source.spent() && !errors.As(err, &read) {
				// A file whose end was not sent cannot have taken effect.
				err = &final{err: err, unknown: source.ended && rpcstatus.OutcomeUnknown(err)}
			}
			return answer, err
		})
}

// rewinder reads r again from where it stood, if it can seek.
type rewinder struct {
	r      io.Reader
	seeker io.Seeker
	start  int64
	read   bool
	ended  bool
}

func (w *rewinder) Read(p []byte) (int, error) {
	w.read = true
	n, err := w.r.Read(p)
	w.ended = w.ended || errors.Is(err, io.EOF)
	return n, err
}

func (w *rewinder) rewind() error {
	if w.seeker == nil {
		return nil
	}
	if _, err := w.seeker.Seek(w.start, io.SeekStart); err != nil {
		return fmt.Errorf("going back to the start of the state file: %w", err)
	}
	return nil
}

// spent says that some of r is gone for good.
func (w *rewinder) spent() bool {
	return w.seeker == nil && w.read
}

func sendState(ctx context.Context, conn grpc.ClientConnInterface, r io.Reader, header *musterv1.RestoreStateRequest) (*musterv1.RestoreStateResponse, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the stream also where r fails
	defer cancel()
	stream, err := musterv1grpc.NewClusterServiceClient(conn).RestoreState(ctx)
	if err != nil {
		return nil, err
	}
	buffer := make([]byte, chunk)
	for message := header; ; {
		// io.EOF means that the server has answered already; CloseAndRecv tells what.
		if err := stream.Send(message); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		} else if err != nil {
			return stream.CloseAndRecv()
		}
		n, err := io.ReadFull(r, buffer)
		if n == 0 && errors.Is(err, io.EOF) {
			return stream.CloseAndRecv()
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			// Nothing was applied, as the file's end was not sent.
			return nil, &final{err: fmt.Errorf("reading the state file: %w", err)}
		}
		message = &musterv1.RestoreStateRequest{Data: buffer[:n]}
	}
}
