package fsm

import (
	"slices"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// Pending orders are derived: a target of a running stop operation that has not accepted its order *is* the pending message. The
// index holds at most one per member, as a member is in one stop at a time.

// Orders returns what a member has still to be told, ascending; nil for an incarnation that is not the present one.
func (s *State) Orders(p *musterv1.ProcRef) []*musterv1.Order {
	o := s.pending[memberOf(p)]
	if o == nil || o.Proc.Incarnation != p.GetIncarnation() {
		return nil
	}
	return []*musterv1.Order{o}
}

// PendingOrders is how many members have something to be told.
func (s *State) PendingOrders() int { return len(s.pending) }

// pend makes the order of an open target due.
func (s *State) pend(op *stop, t *musterv1.StopTarget) {
	s.pending[memberOf(t.Proc)] = &musterv1.Order{
		Id: t.Order, Proc: t.Proc,
		What: &musterv1.Order_Stop{Stop: &musterv1.StopOrder{
			Operation: op.rec.Operation, ProcTimeoutNs: op.rec.ProcTimeoutNs, Reason: op.rec.Reason,
		}},
	}
	s.entry.effects.Orders = append(s.entry.effects.Orders, t.Proc)
}

// confirm notes that p has accepted its orders up to highest.
func (s *State) confirm(p *musterv1.ProcRef, highest uint64) {
	m := memberOf(p)
	if slot, rec := s.lookup(m); rec != nil {
		if rec.Proc.Incarnation != p.GetIncarnation() || highest <= rec.HighestOrder || highest > s.core.Number {
			return
		}
		rec = proto.CloneOf(rec)
		rec.HighestOrder = highest
		s.replaceMember(s.worlds[m.world], slot, rec)
	} else if rec := s.detached[m]; rec != nil {
		if rec.Proc.Incarnation != p.GetIncarnation() || highest <= rec.HighestOrder || highest > s.core.Number {
			return
		}
		rec = proto.CloneOf(rec)
		rec.HighestOrder = highest
		s.putDetached(rec)
	} else {
		return
	}
	o := s.pending[m]
	if o == nil || o.Id > highest {
		return
	}
	delete(s.pending, m)
	if op := s.stops[o.GetStop().GetOperation()]; op != nil {
		i := op.index[m]
		t := proto.CloneOf(op.targets[i])
		t.Accepted = true
		s.putStopTarget(op, i, t)
	}
}

func sortRefs(refs []*musterv1.ProcRef) {
	slices.SortFunc(refs, func(a, b *musterv1.ProcRef) int {
		return memberOf(a).compare(memberOf(b))
	})
}
