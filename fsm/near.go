package fsm

import (
	"errors"
	"fmt"
	"iter"

	"github.com/tidwall/btree"

	musterv1 "muster/proto/muster/v1"
)

// Most of what is applied is "alive" of ranks that neighbour. They are found without hashing and without a look at their records: by rankTable.near,
// and by State.alive, which follows from the records. Both are kept by storeMember and dropMember alone.

// rankTable finds the members of a world and role by rank, and walks them in order from any rank on.
type rankTable struct {
	near      []Slot // of every rank below its length, one up, 0 where nobody is
	nearCount int
	far       btree.Map[uint32, Slot] // those that near does not reach
}

// nearShare is how many ranks near may have for each member, beside the first nearLeast, so that it costs no more than the members themselves,
// whatever their ranks are.
const (
	nearShare = 4
	nearLeast = 64
	// maxMoved bounds what one member costs who comes.
	maxMoved = 1024
)

func (r *rankTable) len() int { return r.nearCount + r.far.Len() }

func (r *rankTable) at(rank uint32) (slot Slot, ok bool) {
	if uint64(rank) < uint64(len(r.near)) {
		up := r.near[rank]
		return up - 1, up != 0
	}
	if r.far.Len() == 0 {
		return 0, false
	}
	return r.far.Get(rank)
}

func (r *rankTable) has(rank uint32) bool {
	_, ok := r.at(rank)
	return ok
}

func (r *rankTable) set(rank uint32, slot Slot) {
	if int(rank) == len(r.near) && r.far.Len() == 0 && int(rank) < nearShare*(r.len()+1)+nearLeast { // as most come
		r.near = append(r.near, slot+1)
		r.nearCount++
		return
	}
	present := r.has(rank)
	if int(rank) >= len(r.near) {
		r.far.Set(rank, slot)
	} else {
		r.near[rank] = slot + 1
		if !present {
			r.nearCount++
		}
	}
	if !present && r.far.Len() > 0 { // a walk replaces: nobody may move for that
		r.extendNear(rank)
	}
}

// extendNear has near reach a rank, and the far ones that follow it without a gap, if it may. It moves maxMoved far ones at most: the next
// that come move the others.
func (r *rankTable) extendNear(rank uint32) {
	most := nearShare*r.len() + nearLeast
	if int(rank) >= most {
		return
	}
	for range maxMoved {
		next, _, ok := r.far.Min()
		if !ok || int(next) >= most || next > rank && int(next) > len(r.near) {
			return
		}
		_, slot, _ := r.far.PopMin()
		r.near = append(append(r.near, make([]Slot, int(next)-len(r.near))...), slot+1)
		r.nearCount++
	}
}

func (r *rankTable) drop(rank uint32) {
	switch {
	case int(rank) >= len(r.near):
		r.far.Delete(rank)
	case r.near[rank] != 0:
		r.near[rank] = 0
		r.nearCount--
	}
}

// from walks the members from a rank on, in order of their ranks. It costs what is walked, and less than a nanosecond for each rank of near
// where nobody is any more. Any may be replaced meanwhile, and the present one dropped.
func (r *rankTable) from(first uint32) iter.Seq2[uint32, Slot] {
	return func(yield func(uint32, Slot) bool) {
		for rank := uint64(first); rank < uint64(len(r.near)); rank++ {
			if up := r.near[rank]; up != 0 && !yield(uint32(rank), up-1) {
				return
			}
		}
		for ok := true; ok; {
			ok = false
			var slot Slot
			r.far.Ascend(first, func(rank uint32, at Slot) bool {
				first, slot, ok = rank, at, true
				return false
			})
			if ok && !yield(first, slot) {
				return
			}
			first++
		}
	}
}

// check: each member is in one table.
func (r *rankTable) check() error {
	n := 0
	for _, up := range r.near {
		if up != 0 {
			n++
		}
	}
	if n != r.nearCount {
		return fmt.Errorf("%d members are near, counted %d", n, r.nearCount)
	}
	if rank, _, ok := r.far.Min(); ok && int(rank) < len(r.near) {
		return fmt.Errorf("rank %d counts as far, where ranks below %d are near", rank, len(r.near))
	}
	return nil
}

func (w *world) members(role musterv1.Role) *rankTable {
	if role == musterv1.Role_ROLE_HOST {
		return &w.hosts
	}
	return &w.workers
}

func (w *world) empty() bool { return w.workers.len() == 0 && w.hosts.len() == 0 }

// slot of a member.
func (w *world) slot(role musterv1.Role, rank uint32) (slot Slot, ok bool) {
	return w.members(role).at(rank)
}

// checkRanks holds the tables of both roles.
func (w *world) checkRanks() error { return errors.Join(w.workers.check(), w.hosts.check()) }

// aliveIncarnation is what State.alive holds of a member.
func aliveIncarnation(rec *record) uint64 {
	if rec.health != musterv1.Health_HEALTH_ALIVE {
		return 0
	}
	return rec.incarnation
}
