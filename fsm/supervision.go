package fsm

import (
	"iter"

	musterv1 "muster/proto/muster/v1"
)

// Supervision is who of a world is not healthy, or everybody, as of one number. It holds records of the state, which never change: who
// reads the state notes them and leaves, and makes the Answer of thousands of members afterwards. Safe for use by one goroutine, while
// others go on with the State.
type Supervision struct {
	answer  *musterv1.WorldSupervisionResponse
	clockNs int64
	members []notedMember // supervised or not
}

type notedMember struct {
	rec        *record
	lastReport int64
}

// Supervision notes who of a world is not healthy, or with all, everybody: of those in order of (role, rank) at most the first MaxPage.
func (s *State) Supervision(name string, all bool) *Supervision {
	r := &musterv1.WorldSupervisionResponse{Number: s.core.Number, Known: musterv1.WorldSupervisionResponse_KNOWN_UNKNOWN}
	v := &Supervision{answer: r, clockNs: s.core.ClockNs}
	w := s.worlds[name]
	if w == nil {
		if rec := s.latestEnded(name); rec != nil {
			r.Known, r.Condition = musterv1.WorldSupervisionResponse_KNOWN_ENDED, rec.Condition
		}
		return v
	}
	r.Condition = w.rec.Condition
	if w.supervised == 0 {
		r.Known = musterv1.WorldSupervisionResponse_KNOWN_NO_SUPERVISION
		return v
	}
	r.Known = musterv1.WorldSupervisionResponse_KNOWN_SUPERVISED
	members, most := w.unhealthyMembers(), w.unhealthy.Len()
	if all {
		members, most = s.membersFrom(w, cursor{}), w.workers.len()+w.hosts.len()
	}
	v.members = make([]notedMember, 0, min(most, MaxPage))
	for _, slot := range members {
		if len(v.members) == MaxPage {
			break
		}
		v.members = append(v.members, notedMember{s.recs.at(slot), s.lastReport.at(slot)})
	}
	return v
}

// Answer is what was noted, as a message.
func (v *Supervision) Answer() *musterv1.WorldSupervisionResponse {
	for _, m := range v.members {
		if isSupervised(m.rec) {
			v.answer.Procs = append(v.answer.Procs, viewOf(m.rec, v.clockNs-m.lastReport))
		}
	}
	v.members = nil
	return v.answer
}

// place is a role and a rank, in order of both.
type place uint64

func placeIn(role musterv1.Role, rank uint32) place { return place(role)<<32 | place(rank) }

func (p place) role() musterv1.Role { return musterv1.Role(p >> 32) }
func (p place) rank() uint32        { return uint32(p) }

// unhealthyMembers walks the supervised members that are not healthy, in order of (role, rank).
func (w *world) unhealthyMembers() iter.Seq2[member, Slot] {
	return func(yield func(member, Slot) bool) {
		w.unhealthy.Scan(func(p place) bool {
			slot, _ := w.slot(p.role(), p.rank())
			return yield(member{w.rec.World, p.role(), p.rank()}, slot)
		})
	}
}
