package fsm

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	musterv1 "muster/proto/muster/v1"
)

// fullRecord is a message that has all fields there are, and in them all there are.
func fullRecord(t *testing.T) *musterv1.ProcRecord {
	p := &musterv1.ProcRecord{}
	fill(t, p.ProtoReflect())
	return p
}

func fill(t *testing.T, m protoreflect.Message) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		if f.ContainingOneof() != nil {
			continue
		}
		one := func() protoreflect.Value {
			switch f.Kind() {
			case protoreflect.StringKind:
				return protoreflect.ValueOfString(string(f.Name()))
			case protoreflect.BytesKind:
				return protoreflect.ValueOfBytes([]byte(f.Name()))
			case protoreflect.EnumKind:
				return protoreflect.ValueOfEnum(protoreflect.EnumNumber(1))
			case protoreflect.BoolKind:
				return protoreflect.ValueOfBool(true)
			case protoreflect.Uint32Kind:
				return protoreflect.ValueOfUint32(uint32(100 + i))
			case protoreflect.Uint64Kind:
				return protoreflect.ValueOfUint64(uint64(100 + i))
			case protoreflect.Int64Kind:
				return protoreflect.ValueOfInt64(int64(100 + i))
			}
			require.Fail(t, "fill does not know", "%v", f)
			return protoreflect.Value{}
		}
		switch {
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			fill(t, m.Mutable(f).List().AppendMutable().Message())
		case f.IsList():
			m.Mutable(f).List().Append(one())
		case f.Kind() == protoreflect.MessageKind:
			fill(t, m.Mutable(f).Message())
		default:
			m.Set(f, one())
		}
	}
}

// TestRecord_Message: a record becomes the message that it was made of, whatever that had.
func TestRecord_Message(t *testing.T) {
	place := &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_HOST, Rank: 1<<24 - 1, Incarnation: 1<<64 - 1}
	for name, p := range map[string]*musterv1.ProcRecord{
		"everything":    fullRecord(t),
		"nothing":       {Proc: place},
		"short nonce":   {Proc: place, Nonce: []byte{1}},
		"common nonce":  {Proc: place, Nonce: bytes.Repeat([]byte{0}, nonceSize)},
		"longer nonce":  {Proc: place, Nonce: bytes.Repeat([]byte{2}, nonceSize+1)},
		"long nonce":    {Proc: place, Nonce: bytes.Repeat([]byte{3}, 300)},
		"key":           {Proc: place, Key: "k"},
		"address":       {Proc: place, Address: "tcp:a:1"},
		"unknown enums": {Proc: place, Mode: -1, Health: 1 << 30},
		"count alone":   {Proc: place, FailedActorCount: 65},
	} {
		t.Run(name, func(t *testing.T) {
			want := proto.CloneOf(p)
			var shared interner
			m := newRecordMessage()
			m.ofMember(shared.recordOf(fullRecord(t)), 1) // nothing of it stays
			rec := shared.recordOf(p)
			require.Equal(t, memberOf(want.Proc), rec.member())
			require.True(t, rec.joinedWith(want.Nonce))
			require.False(t, rec.joinedWith(append(bytes.Clone(want.Nonce), 0)))
			require.True(t, proto.Equal(want.Proc, rec.ref()))
			got := m.ofMember(rec, want.LastReportNs)
			require.True(t, proto.Equal(&musterv1.Record{Body: &musterv1.Record_Proc{Proc: want}}, got), "%v, want %v", got, want)
			f := rec.facts()
			f.lastReportNs = want.LastReportNs
			rec.setFacts(f)
			got = m.ofDetached(rec)
			require.True(t, proto.Equal(&musterv1.Record{Body: &musterv1.Record_Detached{Detached: want}}, got), "%v, want %v", got, want)
		})
	}
}

// TestRecord_Clone: what is changed of a copy is not changed of the record.
func TestRecord_Clone(t *testing.T) {
	var shared interner
	rec := shared.recordOf(fullRecord(t))
	rec.setNonce(bytes.Repeat([]byte{1}, nonceSize+1))
	m := newRecordMessage()
	before := proto.CloneOf(m.ofMember(rec, 0))
	c := rec.clone()
	c.incarnation, c.highestOrder = 7, 7
	c.setTexts("other", "elsewhere")
	c.setNonce([]byte("another"))
	c.setHealth(musterv1.Health_HEALTH_FAILED, "changed")
	c.setLabels(nil)
	c.setFailedActors(nil, 0)
	c.assignment.State, c.assignment.Exit = musterv1.Assignment_STATE_ENDED, nil
	require.True(t, proto.Equal(before, m.ofMember(rec, 0)))
	require.False(t, proto.Equal(before, m.ofMember(c, 0)))
	require.True(t, c.joinedWith([]byte("another")))
	c.setHealth(musterv1.Health_HEALTH_ALIVE, "")
	require.Nil(t, c.rare, "nothing rare is left")
}

// TestRecord_Size: a record fills what the allocator gives it, and one without anything rare is a single object beside its texts.
func TestRecord_Size(t *testing.T) {
	require.LessOrEqual(t, reflect.TypeFor[record]().Size(), uintptr(112))
	var shared interner
	p := &musterv1.ProcRecord{Proc: &musterv1.ProcRef{World: "w"}, Key: "k", Machine: "m", Nonce: make([]byte, nonceSize)}
	shared.recordOf(p)
	require.Equal(t, 1.0, testing.AllocsPerRun(100, func() { shared.recordOf(p) }))
}
