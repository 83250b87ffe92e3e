package fsm

import (
	"fmt"

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
	if used := len(s.recs) - len(s.free); used != members {
		return fmt.Errorf("%d slots are used by %d members", used, members)
	}
	unhealthy := uint32(0)
	for _, rec := range s.recs {
		if rec != nil && isSupervised(rec) && !isHealthy(rec) {
			unhealthy++
		}
	}
	if unhealthy != s.unhealthy {
		return fmt.Errorf("%d members are unhealthy, counted %d", unhealthy, s.unhealthy)
	}
	for _, slot := range s.free {
		if s.recs[slot] != nil {
			return fmt.Errorf("free slot %d is used", slot)
		}
	}
	for operation, op := range sorted(s.stops) {
		if err := s.checkStop(operation, op); err != nil {
			return err
		}
	}
	for m, o := range sortedMembers(s.pending) {
		op := s.stops[o.GetStop().GetOperation()]
		if op == nil || op.rec.Done {
			return fmt.Errorf("order %d to %s is of no running operation", o.Id, printMember(m))
		}
	}
	return s.checkHistory()
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
			if int(slot) >= len(s.recs) || s.recs[slot] == nil {
				return fmt.Errorf("%s[%d] is in slot %d, which is free", name, rank, slot)
			}
			rec := s.recs[slot]
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
			s.count(&fresh, rec, +1)
		}
	}
	s.unhealthy = unhealthy
	if fresh.joined != w.joined || fresh.healthy != w.healthy || fresh.completed != w.completed || fresh.supervised != w.supervised {
		return fmt.Errorf("world %s counts joined %d, healthy %d, completed %d, supervised %d, should be %d, %d, %d, %d",
			name, w.joined, w.healthy, w.completed, w.supervised, fresh.joined, fresh.healthy, fresh.completed, fresh.supervised)
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
		ok = op != nil && !op.rec.Done && w.rec.End != nil
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
		if (s.pending[m] == nil) != t.Accepted {
			return fmt.Errorf("stop %d: the order to %s is pending or accepted, not both", operation, printMember(m))
		}
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
	if len(s.requests.byID) != len(s.requests.oldest) {
		return fmt.Errorf("%d requests by id, %d by age", len(s.requests.byID), len(s.requests.oldest))
	}
	last = 0
	for _, e := range s.events.cluster {
		if e.Number <= last || e.Number > s.core.Number {
			return fmt.Errorf("event %d behind %d, the number is %d", e.Number, last, s.core.Number)
		}
		last = e.Number
	}
	return nil
}
