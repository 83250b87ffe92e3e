package fsm

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// Due orders are derived: an assignment that its host has not accepted, and a target of a running stop that has not accepted its order,
// *are* the pending messages. The index says where they are, by addressee.

// due is where the matter of an order is to be found.
type due struct {
	id        uint64
	dueNs     int64
	kind      dueKind
	subject   member // the rank to be spawned, the target of the stop
	operation uint64 // of a stop
}

type dueKind uint8

const (
	dueStop     dueKind = iota // the addressee ends itself
	dueStopRank                // a host ends one of its ranks
	dueSpawn                   // a host starts one of its ranks
)

func compareDue(a, b due) int { return cmp.Compare(a.id, b.id) }

// Orders returns what a member has still to be told, ascending; nil for an incarnation that is not the present one.
func (s *State) Orders(p *musterv1.ProcRef) []*musterv1.Order {
	waiting := s.pending[memberOf(p)]
	if len(waiting) == 0 || s.Present(p) != p.GetIncarnation() {
		return nil
	}
	orders := make([]*musterv1.Order, len(waiting))
	for i, d := range waiting {
		orders[i] = s.order(p, d)
	}
	return orders
}

// order says what a due order asks.
func (s *State) order(to *musterv1.ProcRef, d due) *musterv1.Order {
	o := &musterv1.Order{Id: d.id, Proc: to}
	switch d.kind {
	case dueSpawn:
		o.What = &musterv1.Order_Spawn{Spawn: s.spawnOrder(d.subject)}
	case dueStopRank:
		op := s.stops[d.operation]
		_, rec := s.lookup(d.subject)
		o.What = &musterv1.Order_StopRank{StopRank: &musterv1.StopRankOrder{
			Proc: rec.ref(), SpawnedBy: rec.assigned().GetOrder(), Operation: d.operation,
			ProcTimeoutNs: s.procTimeout(op.rec.ProcTimeoutNs, s.worlds[d.subject.world]), Reason: op.rec.Reason,
		}}
	default:
		op := s.stops[d.operation]
		w := s.worlds[d.subject.world]
		if s.IsDetached(to) {
			w = nil // named like a world's member, and none
		}
		o.What = &musterv1.Order_Stop{Stop: &musterv1.StopOrder{
			Operation: d.operation, ProcTimeoutNs: s.procTimeout(op.rec.ProcTimeoutNs, w), Reason: op.rec.Reason,
		}}
	}
	return o
}

func (s *State) spawnOrder(m member) *musterv1.SpawnOrder {
	w := s.worlds[m.world]
	_, rec := s.lookup(m)
	host := hostOf(w, m.rank)
	from, to := ranksOf(w.rec.Spec, host.rank)
	n, _ := wanted(w.rec.Spec)
	return &musterv1.SpawnOrder{
		Proc: rec.ref(), Generation: w.rec.Generation, Exec: w.rec.Spec.Exec, WorldSize: n,
		LocalRank: m.rank - from, LocalWorldSize: to - from, HostRank: host.rank, Hosts: hostsWanted(w.rec.Spec),
		MasterAddress: w.rec.MasterAddress, MasterPort: w.rec.MasterPort, ProcTimeoutNs: w.rec.Timeouts.GetProcTimeoutNs(),
	}
}

// PendingOrders is how many orders have not been confirmed.
func (s *State) PendingOrders() int { return s.dueOrders }

// setPending stores what an addressee has to be told.
func (s *State) setPending(addressee member, waiting []due) {
	s.dueOrders += len(waiting) - len(s.pending[addressee])
	if len(waiting) == 0 {
		delete(s.pending, addressee)
		return
	}
	s.pending[addressee] = waiting
}

// loadPending notes a due order of a record that was loaded: they come in no order of their numbers, see sortPending.
func (s *State) loadPending(addressee member, d due) {
	s.setPending(addressee, append(s.pending[addressee], d))
}

func (s *State) sortPending() {
	for _, waiting := range unsorted(nil, s.pending) {
		slices.SortFunc(waiting, compareDue)
	}
}

// pend makes an order due. Its number was just drawn, so it is the greatest.
func (s *State) pend(addressee member, d due) {
	s.setPending(addressee, append(s.pending[addressee], d))
	slot, rec := s.lookup(addressee)
	if rec == nil {
		if rec = s.detached[addressee]; rec == nil {
			return
		}
	} else if len(s.pending[addressee]) == 1 {
		s.timeDelivery(slot)
	}
	s.announce(rec)
}

// timeDelivery tells the leader by when a member must have confirmed its oldest order, if it has one.
func (s *State) timeDelivery(slot Slot) {
	if t, ok := s.DeliveryTimer(slot); ok {
		s.timer(t)
	}
}

// announce has the leader look at what a member has to be told.
func (s *State) announce(rec *record) {
	orders := s.entry.effects.Orders
	if n := len(orders); n == 0 || orders[n-1].Incarnation != rec.incarnation || memberOf(orders[n-1]) != rec.member() {
		s.entry.effects.Orders = append(orders, rec.ref())
	}
}

// unpend takes back an order that is not due any more.
func (s *State) unpend(addressee member, id uint64) {
	waiting := s.pending[addressee]
	i, found := slices.BinarySearchFunc(waiting, due{id: id}, compareDue)
	if !found {
		return
	}
	s.setPending(addressee, slices.Delete(waiting, i, i+1))
}

// confirm notes that p has accepted its orders up to highest, and the port that rank 0's host has chosen.
func (s *State) confirm(p *musterv1.ProcRef, highest uint64, port uint32) {
	m := memberOf(p)
	slot, rec := s.lookup(m)
	detached := rec == nil
	if detached {
		rec = s.detached[m]
	}
	if rec == nil || rec.incarnation != p.GetIncarnation() {
		return
	}
	if highest > rec.highestOrder && highest <= s.core.Number {
		rec = rec.clone()
		rec.highestOrder = highest
		if detached {
			s.putDetached(rec)
		} else {
			s.replaceMember(s.worlds[m.world], slot, rec)
		}
		s.accepted(m, highest)
	}
	if !detached && m.role == musterv1.Role_ROLE_HOST && m.rank == 0 {
		s.meetAt(s.worlds[m.world], port)
	}
}

// accepted marks what an addressee has accepted.
func (s *State) accepted(addressee member, highest uint64) {
	waiting := s.pending[addressee]
	n, _ := slices.BinarySearchFunc(waiting, due{id: highest + 1}, compareDue)
	if n == 0 {
		return
	}
	s.setPending(addressee, slices.Clone(waiting[n:]))
	for _, d := range waiting[:n] {
		if d.kind == dueSpawn {
			slot, rec := s.lookup(d.subject)
			rec = rec.clone()
			rec.assignment.State = musterv1.Assignment_STATE_ACCEPTED
			s.replaceMember(s.worlds[d.subject.world], slot, rec)
		} else if op := s.stops[d.operation]; op != nil {
			i := op.index[d.subject]
			t := proto.CloneOf(op.targets[i])
			t.Accepted = true
			s.putStopTarget(op, i, t)
		}
	}
}

// spawnDue is the order that a rank's host has still to accept, if there is one.
func spawnDue(rec *record) (d due, ok bool) {
	a := rec.assignment
	if a.GetState() != musterv1.Assignment_STATE_ASSIGNED || a.GetOrder() == 0 {
		return due{}, false
	}
	return due{id: a.Order, dueNs: a.DueNs, kind: dueSpawn, subject: rec.member()}, true
}

// hasStopDue tells whether a target has still to accept an order.
func hasStopDue(t *musterv1.StopTarget) bool { return !t.Done && !t.Accepted && t.Order != 0 }

// stopDue is the order of a target, and whom it is for.
func stopDue(operation uint64, t *musterv1.StopTarget) (member, due) {
	d := due{id: t.Order, dueNs: t.DueNs, kind: dueStop, subject: memberOf(t.Proc), operation: operation}
	if t.Via == nil {
		return d.subject, d
	}
	d.kind = dueStopRank
	return memberOf(t.Via), d
}

func sortRefs(refs []*musterv1.ProcRef) {
	slices.SortFunc(refs, func(a, b *musterv1.ProcRef) int {
		return memberOf(a).compare(memberOf(b))
	})
}
