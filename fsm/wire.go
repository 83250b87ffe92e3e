package fsm

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// Files, restores and digests consist mostly of members, so their records are written and read here by hand, in a fifth of the time that messages
// take and without any. What is written is what protobuf would write, to the byte; what is read is only what is written here, and everything
// else is left to protobuf. What few members have is protobuf's in both. The numbers are those of the fields in snapshot.proto and world.proto.

// appendMember appends a Record of one: its field proc, or detached.
func appendMember(b []byte, rec *record, lastReportNs int64, field kind) []byte {
	f := rec.facts()
	start := len(b)

	b = appendText(b, 1, rec.world())
	b = appendNumber(b, 2, uint64(rec.role))
	b = appendNumber(b, 3, uint64(rec.rank))
	b = appendNumber(b, 4, rec.incarnation)
	b = enclose(b, start, 1)

	b = appendBytes(b, 2, rec.nonceBytes())
	b = appendText(b, 3, rec.key())
	b = appendText(b, 4, rec.machine())
	b = appendText(b, 5, rec.address())
	for _, l := range f.labels {
		b = appendMessage(b, 6, l)
	}
	b = appendNumber(b, 7, uint64(rec.mode))
	b = appendNumber(b, 8, uint64(rec.health))
	b = appendText(b, 9, f.cause)
	if t := rec.timeouts; t != nil {
		at := len(b)
		b = appendNumber(b, 1, uint64(t.ReportIntervalNs))
		b = appendNumber(b, 2, uint64(t.LeaseNs))
		b = appendNumber(b, 3, uint64(t.StartNs))
		b = appendNumber(b, 4, uint64(t.EvictionNs))
		b = appendNumber(b, 5, uint64(t.DeliveryNs))
		b = appendNumber(b, 6, uint64(t.ProcTimeoutNs))
		b = append(b, t.ProtoReflect().GetUnknown()...)
		b = enclose(b, at, 10)
	}
	for _, a := range f.failedActors {
		b = appendMessage(b, 11, a)
	}
	b = appendNumber(b, 12, uint64(f.failedActorCount))
	b = appendNumber(b, 13, uint64(lastReportNs))
	b = appendNumber(b, 14, rec.highestOrder)
	if rec.assignment != nil {
		b = appendMessage(b, 15, rec.assignment)
	}
	return enclose(b, start, protowire.Number(field))
}

func appendNumber(b []byte, number protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
}

func appendText(b []byte, number protowire.Number, text string) []byte {
	if !utf8.ValidString(text) {
		panic("a member has text that is not UTF-8") // as in digester.message
	}
	return appendBytes(b, number, text)
}

func appendBytes[T string | []byte](b []byte, number protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, number, protowire.BytesType)
	return append(protowire.AppendVarint(b, uint64(len(v))), v...)
}

func appendMessage(b []byte, number protowire.Number, m proto.Message) []byte {
	at := len(b)
	b, err := encoding.MarshalAppend(b, m)
	if err != nil {
		panic(err) // as in digester.message
	}
	return enclose(b, at, number)
}

// enclose makes what stands at the end of b, from at on, a field.
func enclose(b []byte, at int, number protowire.Number) []byte {
	var head [16]byte
	h := protowire.AppendTag(head[:0], number, protowire.BytesType)
	return slices.Insert(b, at, protowire.AppendVarint(h, uint64(len(b)-at))...)
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
	whole := fieldReader{left: body}
	proc := fieldReader{left: whole.bytes(protowire.Number(procKind))}
	ref := fieldReader{left: proc.bytes(1)}

	rec = &record{worldName: r.shared.pointerTo(ref.text(1))}
	rec.role = musterv1.Role(ref.number(2))
	rec.rank = uint32(ref.number(3))
	rec.incarnation = ref.number(4)

	rec.setNonce(proc.bytes(2))
	key := proc.text(3)
	rec.machineName = r.shared.pointerTo(proc.text(4))
	r.texts = append(append(r.texts[:0], key...), proc.text(5)...)
	rec.texts, rec.keyLength = string(r.texts), uint32(len(key))
	f := rec.facts()
	for proc.more(6) {
		f.labels = append(f.labels, &musterv1.Label{})
		proc.message(6, f.labels[len(f.labels)-1])
	}
	r.shared.labels(f.labels)
	rec.mode = musterv1.Mode(proc.number(7))
	rec.health = musterv1.Health(proc.number(8))
	f.cause = string(proc.text(9))
	rec.timeouts = r.timeoutsOf(&proc, 10)
	for proc.more(11) {
		f.failedActors = append(f.failedActors, &musterv1.FailedActor{})
		proc.message(11, f.failedActors[len(f.failedActors)-1])
	}
	f.failedActorCount = uint32(proc.number(12))
	lastReportNs = int64(proc.number(13))
	rec.highestOrder = proc.number(14)
	if proc.more(15) {
		rec.assignment = &musterv1.Assignment{}
		proc.message(15, rec.assignment)
	}
	rec.setFacts(f)
	if !whole.done() || !proc.done() || !ref.done() || !isPlace(rec.member(), rec.incarnation) {
		return nil, 0
	}
	return rec, lastReportNs
}

// timeoutsOf a member are most often those of the one before, and are the same message then.
func (r *memberReader) timeoutsOf(proc *fieldReader, number protowire.Number) *musterv1.Timeouts {
	if !proc.more(number) {
		return nil
	}
	encoded := proc.bytes(number)
	if r.timeouts != nil && bytes.Equal(encoded, r.encoded) {
		return r.timeouts
	}
	t := &musterv1.Timeouts{}
	proc.parse(encoded, t)
	if !proc.fault {
		r.timeouts, r.encoded = t, append(r.encoded[:0], encoded...)
	}
	return t
}

// fieldReader reads the fields of a message in order of their numbers. A field that is not next counts as absent.
type fieldReader struct {
	left  []byte
	fault bool
}

// done tells whether all was read, and could be.
func (r *fieldReader) done() bool { return !r.fault && len(r.left) == 0 }

// next takes the tag of a field, if that is next.
func (r *fieldReader) next(number protowire.Number, typ protowire.Type) bool {
	n, t, size := protowire.ConsumeTag(r.left)
	if n != number || t != typ || size < 0 {
		return false
	}
	r.left = r.left[size:]
	return true
}

func (r *fieldReader) take(size int) {
	if size < 0 {
		r.fault, size = true, len(r.left)
	}
	r.left = r.left[size:]
}

func (r *fieldReader) number(number protowire.Number) uint64 {
	if !r.next(number, protowire.VarintType) {
		return 0
	}
	v, size := protowire.ConsumeVarint(r.left)
	r.take(size)
	return v
}

// bytes are part of what is read.
func (r *fieldReader) bytes(number protowire.Number) []byte {
	if !r.next(number, protowire.BytesType) {
		return nil
	}
	v, size := protowire.ConsumeBytes(r.left)
	r.take(size)
	return v
}

func (r *fieldReader) text(number protowire.Number) []byte {
	v := r.bytes(number)
	r.fault = r.fault || !utf8.Valid(v)
	return v
}

// more tells whether a field of bytes or a message is next.
func (r *fieldReader) more(number protowire.Number) bool {
	ahead := *r
	return ahead.next(number, protowire.BytesType)
}

func (r *fieldReader) message(number protowire.Number, m proto.Message) {
	r.parse(r.bytes(number), m)
}

func (r *fieldReader) parse(encoded []byte, m proto.Message) {
	r.fault = r.fault || proto.Unmarshal(encoded, m) != nil
}
