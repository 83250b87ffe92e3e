package fsm

import (
	"fmt"
	"slices"

	musterv1 "muster/proto/muster/v1"
)

// Check looks for facts that contradict each other. It is what tests ask after every entry and what a state file has to pass; it
// costs a walk over the whole state.
func (s *State) Check() error {
	members := 0
	for name, w := range sorted(s.worlds) {
		if err := s.checkWorld(name, w); err != nil {
			return err
		}
		members += len(w.workers) + len(w.hosts)
	}
	if len(s.byGeneration) != len(s.worlds) {
		return fmt.Errorf("%d generations for %d worlds", len(s.byGeneration), len(s.worlds))
	}
	if used := s.recs.len() - len(s.free); used != members {
		return fmt.Errorf("%d slots are used by %d members", used, members)
	}
	unhealthy := uint32(0)
	for _, rec := range s.recs.all() {
		if rec != nil && isSupervised(rec) && !isHealthy(rec) {
			unhealthy++
		}
	}
	if unhealthy != s.unhealthy {
		return fmt.Errorf("%d members are unhealthy, counted %d", unhealthy, s.unhealthy)
	}
	for _, slot := range s.free {
		if s.recs.at(slot) != nil || s.alive[slot] != 0 {
			return fmt.Errorf("free slot %d is used", slot)
		}
	}
	for operation, op := range sorted(s.stops) {
		if err := s.checkStop(operation, op); err != nil {
			return err
		}
	}
	if err := s.checkPending(); err != nil {
		return err
	}
	if err := s.checkPhase(); err != nil {
		return err
	}
	return s.checkHistory()
}

// checkPending holds the index of due orders against what it follows from.
func (s *State) checkPending() error {
	derived := s.derivePending()
	if len(derived) != len(s.pending) {
		return fmt.Errorf("%d members have due orders, %d should", len(s.pending), len(derived))
	}
	orders := 0
	for m, waiting := range sortedMembers(s.pending) {
		orders += len(waiting)
		if !slices.Equal(waiting, derived[m]) {
			return fmt.Errorf("%s has due orders %v, should have %v", printMember(m), waiting, derived[m])
		}
		if _, rec := s.lookup(m); rec == nil && s.detached[m] == nil {
			return fmt.Errorf("%s has due orders and is not there", printMember(m))
		}
	}
	if orders != s.dueOrders {
		return fmt.Errorf("%d due orders are counted, there are %d", s.dueOrders, orders)
	}
	return nil
}

// checkHosts holds what hosts have been given.
func (s *State) checkHosts(w *world) error {
	ready := uint32(0)
	for rank, slot := range sorted(w.hosts) {
		rec, given := s.recs.at(slot), w.hostRanks[rank]
		if given == nil || given.Left || given.Key != rec.Key || w.hostKeys[rec.Key] != rank {
			return fmt.Errorf("host rank %d of world %s is held by %q and noted as %v", rank, w.rec.World, rec.Key, given)
		}
		if isReadyHost(w, rec) {
			ready++
		}
	}
	if ready != w.ready {
		return fmt.Errorf("world %s has %d hosts ready, counted %d", w.rec.World, ready, w.ready)
	}
	left := 0
	for rank, rec := range sorted(w.hostRanks) {
		if rec.Left {
			left++
		}
		if _, there := w.hosts[rank]; there == rec.Left && rec.Left {
			return fmt.Errorf("host rank %d of world %s has left and is there", rank, w.rec.World)
		}
	}
	if left != w.leftHosts || w.hostRanks[w.neverGiven] != nil {
		return fmt.Errorf("world %s: %d hosts have left, counted %d; host rank %d counts as never given", w.rec.World, left, w.leftHosts, w.neverGiven)
	}
	return s.checkAssignments(w)
}

// checkAssignments: who has still to start, or runs, has a host.
func (s *State) checkAssignments(w *world) error {
	for rank, slot := range sorted(w.workers) {
		rec := s.recs.at(slot)
		a := rec.Assignment
		if a == nil {
			if !hasBegun(rec) {
				return fmt.Errorf("%s[%d] has no health and no assignment", w.rec.World, rank)
			}
			continue
		}
		if a.State == musterv1.Assignment_STATE_UNSPECIFIED || a.State > musterv1.Assignment_STATE_ASSIGNED && a.Order == 0 && a.State != musterv1.Assignment_STATE_ENDED {
			return fmt.Errorf("%s[%d] is in state %v under order %d", w.rec.World, rank, a.State, a.Order)
		}
		if a.State == musterv1.Assignment_STATE_ENDED {
			if !hasBegun(rec) {
				return fmt.Errorf("%s[%d] has ended and has no health", w.rec.World, rank)
			}
			continue
		}
		if _, ok := w.hosts[hostOf(w, rank).rank]; !ok {
			return fmt.Errorf("%s[%d] is %v and its host is not there", w.rec.World, rank, a.State)
		}
	}
	return nil
}

func (s *State) checkWorld(name string, w *world) error {
	if w.rec.World != name || s.byGeneration[w.rec.Generation] != w {
		return fmt.Errorf("world %s is kept as %s, generation %d", w.rec.World, name, w.rec.Generation)
	}
	if w.rec.Generation > s.core.Generation || w.rec.Created > s.core.Number {
		return fmt.Errorf("world %s is of generation %d and number %d, the counters are at %d and %d",
			name, w.rec.Generation, w.rec.Created, s.core.Generation, s.core.Number)
	}
	fresh := world{}
	unhealthy := s.unhealthy
	for _, role := range []musterv1.Role{musterv1.Role_ROLE_WORKER, musterv1.Role_ROLE_HOST} {
		for rank, slot := range sorted(w.members(role)) {
			if int(slot) >= s.recs.len() || s.recs.at(slot) == nil {
				return fmt.Errorf("%s[%d] is in slot %d, which is free", name, rank, slot)
			}
			rec := s.recs.at(slot)
			if memberOf(rec.Proc) != (member{name, role, rank}) {
				return fmt.Errorf("%s[%d] is in the slot of %s", name, rank, printMember(memberOf(rec.Proc)))
			}
			if rec.Proc.Incarnation <= w.rec.Created || rec.Proc.Incarnation > s.core.Number {
				return fmt.Errorf("%s[%d] has incarnation %d, its world was made at %d, the number is %d",
					name, rank, rec.Proc.Incarnation, w.rec.Created, s.core.Number)
			}
			if n, definite := wanted(w.rec.Spec); definite && role == musterv1.Role_ROLE_WORKER && rank >= n {
				return fmt.Errorf("%s[%d] is outside the shape of %d", name, rank, n)
			}
			if s.alive[slot] != aliveIncarnation(rec) {
				return fmt.Errorf("%s[%d] is %v and noted as alive under %d", name, rank, rec.Health, s.alive[slot])
			}
			s.count(&fresh, rec, +1)
		}
	}
	if err := w.checkNear(); err != nil {
		return fmt.Errorf("world %s: %w", name, err)
	}
	s.unhealthy = unhealthy
	if fresh.joined != w.joined || fresh.healthy != w.healthy || fresh.completed != w.completed || fresh.supervised != w.supervised {
		return fmt.Errorf("world %s counts joined %d, healthy %d, completed %d, supervised %d, should be %d, %d, %d, %d",
			name, w.joined, w.healthy, w.completed, w.supervised, fresh.joined, fresh.healthy, fresh.completed, fresh.supervised)
	}
	if err := s.checkHosts(w); err != nil {
		return err
	}
	return s.checkStatus(w)
}

// checkStatus holds the status against what it is said to follow from.
func (s *State) checkStatus(w *world) error {
	status := w.rec.Condition.Status
	ok := false
	switch status {
	case musterv1.Status_STATUS_AWAITING_CREATION:
		ok = w.rec.Spec == nil && !w.empty() && w.rec.Stop == 0
	case musterv1.Status_STATUS_LIVE:
		ok = w.rec.Spec != nil && s.isLive(w) && w.rec.Condition.WasLive && w.rec.Stop == 0
	case musterv1.Status_STATUS_UNHEALTHY:
		ok = w.rec.Spec != nil && !s.isLive(w) && w.rec.Stop == 0
	case musterv1.Status_STATUS_STOPPING:
		op := s.stops[w.rec.Stop]
		ok = op != nil && !op.rec.Done && w.rec.End != nil && slices.Contains(op.rec.Generations, w.rec.Generation)
	}
	if !ok {
		return fmt.Errorf("world %s cannot be %s with %d joined, %d healthy, stop %d",
			w.rec.World, StatusName(status), w.joined, w.healthy, w.rec.Stop)
	}
	return nil
}

func (s *State) checkStop(operation uint64, op *stop) error {
	open := map[uint64]int{}
	for i, t := range op.targets {
		m := memberOf(t.Proc)
		if op.index[m] != i || t.Operation != operation {
			return fmt.Errorf("stop %d: target %s is out of place", operation, printMember(m))
		}
		if t.Done {
			continue
		}
		generation := uint64(0)
		if _, rec := s.lookup(m); rec != nil {
			generation = s.worlds[m.world].rec.Generation
		} else if s.detached[m] == nil {
			return fmt.Errorf("stop %d waits for %s, which is not there", operation, printMember(m))
		}
		open[generation]++
	}
	for generation, n := range sorted(op.open) {
		if open[generation] != n {
			return fmt.Errorf("stop %d waits for %d targets of generation %d, counted %d", operation, open[generation], generation, n)
		}
	}
	total := 0
	for _, n := range sorted(open) {
		total += n
	}
	if total != op.left {
		return fmt.Errorf("stop %d waits for %d targets, counted %d", operation, total, op.left)
	}
	if len(open) > 0 && op.rec.Done {
		return fmt.Errorf("stop %d is done and waits", operation)
	}
	return nil
}

func (s *State) checkHistory() error {
	last := uint64(0)
	for _, rec := range s.ended {
		if rec.Ended < last || s.byGeneration[rec.Generation] != nil {
			return fmt.Errorf("ended world %s, generation %d, is out of order or lives", rec.World, rec.Generation)
		}
		last = rec.Ended
	}
	if err := s.checkRequests(); err != nil {
		return err
	}
	return s.checkEvents()
}

func (s *State) checkRequests() error {
	if len(s.requests.byID) != len(s.requests.oldest) {
		return fmt.Errorf("%d requests by id, %d by age", len(s.requests.byID), len(s.requests.oldest))
	}
	last, bytes := uint64(0), 0
	for _, r := range s.requests.oldest {
		if r.Number <= last || r.Number > s.core.Number || s.requests.byID[string(r.Id)] != r {
			return fmt.Errorf("request %d behind %d, the number is %d, or its id has another", r.Number, last, s.core.Number)
		}
		last, bytes = r.Number, bytes+len(r.Outcome)
	}
	if bytes != s.requests.bytes {
		return fmt.Errorf("answers of %d bytes, counted %d", bytes, s.requests.bytes)
	}
	return nil
}

// checkEvents: every ring ascends, and a world's is of a world that is known and of nothing else.
func (s *State) checkEvents() error {
	known := map[uint64]bool{}
	for _, rec := range s.ended {
		known[rec.Generation] = true
	}
	for generation, ring := range sorted(s.events.worlds) {
		if !known[generation] && s.byGeneration[generation] == nil {
			return fmt.Errorf("events are kept of generation %d, which is not known", generation)
		}
		if err := s.checkRing(ring, generation); err != nil {
			return err
		}
	}
	return s.checkRing(s.events.cluster, 0)
}

// checkRing holds one ring; of events of one generation if one is given.
func (s *State) checkRing(ring []*musterv1.Event, generation uint64) error {
	last := uint64(0)
	for _, e := range ring {
		if e.Number <= last || e.Number > s.core.Number || generation != 0 && e.Generation != generation {
			return fmt.Errorf("event %d of generation %d behind %d, the number is %d", e.Number, e.Generation, last, s.core.Number)
		}
		last = e.Number
	}
	return nil
}

// checkPhase: a system that stops has an operation that stops it, and one that has stopped holds nobody.
func (s *State) checkPhase() error {
	switch s.core.Phase {
	case musterv1.Phase_PHASE_STOPPING:
		if op := s.stops[s.core.SystemStop]; op == nil {
			return fmt.Errorf("the system is stopping by operation %d, which is not there", s.core.SystemStop)
		}
	case musterv1.Phase_PHASE_STOPPED:
		if len(s.worlds)+len(s.detached) > 0 {
			return fmt.Errorf("the system has stopped and has %d worlds and %d detached members", len(s.worlds), len(s.detached))
		}
	}
	return nil
}
