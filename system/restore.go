package system

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"time"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// maxChunk bounds the records of one piece of a restore, in bytes.
const maxChunk = 256 << 10

// Restore replaces the state by a state file, read from r. It is ordinary entries: the pieces are staged beside the state on every
// node, and the last entry swaps them in, everywhere or nowhere. Errors of the file wrap fsm.ErrStateFile; nothing has
// changed then.
func (s *System) Restore(ctx context.Context, meta *musterv1.RequestMeta, adopt bool, r io.Reader) (*musterv1.Outcome, error) {
	f, err := fsm.NewFileReader(r)
	if err != nil {
		return nil, err
	}
	rid := make([]byte, 16)
	if _, err := rand.Read(rid); err != nil {
		return nil, fmt.Errorf("draw a restore id: %w", err)
	}
	out, err := s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_RestoreBegin{RestoreBegin: &musterv1.RestoreBegin{
		Meta: meta, RestoreId: rid, Header: f.Header(), UnixMicros: uint64(time.Now().UnixMicro()), Adopt: adopt,
	}}})
	if err != nil || out.GetBody() != nil { // refused, or done before
		return out, err
	}
	if out, err := s.stage(ctx, rid, f); err != nil || out.GetBody() != nil {
		s.abort(rid) // or everything else would be refused until the state gives it up by itself
		return out, err
	}
	return s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_RestoreCommit{RestoreCommit: &musterv1.RestoreCommit{
		RestoreId: rid, Trailer: f.Trailer(),
	}}})
}

// stage proposes the file's records piece by piece.
func (s *System) stage(ctx context.Context, rid []byte, f *fsm.FileReader) (*musterv1.Outcome, error) {
	chunk := &musterv1.RestoreChunk{RestoreId: rid}
	size := 0
	send := func() (*musterv1.Outcome, error) {
		if len(chunk.Records) == 0 {
			return nil, nil
		}
		seq := chunk.Seq + 1
		chunk.Seq = seq
		out, err := s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_RestoreChunk{RestoreChunk: chunk}})
		chunk, size = &musterv1.RestoreChunk{RestoreId: rid, Seq: seq}, 0
		return out, err
	}
	for {
		body, err := f.Next()
		if err == io.EOF {
			return send()
		}
		if err != nil {
			return nil, err
		}
		if size+len(body) > maxChunk {
			if out, err := send(); err != nil || out.GetBody() != nil {
				return out, err
			}
		}
		chunk.Records = append(chunk.Records, slices.Clone(body))
		size += len(body) + 8
	}
}

// abort gives a staged restore up; if that fails, the state gives it up by itself after a while.
func (s *System) abort(rid []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_RestoreAbort{RestoreAbort: &musterv1.RestoreAbort{RestoreId: rid}}}); err != nil {
		s.log.Warn("a staged restore could not be given up; it ends by itself in a few seconds", "error", err)
	}
}
