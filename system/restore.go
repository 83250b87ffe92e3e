package system

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

const (
	// maxChunk bounds the records of one piece of a restore, in bytes.
	maxChunk = 256 << 10
	// maxChunksAhead is how many pieces are under way at once: while some are applied the next travel and are read.
	maxChunksAhead = 4
)

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
	l, err := s.admitted()
	if err != nil {
		return nil, err
	}
	p := pieces{term: l.term, rid: rid}
	l.state.Read(func(st *fsm.State) { p.packed = st.PacksRecords() })
	for {
		body, err := f.Next()
		switch {
		case err == io.EOF:
			for range 1 + fsm.RestoreSteps(f.Trailer().GetCount()) { // the last records, and then nothing: what has come is checked meanwhile
				if out, err := p.send(ctx); err != nil || out.GetBody() != nil {
					return out, err
				}
			}
			return p.await(0)
		case err != nil:
			return nil, err
		case len(p.records) > 0 && len(p.records)+fsm.RecordSize(body) > maxChunk:
			if out, err := p.send(ctx); err != nil || out.GetBody() != nil {
				return out, err
			}
		}
		p.records = fsm.AppendRecord(p.records, body)
	}
}

// pieces are those of one restore.
type pieces struct {
	term    Term
	ahead   []func() (*musterv1.Outcome, error) // those under way, to be waited for
	rid     []byte
	sent    uint64
	records []byte // of the next one, as fsm.AppendRecord has them
	packed  bool   // all nodes know pieces that are
}

// send submits what is next, as soon as few enough are under way. It returns why an earlier one was refused, if it was: what came behind that
// is refused, too.
func (p *pieces) send(ctx context.Context) (*musterv1.Outcome, error) {
	if out, err := p.await(maxChunksAhead - 1); err != nil || out.GetBody() != nil {
		return out, err
	}
	p.sent++
	next := &musterv1.RestoreChunk{RestoreId: p.rid, Seq: p.sent}
	if p.packed {
		next.Packed = fsm.PackRecords(p.records)
		p.records = p.records[:0]
	} else {
		next.Records, _ = fsm.SplitRecords(nil, p.records)
		p.records = nil
	}
	p.ahead = append(p.ahead, p.term.Submit(ctx, &musterv1.Command{Body: &musterv1.Command_RestoreChunk{RestoreChunk: next}}))
	return nil, nil
}

// await waits until so many at most are under way, or one of them was refused.
func (p *pieces) await(most int) (*musterv1.Outcome, error) {
	for len(p.ahead) > most {
		out, err := p.ahead[0]()
		p.ahead = p.ahead[1:]
		if err != nil || out.GetBody() != nil {
			return out, err
		}
	}
	return nil, nil
}

// abort gives a staged restore up; if that fails, the state gives it up by itself after a while.
func (s *System) abort(rid []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_RestoreAbort{RestoreAbort: &musterv1.RestoreAbort{RestoreId: rid}}}); err != nil {
		s.log.Warn("a staged restore could not be given up; it ends by itself in a few seconds", "error", err)
	}
}
