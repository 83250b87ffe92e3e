package fsm

import (
	"fmt"
	"iter"

	musterv1 "muster/proto/muster/v1"
)

// Most of what is applied is "alive" of ranks that neighbour. They are found without hashing and without a look at their records: by
// world.near, the slots of the workers of every rank below its length, one up, 0 where nobody is; and by State.alive, which follows from the
// records. Both are kept by putMember and dropMember alone. The workers of other ranks are in world.far.

// nearShare is how many ranks near may have for each worker of a world, beside the first nearLeast, so that it costs no more than the
// workers themselves, whatever their ranks are.
const (
	nearShare = 4
	nearLeast = 64
)

func (w *world) workerCount() int { return w.nearWorkers + len(w.far) }

func (w *world) empty() bool { return w.workerCount() == 0 && len(w.hosts) == 0 }

// slot of a member.
func (w *world) slot(role musterv1.Role, rank uint32) (slot Slot, ok bool) {
	switch {
	case role == musterv1.Role_ROLE_HOST:
		slot, ok = w.hosts[rank]
	case uint64(rank) < uint64(len(w.near)):
		slot, ok = w.near[rank]-1, w.near[rank] != 0
	default:
		slot, ok = w.far[rank]
	}
	return slot, ok
}

func (w *world) setSlot(role musterv1.Role, rank uint32, slot Slot) {
	_, present := w.slot(role, rank)
	switch {
	case role == musterv1.Role_ROLE_HOST:
		w.hosts[rank] = slot
		return
	case int(rank) >= len(w.near):
		w.far[rank] = slot
	default:
		w.near[rank] = slot + 1
		if !present {
			w.nearWorkers++
		}
	}
	if !present && len(w.far) > 0 { // a walk replaces: nobody may move for that
		w.extendNear(rank)
	}
}

// extendNear has near reach a rank, and the far ones that follow it without a gap, if it may.
func (w *world) extendNear(rank uint32) {
	most := nearShare*w.workerCount() + nearLeast
	if int(rank) >= most {
		return
	}
	for next := uint32(len(w.near)); int(next) < most; next++ {
		slot, present := w.far[next]
		switch {
		case present:
			delete(w.far, next)
			w.near = append(w.near, slot+1)
			w.nearWorkers++
		case next < rank:
			w.near = append(w.near, 0)
		default:
			return
		}
	}
}

func (w *world) dropSlot(role musterv1.Role, rank uint32) {
	switch {
	case role == musterv1.Role_ROLE_HOST:
		delete(w.hosts, rank)
	case int(rank) >= len(w.near):
		delete(w.far, rank)
	case w.near[rank] != 0:
		w.near[rank] = 0
		w.nearWorkers--
	}
}

// workersFrom walks the workers from a rank on, in order of their ranks. It costs what is walked; only those of ranks that are far, as few
// worlds have them, are looked for among all. Any may be replaced meanwhile, and the present one dropped.
func (w *world) workersFrom(first uint32) iter.Seq2[uint32, Slot] {
	return func(yield func(uint32, Slot) bool) {
		for rank := uint64(first); rank < uint64(len(w.near)); rank++ {
			if up := w.near[rank]; up != 0 && !yield(uint32(rank), up-1) {
				return
			}
		}
		if len(w.far) > 0 {
			sortedFrom(w.far, first)(yield)
		}
	}
}

// checkNear: each worker is in one table.
func (w *world) checkNear() error {
	n := 0
	for _, up := range w.near {
		if up != 0 {
			n++
		}
	}
	if n != w.nearWorkers {
		return fmt.Errorf("%d workers are near, counted %d", n, w.nearWorkers)
	}
	for rank := range sorted(w.far) {
		if int(rank) < len(w.near) {
			return fmt.Errorf("rank %d counts as far, where ranks below %d are near", rank, len(w.near))
		}
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
