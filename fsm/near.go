package fsm

import (
	"fmt"
	"iter"

	musterv1 "muster/proto/muster/v1"
)

// Most of what is applied is "alive" of ranks that neighbour. They are found without hashing and without a look at their records: by
// world.near, the slots of the workers of every rank below its length, one up, 0 where nobody is; and by State.alive. Both follow from the
// maps and the records, and are kept by putMember and dropMember alone.

// nearShare is how many ranks near may have for each worker of a world, beside the first nearLeast, so that it costs no more than the
// workers themselves, whatever their ranks are.
const (
	nearShare = 4
	nearLeast = 64
)

// slot of a member.
func (w *world) slot(role musterv1.Role, rank uint32) (slot Slot, ok bool) {
	if role != musterv1.Role_ROLE_HOST && uint64(rank) < uint64(len(w.near)) {
		up := w.near[rank]
		return up - 1, up != 0
	}
	slot, ok = w.members(role)[rank]
	return slot, ok
}

func (w *world) setSlot(role musterv1.Role, rank uint32, slot Slot) {
	w.members(role)[rank] = slot
	if role == musterv1.Role_ROLE_HOST {
		return
	}
	if int(rank) < nearShare*len(w.workers)+nearLeast {
		for next := uint32(len(w.near)); next <= rank; next++ {
			up := Slot(0)
			if far, ok := w.workers[next]; ok {
				up = far + 1
				w.nearWorkers++
			}
			w.near = append(w.near, up)
		}
	}
	if int(rank) < len(w.near) {
		if w.near[rank] == 0 {
			w.nearWorkers++
		}
		w.near[rank] = slot + 1
	}
}

func (w *world) dropSlot(role musterv1.Role, rank uint32) {
	delete(w.members(role), rank)
	if role != musterv1.Role_ROLE_HOST && int(rank) < len(w.near) && w.near[rank] != 0 {
		w.near[rank] = 0
		w.nearWorkers--
	}
}

// workersFrom walks the workers from a rank on, in order of their ranks. It costs what is walked; only those of ranks that are far, as few
// worlds have them, are looked for among all.
func (w *world) workersFrom(first uint32) iter.Seq2[uint32, Slot] {
	return func(yield func(uint32, Slot) bool) {
		for rank := uint64(first); rank < uint64(len(w.near)); rank++ {
			if up := w.near[rank]; up != 0 && !yield(uint32(rank), up-1) {
				return
			}
		}
		if w.nearWorkers == len(w.workers) {
			return
		}
		sortedFrom(w.workers, max(first, uint32(len(w.near))))(yield)
	}
}

// checkNear holds near against the workers.
func (w *world) checkNear() error {
	n := 0
	for rank, up := range w.near {
		slot, ok := w.workers[uint32(rank)]
		if ok != (up != 0) || ok && slot != up-1 {
			return fmt.Errorf("rank %d is in slot %d (there: %t) and noted in %d, one up", rank, slot, ok, up)
		}
		if ok {
			n++
		}
	}
	if n != w.nearWorkers {
		return fmt.Errorf("%d workers are near, counted %d", n, w.nearWorkers)
	}
	return nil
}

// aliveIncarnation is what State.alive holds of a member.
func aliveIncarnation(rec *record) uint64 {
	if rec.health != musterv1.Health_HEALTH_ALIVE {
		return 0
	}
	return rec.incarnation
}
