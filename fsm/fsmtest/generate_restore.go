package fsmtest

import (
	"time"

	"google.golang.org/protobuf/proto"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// file is a state file taken apart.
type file struct {
	records [][]byte
	header  *musterv1.SnapshotHeader
	trailer *musterv1.SnapshotTrailer
}

// fileOf saves a state.
func fileOf(s *fsm.State) (*file, error) {
	b, err := Encode(s)
	if err != nil {
		return nil, err
	}
	f := &file{}
	f.records, f.header, f.trailer = Records(b)
	return f, nil
}

// restoreStep saves the state, or restores what was saved, often with something wrong.
func (g *Generator) restoreStep() fsm.Applied {
	if g.saved == nil || g.rng.IntN(3) == 0 {
		if f, err := fileOf(g.State); err == nil { // no restore is staged
			g.saved = f
		}
		return fsm.Applied{}
	}
	f, begin := g.saved, &musterv1.RestoreBegin{
		Meta: &musterv1.RequestMeta{Id: g.bytes(), Issued: g.issued()}, RestoreId: g.bytes(), UnixMicros: g.rng.Uint64N(5000),
	}
	if g.rng.IntN(5) == 0 {
		f, begin.Adopt = f.ofAnotherCluster(), g.rng.IntN(3) > 0
	}
	begin.Header = f.header
	g.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreBegin{RestoreBegin: begin}})
	g.chunks(f, begin)
	if g.rng.IntN(5) == 0 {
		g.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreAbort{RestoreAbort: &musterv1.RestoreAbort{RestoreId: begin.RestoreId}}})
	}
	return g.commit(f, begin)
}

// chunks sends the pieces, with something between them that must be refused or harmless.
func (g *Generator) chunks(f *file, begin *musterv1.RestoreBegin) {
	half := len(f.records) / 2
	for i, records := range [][][]byte{f.records[:half], f.records[half:]} {
		g.Apply(g.command(), g.command())
		chunk := &musterv1.RestoreChunk{RestoreId: begin.RestoreId, Seq: uint64(i + 1), Records: records}
		switch g.rng.IntN(40) {
		case 0:
			chunk.Seq++
		case 1:
			chunk.Records = records[min(1, len(records)):]
		case 2:
			chunk.RestoreId = g.bytes()
		case 3:
			g.newTerm()
		case 4:
			g.ClockNs += int64(11 * time.Second)
		case 5:
			g.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreBegin{RestoreBegin: begin}}) // from the start again
		}
		if g.rng.IntN(2) == 0 { // rules that do not know it yet find no records
			var all []byte
			for _, r := range chunk.Records {
				all = fsm.AppendRecord(all, r)
			}
			chunk.Packed, chunk.Records = fsm.PackRecords(all), nil
			if g.rng.IntN(20) == 0 {
				chunk.Packed = chunk.Packed[:g.rng.IntN(len(chunk.Packed)+1)]
			}
		}
		g.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreChunk{RestoreChunk: chunk}})
	}
}

// commit swaps the file in. What is sealed behind it in its entry is dropped, and the leader begins anew; who asks again is answered.
func (g *Generator) commit(f *file, begin *musterv1.RestoreBegin) fsm.Applied {
	commands := []*musterv1.Command{{Body: &musterv1.Command_RestoreCommit{RestoreCommit: &musterv1.RestoreCommit{
		RestoreId: begin.RestoreId, Trailer: f.trailer,
	}}}}
	if g.rng.IntN(2) == 0 {
		commands = append(commands, g.command())
	}
	applied := g.Append(g.Seal(commands...))
	if !applied.Effects.Restored {
		return applied
	}
	g.ClockNs = max(g.ClockNs, g.State.ClockNs())
	g.newTerm()
	if g.rng.IntN(3) == 0 {
		g.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreBegin{RestoreBegin: begin}})
	}
	return applied
}

// ofAnotherCluster is the same file, of a cluster with another id.
func (f *file) ofAnotherCluster() *file {
	core := &musterv1.Record{}
	if err := proto.Unmarshal(f.records[0], core); err != nil {
		panic(err)
	}
	core.GetCore().ClusterId = "another"
	out := &file{records: append([][]byte{encode(core)}, f.records[1:]...), header: proto.CloneOf(f.header), trailer: proto.CloneOf(f.trailer)}
	out.header.ClusterId, out.trailer.Sum = "another", sumRecords(out.records)
	return out
}
