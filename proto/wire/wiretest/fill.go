// Package wiretest has messages for tests of what is written and read by hand.
package wiretest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Fill sets all fields of m that are in no oneof, and in messages among them all of theirs.
func Fill[M proto.Message](t testing.TB, m M) M {
	fill(t, m.ProtoReflect())
	return m
}

func fill(t testing.TB, m protoreflect.Message) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		switch {
		case f.ContainingOneof() != nil:
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			fill(t, m.Mutable(f).List().AppendMutable().Message())
		case f.IsList():
			m.Mutable(f).List().Append(value(t, f))
		case f.Kind() == protoreflect.MessageKind:
			fill(t, m.Mutable(f).Message())
		default:
			m.Set(f, value(t, f))
		}
	}
}

// value is one that is not a field's default, and differs between fields of a message where it can.
func value(t testing.TB, f protoreflect.FieldDescriptor) protoreflect.Value {
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
		return protoreflect.ValueOfUint32(uint32(100 + f.Index()))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(100 + f.Index()))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(100 + f.Index()))
	}
	require.Fail(t, "Fill does not know", "%v", f)
	return protoreflect.Value{}
}

// Unknown gives m a field that no binary knows.
func Unknown[M proto.Message](m M) M {
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	return m
}

// Alone are messages of m's type which each have one of the fields of m and no other, by the name of that.
func Alone[M proto.Message](m M) map[string]M {
	alone := map[string]M{}
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		one := m.ProtoReflect().New()
		one.Set(f, v)
		alone[string(f.Name())] = one.Interface().(M)
		return true
	})
	return alone
}

// Marshal is what protobuf writes for m.
func Marshal(t testing.TB, m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	require.NoError(t, err)
	return b
}
