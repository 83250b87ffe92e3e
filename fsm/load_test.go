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

// TestLoader_RefusesPlaces: a record of a member is refused unless it names a place and an incarnation, whoever reads it.
func TestLoader_RefusesPlaces(t *testing.T) {
	good := func() *musterv1.ProcRef {
		return &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: 1<<24 - 1, Incarnation: 1}
	}
	kinds := map[string]func(*musterv1.ProcRef) *musterv1.Record{
		"proc": func(p *musterv1.ProcRef) *musterv1.Record {
			return &musterv1.Record{Body: &musterv1.Record_Proc{Proc: &musterv1.ProcRecord{Proc: p, Timeouts: &musterv1.Timeouts{}}}}
		},
		"detached": func(p *musterv1.ProcRef) *musterv1.Record {
			return &musterv1.Record{Body: &musterv1.Record_Detached{Detached: &musterv1.ProcRecord{Proc: p}}}
		},
		"stop target": func(p *musterv1.ProcRef) *musterv1.Record {
			return &musterv1.Record{Body: &musterv1.Record_StopTarget{StopTarget: &musterv1.StopTarget{Proc: p, Operation: 5}}}
		},
	}
	for kind, record := range kinds {
		load := func(p *musterv1.ProcRef) error {
			l := newLoader(MachineVersion)
			l.key = recordKey{kind: coreKind}
			w := newWorld()
			w.rec = &musterv1.WorldRecord{World: "w", Condition: &musterv1.Condition{}, Timeouts: &musterv1.Timeouts{}}
			l.s.addWorld("w", 1, w)
			l.s.stops[5] = newStop()
			body, err := proto.Marshal(record(p))
			require.NoError(t, err)
			return l.add(body)
		}
		require.NoError(t, load(good()), kind)
		for name, spoil := range map[string]func(*musterv1.ProcRef){
			"no world":       func(p *musterv1.ProcRef) { p.World = "" },
			"no role":        func(p *musterv1.ProcRef) { p.Role = 0 },
			"another role":   func(p *musterv1.ProcRef) { p.Role = 3 },
			"negative role":  func(p *musterv1.ProcRef) { p.Role = -1 },
			"rank too high":  func(p *musterv1.ProcRef) { p.Rank = 1 << 24 },
			"no incarnation": func(p *musterv1.ProcRef) { p.Incarnation = 0 },
		} {
			p := good()
			spoil(p)
			require.EqualError(t, load(p), "state file: a record of a member without world, role, rank or incarnation", "%s: %s", kind, name)
		}
		require.Error(t, load(nil), kind)
	}
}
