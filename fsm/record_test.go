package fsm

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// TestRecord_Clone: what is changed of a copy is not changed of the record.
func TestRecord_Clone(t *testing.T) {
	var shared interner
	rec := shared.recordOf(fullRecord(t))
	rec.setNonce(bytes.Repeat([]byte{1}, nonceSize+1))
	before := appendMember(nil, rec, 0, procKind)
	c := rec.clone()
	c.incarnation, c.highestOrder = 7, 7
	c.setTexts("other", "elsewhere")
	c.setNonce([]byte("another"))
	c.setHealth(musterv1.Health_HEALTH_FAILED, "changed")
	c.setLabels(nil)
	c.setFailedActors(nil, 0)
	c.assignment.State, c.assignment.Exit = musterv1.Assignment_STATE_ENDED, nil
	require.Equal(t, before, appendMember(nil, rec, 0, procKind))
	require.NotEqual(t, before, appendMember(nil, c, 0, procKind))
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
