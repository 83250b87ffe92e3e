package health

import (
	"testing"

	"github.com/stretchr/testify/require"

	"muster/fsm"
)

type deadlines map[uint64]int64

func (d deadlines) Deadline(t fsm.Timer) (int64, bool) {
	at, ok := d[t.ID]
	return at, ok
}

// TestDecide: who reported goes back to its new deadline, who is gone is forgotten, who is late is observed and looked at again.
func TestDecide(t *testing.T) {
	timers := []fsm.Timer{{ID: 1, AtNs: 10}, {ID: 2, AtNs: 20}, {ID: 3, AtNs: 30}, {ID: 4, AtNs: 40}}
	passed, back := Decide(100, timers, deadlines{1: 150, 2: 99, 4: 100})
	require.Equal(t, []fsm.Timer{{ID: 2, AtNs: 20}}, passed)
	require.Equal(t, []fsm.Timer{{ID: 1, AtNs: 150}, {ID: 2, AtNs: 100 + retry}, {ID: 4, AtNs: 100}}, back)
}

func TestIndex_Passed(t *testing.T) {
	x := NewIndex()
	x.Add(fsm.Timer{ID: 2, AtNs: 20}, fsm.Timer{ID: 1, AtNs: 10}, fsm.Timer{ID: 3, AtNs: 30})
	x.Add(fsm.Timer{ID: 1, AtNs: 10})
	require.Equal(t, 3, x.Len(), "the same timer twice is one")
	require.Empty(t, x.Passed(10), "a deadline must have passed")
	require.Equal(t, []fsm.Timer{{ID: 1, AtNs: 10}, {ID: 2, AtNs: 20}}, x.Passed(30))
	require.Equal(t, 1, x.Len())
}

func TestIndex_Rounds(t *testing.T) {
	x := NewIndex()
	for i := range uint64(MaxRound + 10) {
		x.Add(fsm.Timer{ID: i, AtNs: int64(i)})
	}
	require.Len(t, x.Passed(1<<40), MaxRound)
	require.Len(t, x.Passed(1<<40), 10)
}

func BenchmarkLazyRearm(b *testing.B) {
	x := NewIndex()
	for i := range uint64(1_000_000) {
		x.Add(fsm.Timer{ID: i, AtNs: int64(i)})
	}
	x.Len()
	now := int64(0)
	for b.Loop() {
		t, _ := x.tree.DeleteMin()
		now = t.AtNs
		t.AtNs = now + 1_000_000
		x.tree.ReplaceOrInsert(t)
	}
}
