package fsm

import (
	"fmt"

	musterv1 "muster/proto/muster/v1"
)

// Locate is where a worker can be reached directly, whatever incarnation p names: at its own address or, where it has none, at its
// world's. Both are found by exact places, so no other binding can stand in the way.
func (s *State) Locate(p *musterv1.ProcRef) *musterv1.Located {
	m := memberOf(p)
	out := &musterv1.Located{Proc: m.ref(0)}
	if rec := s.holder(m); rec != nil {
		out.Proc, out.Address = rec.ref(), rec.address()
	}
	if w := s.worlds[m.world]; w != nil && out.Address == "" {
		out.Address = w.rec.Spec.GetAddress()
	}
	return out
}

// holder is the record of whoever holds a place, as a member of its world or Detached; nil if nobody does.
func (s *State) holder(m member) *record {
	if _, rec := s.lookup(m); rec != nil {
		return rec
	}
	return s.detached[m]
}

// Addressee says who a message for a worker goes to, with the present incarnation. Otherwise the delivery says why it can go to nobody, and
// why has it in words. An incarnation that p names must be the present one.
func (s *State) Addressee(p *musterv1.ProcRef) (to *musterv1.ProcRef, delivery musterv1.Delivery, why string) {
	m := memberOf(p)
	rec := s.holder(m)
	if rec == nil {
		delivery, why = s.nobody(m)
		return nil, delivery, why
	}
	if named := p.GetIncarnation(); named != 0 && named != rec.incarnation {
		return nil, musterv1.Delivery_DELIVERY_SUPERSEDED,
			fmt.Sprintf("%s is incarnation %d by now, not %d", printMember(m), rec.incarnation, named)
	}
	if rec.mode != musterv1.Mode_MODE_DETACHED {
		switch rec.health {
		case musterv1.Health_HEALTH_FAILED, musterv1.Health_HEALTH_COMPLETED, musterv1.Health_HEALTH_STOPPED:
			return nil, musterv1.Delivery_DELIVERY_ENDED, fmt.Sprintf("%s is %s", printMember(m), HealthName(rec.health))
		}
		if rec.assignment != nil && !rec.assignment.Claimed {
			return nil, musterv1.Delivery_DELIVERY_NOT_JOINED,
				fmt.Sprintf("a host runs %s, and its program has not joined", printMember(m))
		}
	}
	return rec.ref(), musterv1.Delivery_DELIVERY_UNSPECIFIED, ""
}

// nobody says why a place has no holder.
func (s *State) nobody(m member) (musterv1.Delivery, string) {
	if s.worlds[m.world] != nil {
		return musterv1.Delivery_DELIVERY_UNKNOWN_PROC, printMember(m) + " has not joined"
	}
	if old := s.latestEnded(m.world); old != nil {
		return musterv1.Delivery_DELIVERY_ENDED, fmt.Sprintf("world %s has ended (%s)", m.world, StatusName(old.Condition.Status))
	}
	return musterv1.Delivery_DELIVERY_UNKNOWN_WORLD, "there is no world " + m.world
}

// moved has the leader look whom to tell that a worker may be found elsewhere.
func (s *State) moved(rec *record) {
	if rec.role != musterv1.Role_ROLE_HOST {
		s.entry.effects.Moved = append(s.entry.effects.Moved, rec.ref())
	}
}

// movedWorld is moved for all workers of a world that was given an address, or loses it.
func (s *State) movedWorld(rec *musterv1.WorldRecord) {
	if rec.Spec.GetAddress() != "" {
		s.entry.effects.MovedWorlds = append(s.entry.effects.MovedWorlds, rec.World)
	}
}

// elsewhere tells whether two records of a place, of which the first may be nil, tell others different things.
func elsewhere(before, now *record) bool {
	return before == nil || before.incarnation != now.incarnation || before.address() != now.address()
}
