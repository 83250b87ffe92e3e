package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/wire"
)

// digester hashes what one entry does to the state: its index, the records it writes and drops, its outcomes. Times of last
// reports are left out, as they change all the time and follow from the log.
type digester struct {
	sum hash.Hash
	buf []byte
}

func (d *digester) begin(previous [32]byte, index uint64) {
	if d.sum == nil {
		d.sum = sha256.New()
	}
	d.sum.Reset()
	d.sum.Write(previous[:])
	d.number(index)
}

func (d *digester) number(n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	d.sum.Write(b[:])
}

// message hashes m with its length. It is the one place where a write can happen outside an entry (loading): nothing to do then.
func (d *digester) message(m proto.Message) {
	if d.sum == nil {
		return
	}
	b, err := wire.Append(d.buf[:0], m)
	if err != nil {
		panic(err) // only invalid UTF-8 can do that, and form checks keep it out
	}
	d.encoded(b)
}

// encoded hashes what was encoded behind d.buf[:0].
func (d *digester) encoded(b []byte) {
	d.buf = b
	d.number(uint64(len(b)))
	d.sum.Write(b)
}

func (d *digester) record(r *musterv1.Record) { d.message(r) }

// event is record for an event: most entries have many.
func (d *digester) event(e *musterv1.Event) {
	if d.sum == nil {
		return
	}
	b, err := wire.AppendEvent(d.buf[:0], e)
	if err != nil {
		panic(err) // as in message
	}
	d.encoded(b)
}

// member is record for a member of a world, detached for one of none.
func (d *digester) member(rec *record) {
	if d.sum != nil {
		d.encoded(appendMember(d.buf[:0], rec, 0, procKind))
	}
}

func (d *digester) detached(rec *record) {
	if d.sum != nil {
		d.encoded(appendMember(d.buf[:0], rec, rec.facts().lastReportNs, detachedKind))
	}
}

func (d *digester) dropped(kind string, key proto.Message) {
	if d.sum == nil {
		return
	}
	d.sum.Write([]byte(kind))
	d.message(key)
}

func (d *digester) end(s *State, outcomes []*musterv1.Outcome) [32]byte {
	for _, o := range outcomes {
		d.message(o)
	}
	d.message(s.core)
	var out [32]byte
	d.sum.Sum(out[:0])
	return out
}

// Digest of the state after the last entry: it chains the digest before, the entry's Raft index, its outcomes, and the records it
// changed or dropped. Two replicas with the same digest at the same index have the same state, times of last reports apart.
func (s *State) Digest() [32]byte { return s.digest }
