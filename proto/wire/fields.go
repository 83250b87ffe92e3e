package wire

import (
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// Writer writes fields, which are to come in the order of their numbers. One whose value is zero is left out, as protobuf does it. Owned by one
// goroutine.
type Writer struct {
	Buf []byte
	// Something cannot be written here; the Writer is of no use any more.
	Fault bool
}

// Number writes a number, a truth value (0, 1) or an enum.
func (w *Writer) Number(number protowire.Number, v uint64) {
	if v != 0 {
		w.Buf = appendVarint(appendTag(w.Buf, number, protowire.VarintType), v)
	}
}

func appendTag(b []byte, number protowire.Number, typ protowire.Type) []byte {
	return appendVarint(b, protowire.EncodeTag(number, typ))
}

// appendVarint is protowire's, which is too large to be compiled into where it is called; most numbers are of one byte.
func appendVarint(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return protowire.AppendVarint(b, v)
}

func (w *Writer) flag(number protowire.Number, yes bool) {
	w.Number(number, protowire.EncodeBool(yes))
}

// Text writes a string; one that is not UTF-8 is a fault.
func (w *Writer) Text(number protowire.Number, text string) {
	w.Fault = w.Fault || !utf8.ValidString(text)
	appendBytes(w, number, text)
}

// Bytes writes bytes.
func (w *Writer) Bytes(number protowire.Number, b []byte) { appendBytes(w, number, b) }

func appendBytes[T string | []byte](w *Writer, number protowire.Number, v T) {
	if len(v) != 0 {
		w.Buf = appendTag(w.Buf, number, protowire.BytesType)
		w.Buf = append(appendVarint(w.Buf, uint64(len(v))), v...)
	}
}

// tagSize is the size of the tag of a field whose number is below 16.
const tagSize = 1

// sizeOfNumber is how long a field is that Number writes, sizeOfBytes one that Bytes or Text writes, if the number of the field is below 16.
func sizeOfNumber(v uint64) int {
	if v == 0 {
		return 0
	}
	return tagSize + protowire.SizeVarint(v)
}

func sizeOfBytes(length int) int {
	if length == 0 {
		return 0
	}
	return tagSize + protowire.SizeBytes(length)
}

// Begin is where a message begins, for End.
func (w *Writer) Begin() (at int) { return len(w.Buf) }

// End makes a field of what was written since Begin.
func (w *Writer) End(at int, number protowire.Number) {
	var head [16]byte
	h := appendTag(head[:0], number, protowire.BytesType)
	w.Buf = slices.Insert(w.Buf, at, appendVarint(h, uint64(len(w.Buf)-at))...)
}

// Message writes a message as protobuf does it.
func (w *Writer) Message(number protowire.Number, m proto.Message) {
	at := w.Begin()
	w.message(m)
	w.End(at, number)
}

func (w *Writer) message(m proto.Message) {
	b, err := options.MarshalAppend(w.Buf, m)
	if w.Fault = w.Fault || err != nil; err == nil {
		w.Buf = b
	}
}

// known makes it a fault that m has fields which this binary does not know.
func (w *Writer) known(m proto.Message) {
	w.Fault = w.Fault || len(m.ProtoReflect().GetUnknown()) > 0
}

// Place writes the fields of a ProcRef, those that are known.
func (w *Writer) Place(world string, role musterv1.Role, rank uint32, incarnation uint64) {
	w.Text(1, world)
	w.Number(2, uint64(role))
	w.Number(3, uint64(rank))
	w.Number(4, incarnation)
}

// Timeouts writes a field of those, with what is unknown in them, unless they are nil.
func (w *Writer) Timeouts(number protowire.Number, t *musterv1.Timeouts) {
	if t == nil {
		return
	}
	at := w.Begin()
	w.Number(1, uint64(t.ReportIntervalNs))
	w.Number(2, uint64(t.LeaseNs))
	w.Number(3, uint64(t.StartNs))
	w.Number(4, uint64(t.EvictionNs))
	w.Number(5, uint64(t.DeliveryNs))
	w.Number(6, uint64(t.ProcTimeoutNs))
	w.Buf = append(w.Buf, t.ProtoReflect().GetUnknown()...)
	w.End(at, number)
}

// Reader reads the fields of a message in the order of their numbers. A field that is not next counts as absent. Owned by one goroutine.
type Reader struct {
	Left []byte
	// Something was not as a Writer writes it; what has been read is of no use.
	Fault bool
}

// Done tells whether all was read, and could be.
func (r *Reader) Done() bool { return !r.Fault && len(r.Left) == 0 }

// next takes the tag of a field, if that is next.
func (r *Reader) next(number protowire.Number, typ protowire.Type) bool {
	n, t, size := protowire.ConsumeTag(r.Left)
	if n != number || t != typ || size < 0 {
		return false
	}
	r.Left = r.Left[size:]
	return true
}

func (r *Reader) take(size int) {
	if size < 0 {
		r.Fault, size = true, len(r.Left)
	}
	r.Left = r.Left[size:]
}

// Number reads a number, a truth value or an enum.
func (r *Reader) Number(number protowire.Number) uint64 {
	if !r.next(number, protowire.VarintType) {
		return 0
	}
	v, size := protowire.ConsumeVarint(r.Left)
	r.take(size)
	return v
}

func (r *Reader) flag(number protowire.Number) bool { return protowire.DecodeBool(r.Number(number)) }

// Bytes are part of what is read.
func (r *Reader) Bytes(number protowire.Number) []byte {
	if !r.next(number, protowire.BytesType) {
		return nil
	}
	v, size := protowire.ConsumeBytes(r.Left)
	r.take(size)
	return v
}

// Text is Bytes for a string.
func (r *Reader) Text(number protowire.Number) []byte {
	v := r.Bytes(number)
	r.Fault = r.Fault || !utf8.Valid(v)
	return v
}

// More tells whether a field of bytes or a message is next.
func (r *Reader) More(number protowire.Number) bool {
	ahead := *r
	return ahead.next(number, protowire.BytesType)
}

// Message reads a message as protobuf does it.
func (r *Reader) Message(number protowire.Number, m proto.Message) { r.parse(r.Bytes(number), m) }

func (r *Reader) parse(encoded []byte, m proto.Message) {
	r.Fault = r.Fault || proto.Unmarshal(encoded, m) != nil
}
