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

// TestLoader_ReadsAnew: a record of a proc has nothing of the one before it.
func TestLoader_ReadsAnew(t *testing.T) {
	full := &musterv1.ProcRecord{
		Proc: &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: 3, Incarnation: 7}, Nonce: []byte("nonce"), Key: "k", Machine: "m",
		Address: "a", Labels: []*musterv1.Label{{Key: "x"}}, Mode: 1, Health: 1, Cause: "c", Timeouts: &musterv1.Timeouts{LeaseNs: 1},
		FailedActors: []*musterv1.FailedActor{{Actor: "f"}}, FailedActorCount: 1, LastReportNs: 5, HighestOrder: 6, Assignment: &musterv1.Assignment{Order: 1},
	}
	l := newLoader()
	for _, p := range []*musterv1.ProcRecord{full, {Proc: &musterv1.ProcRef{Rank: 4}}, {}, full} {
		body, err := proto.Marshal(&musterv1.Record{Body: &musterv1.Record_Proc{Proc: p}})
		require.NoError(t, err)
		r := l.next.empty()
		require.NoError(t, proto.UnmarshalOptions{Merge: true}.Unmarshal(body, r))
		want := proto.CloneOf(p)
		if want.Proc == nil {
			want.Proc = &musterv1.ProcRef{}
		}
		require.True(t, proto.Equal(want, r.GetProc()), "%v is read as %v", want, r.GetProc())
	}
	body, err := proto.Marshal(&musterv1.Record{Body: &musterv1.Record_Stop{Stop: &musterv1.StopRecord{Operation: 9}}})
	require.NoError(t, err)
	r := l.next.empty()
	require.NoError(t, proto.UnmarshalOptions{Merge: true}.Unmarshal(body, r))
	require.EqualValues(t, 9, r.GetStop().GetOperation())
}
