package fsm

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestColumn_Frozen: frozen copies keep what they were made of, whatever is written and added afterwards, and share pages that are not.
func TestColumn_Frozen(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c := &column[int]{}
	now := map[Slot]int{}
	type copied struct {
		frozen pages[int]
		was    map[Slot]int
	}
	var copies []copied
	for i := range 20_000 {
		switch {
		case i%5000 == 4999:
			copies = append(copies, copied{c.freeze(), maps.Clone(now)})
		case c.len() == 0 || random.IntN(3) == 0:
			now[c.add(i)] = i
		default:
			slot := Slot(random.IntN(c.len()))
			c.set(slot, i)
			now[slot] = i
		}
	}
	require.Equal(t, now, maps.Collect(c.all()))
	for _, f := range copies {
		require.Equal(t, f.was, maps.Collect(f.frozen.all()))
	}
	last := c.freeze()
	c.set(0, -1)
	require.NotSame(t, &last.list[0][0], &c.list[0][0])
	require.Same(t, &last.list[1][0], &c.list[1][0])
	c.set(1, -2)
	require.Equal(t, -2, c.at(1))
	require.Same(t, &last.list[1][0], &c.list[1][0])
}

// TestColumn_Fill: every value is the new one, each can be set by itself, and what was frozen before stays as it was.
func TestColumn_Fill(t *testing.T) {
	c := &column[int]{}
	for i := range 3*pageSize + 1 {
		c.add(i)
	}
	before := c.freeze()
	c.fill(7)
	filled := c.freeze()
	c.fill(8)
	c.set(1, 9)
	c.set(pageSize+1, 10)
	added := c.add(11)
	for slot, v := range c.all() {
		switch slot {
		case 1:
			require.Equal(t, 9, v)
		case pageSize + 1:
			require.Equal(t, 10, v)
		case added:
			require.Equal(t, 11, v)
		default:
			require.Equal(t, 8, v)
		}
	}
	for slot := range Slot(3*pageSize + 1) {
		require.Equal(t, int(slot), before.at(slot))
		require.Equal(t, 7, filled.at(slot))
	}
}
