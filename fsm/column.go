package fsm

import (
	"iter"
	"slices"
)

// pageSize is how many values of a column are copied at once by the first write behind a snapshot: few enough that the copy takes no time
// that is felt, and so many that a million members have no more than two thousand pages, whose list a snapshot copies.
const pageSize = 512

// pages holds a value for each slot, to be read.
type pages[T any] struct {
	list [][]T // of pageSize each
	n    int
}

func (p *pages[T]) len() int { return p.n }

func (p *pages[T]) at(slot Slot) T { return p.list[slot/pageSize][slot%pageSize] }

// all yields every slot with its value; the present one may be set meanwhile.
func (p *pages[T]) all() iter.Seq2[Slot, T] {
	return func(yield func(Slot, T) bool) {
		for slot := range Slot(p.n) {
			if !yield(slot, p.at(slot)) {
				return
			}
		}
	}
}

// column is pages that can be written. A frozen copy shares them; the first write to a page behind it copies the page. Owned like the
// State; it may be frozen by one while others read.
type column[T any] struct {
	pages[T]
	made   []uint64 // how often the column had been frozen when each page was made
	frozen uint64   // how often it was
}

func (c *column[T]) set(slot Slot, value T) {
	page := slot / pageSize
	if c.made[page] != c.frozen {
		c.list[page], c.made[page] = slices.Clone(c.list[page]), c.frozen
	}
	c.list[page][slot%pageSize] = value
}

// add appends a value and returns its slot.
func (c *column[T]) add(value T) Slot {
	slot := Slot(c.n)
	if c.n++; int(slot/pageSize) == len(c.list) {
		c.list, c.made = append(c.list, make([]T, pageSize)), append(c.made, c.frozen)
	}
	c.set(slot, value)
	return slot
}

// fill sets every value, in no more time than it takes to list the pages: all are one, until each is written to.
func (c *column[T]) fill(value T) {
	page := slices.Repeat([]T{value}, pageSize)
	c.frozen++ // so that no page is written to in its place
	for i := range c.list {
		c.list[i] = page
	}
}

// freeze is the column as it is now, for as long as anybody keeps it.
func (c *column[T]) freeze() pages[T] {
	c.frozen++
	return pages[T]{list: slices.Clone(c.list), n: c.n}
}
