package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	musterv1 "muster/proto/muster/v1"
)

// TestKeyOf_Kinds: every record that there is has a kind, which is its number: files are written in that order.
func TestKeyOf_Kinds(t *testing.T) {
	bodies := (&musterv1.Record{}).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range bodies.Len() {
		r := &musterv1.Record{}
		r.ProtoReflect().Mutable(bodies.Get(i))
		require.EqualValues(t, bodies.Get(i).Number(), keyOf(r).kind, bodies.Get(i).Name())
	}
}

// TestSameTimeouts: it compares every field.
func TestSameTimeouts(t *testing.T) {
	a := &musterv1.Timeouts{}
	require.True(t, sameTimeouts(a, &musterv1.Timeouts{}))
	fields := a.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		b := proto.CloneOf(a)
		b.ProtoReflect().Set(fields.Get(i), protoreflect.ValueOfInt64(1))
		require.False(t, sameTimeouts(a, b), fields.Get(i).Name())
	}
}
