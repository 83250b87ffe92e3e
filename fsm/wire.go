package fsm

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/wire"
)

// Files, restores and digests consist mostly of members, so their records are written and read here by hand, in a fifth of the time that messages
// take and without making any. What is written is what protobuf would write, to the byte; what is read is only what is written here, and everything
// else is left to protobuf. What few members have is protobuf's in both. The numbers are those of the fields in snapshot.proto and world.proto.

// appendMember appends a Record of one: its field proc, or detached.
func appendMember(b []byte, rec *record, lastReportNs int64, field kind) []byte {
	f := rec.facts()
	w := wire.Writer{Buf: b}
	start := w.Begin()

	w.Place(rec.world(), rec.role, rec.rank, rec.incarnation)
	w.End(start, 1)

	w.Bytes(2, rec.nonceBytes())
	w.Text(3, rec.key())
	w.Text(4, rec.machine())
	w.Text(5, rec.address())
	for _, l := range f.labels {
		w.Message(6, l)
	}
	w.Number(7, uint64(rec.mode))
	w.Number(8, uint64(rec.health))
	w.Text(9, f.cause)
	w.Timeouts(10, rec.timeouts)
	for _, a := range f.failedActors {
		w.Message(11, a)
	}
	w.Number(12, uint64(f.failedActorCount))
	w.Number(13, uint64(lastReportNs))
	w.Number(14, rec.highestOrder)
	if rec.assignment != nil {
		w.Message(15, rec.assignment)
	}
	w.End(start, protowire.Number(field))
	if w.Fault {
		panic("a member has text that is not UTF-8") // as in digester.message
	}
	return w.Buf
}

// memberReader reads records that appendMember has written. Owned by one goroutine.
type memberReader struct {
	shared   *interner
	texts    []byte // scratch
	encoded  []byte // the timeouts of the member before, and
	timeouts *musterv1.Timeouts
}

// read a Record of a member of a world. It is nil if it is anything else, is not as appendMember writes it, or names no place: protobuf has to
// say what it is, then.
func (r *memberReader) read(body []byte) (rec *record, lastReportNs int64) {
	whole := wire.Reader{Left: body}
	proc := wire.Reader{Left: whole.Bytes(protowire.Number(procKind))}
	ref := wire.Reader{Left: proc.Bytes(1)}

	rec = &record{worldName: r.shared.pointerTo(ref.Text(1))}
	rec.role = musterv1.Role(ref.Number(2))
	rec.rank = uint32(ref.Number(3))
	rec.incarnation = ref.Number(4)

	rec.setNonce(proc.Bytes(2))
	key := proc.Text(3)
	rec.machineName = r.shared.pointerTo(proc.Text(4))
	r.texts = append(append(r.texts[:0], key...), proc.Text(5)...)
	rec.texts, rec.keyLength = string(r.texts), uint32(len(key))
	f := rec.facts()
	for proc.More(6) {
		f.labels = append(f.labels, &musterv1.Label{})
		proc.Message(6, f.labels[len(f.labels)-1])
	}
	r.shared.labels(f.labels)
	rec.mode = musterv1.Mode(proc.Number(7))
	rec.health = musterv1.Health(proc.Number(8))
	f.cause = string(proc.Text(9))
	rec.timeouts = r.timeoutsOf(&proc, 10)
	for proc.More(11) {
		f.failedActors = append(f.failedActors, &musterv1.FailedActor{})
		proc.Message(11, f.failedActors[len(f.failedActors)-1])
	}
	f.failedActorCount = uint32(proc.Number(12))
	lastReportNs = int64(proc.Number(13))
	rec.highestOrder = proc.Number(14)
	if proc.More(15) {
		rec.assignment = &musterv1.Assignment{}
		proc.Message(15, rec.assignment)
	}
	rec.setFacts(f)
	if !whole.Done() || !proc.Done() || !ref.Done() || !isPlace(rec.member(), rec.incarnation) {
		return nil, 0
	}
	return rec, lastReportNs
}

// timeoutsOf a member are most often those of the one before, and are the same message then.
func (r *memberReader) timeoutsOf(proc *wire.Reader, number protowire.Number) *musterv1.Timeouts {
	if !proc.More(number) {
		return nil
	}
	encoded := proc.Bytes(number)
	if r.timeouts != nil && bytes.Equal(encoded, r.encoded) {
		return r.timeouts
	}
	t := &musterv1.Timeouts{}
	if proc.Fault = proc.Fault || proto.Unmarshal(encoded, t) != nil; !proc.Fault {
		r.timeouts, r.encoded = t, append(r.encoded[:0], encoded...)
	}
	return t
}
