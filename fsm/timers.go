package fsm

import (
	"iter"
	"slices"

	musterv1 "muster/proto/muster/v1"
)

// TimerKind says what a Timer is about.
type TimerKind uint8

// Kinds of timers.
const (
	TimerMember    TimerKind = iota // a member's lease; Slot, ID = incarnation
	TimerStart                      // a world's start timeout; ID = generation
	TimerEviction                   // a world's eviction timeout; ID = generation
	TimerStop                       // a stop operation's deadline; ID = operation
	TimerRetention                  // an ended world's retention; ID = generation
	TimerDelivery                   // a member's oldest due order; Slot, ID = incarnation
)

// Timer is something that may have to happen at a time of the cluster clock. It is a hint to look: State.Deadline tells what holds.
type Timer struct {
	AtNs int64
	ID   uint64
	Slot Slot
	Kind TimerKind
}

// timer tells the leader of a deadline that is new or earlier than before.
func (s *State) timer(t Timer) { s.entry.effects.Timers = append(s.entry.effects.Timers, t) }

// expiryDeadline is the clock after which a member whose last report is dated last may be expired: its lease, and one grace for
// the silence if a leader has changed in it, however many have.
func (s *State) expiryDeadline(rec *record, last int64) int64 {
	lease := last + rec.timeouts.GetLeaseNs()
	return max(lease, min(s.core.GraceUntilNs, lease+s.core.Settings.GetGraceNs()))
}

// graceTimers: a change of the settings may have made the deadlines of those earlier whose lease ends within the present grace.
func (s *State) graceTimers() {
	if s.core.GraceUntilNs <= s.core.ClockNs {
		return // whoever it covered is due by now
	}
	for slot := range s.Slots() {
		if t, ok := s.MemberTimer(slot); ok && s.lastReport.at(slot)+s.recs.at(slot).timeouts.GetLeaseNs() < s.core.GraceUntilNs {
			s.timer(t)
		}
	}
}

// Timers yields every deadline that the state holds.
func (s *State) Timers() iter.Seq[Timer] {
	return func(yield func(Timer) bool) {
		for slot := range s.Slots() {
			if t, ok := s.MemberTimer(slot); ok && !yield(t) {
				return
			}
			if t, ok := s.DeliveryTimer(slot); ok && !yield(t) {
				return
			}
		}
		s.OtherTimers()(yield)
	}
}

// OtherTimers yields the deadlines that are not of members.
func (s *State) OtherTimers() iter.Seq[Timer] {
	return func(yield func(Timer) bool) {
		for generation := range sorted(s.byGeneration) {
			if !s.yieldTimer(Timer{Kind: TimerStart, ID: generation}, yield) || !s.yieldTimer(Timer{Kind: TimerEviction, ID: generation}, yield) {
				return
			}
		}
		for operation := range sorted(s.stops) {
			if !s.yieldTimer(Timer{Kind: TimerStop, ID: operation}, yield) {
				return
			}
		}
		for _, rec := range s.ended {
			if !yield(Timer{AtNs: s.retentionEnd(rec), Kind: TimerRetention, ID: rec.Generation}) {
				return
			}
		}
	}
}

// yieldTimer yields t at its deadline, if it has one; false means stop.
func (s *State) yieldTimer(t Timer, yield func(Timer) bool) bool {
	at, ok := s.Deadline(t)
	t.AtNs = at
	return !ok || yield(t)
}

// Slots is how many slots there are; MemberTimer and DeliveryTimer take those below.
func (s *State) Slots() Slot { return Slot(s.recs.len()) }

// MemberTimer is the lease of the member in a slot; ok is false where nobody is supervised.
func (s *State) MemberTimer(slot Slot) (Timer, bool) {
	rec := s.recs.at(slot)
	if rec == nil {
		return Timer{}, false
	}
	t := Timer{Kind: TimerMember, Slot: slot, ID: rec.incarnation}
	var ok bool
	t.AtNs, ok = s.Deadline(t)
	return t, ok
}

// DeliveryTimer is the oldest due order of the member in a slot; ok is false where there is none.
func (s *State) DeliveryTimer(slot Slot) (Timer, bool) {
	rec := s.recs.at(slot)
	if s.dueOrders == 0 || rec == nil {
		return Timer{}, false
	}
	t := Timer{Kind: TimerDelivery, Slot: slot, ID: rec.incarnation}
	var ok bool
	t.AtNs, ok = s.Deadline(t)
	return t, ok
}

// Deadline is the clock that must have *passed* for t's matter to come due, as the state has it now; ok is false when there is
// nothing to wait for any more.
func (s *State) Deadline(t Timer) (atNs int64, ok bool) {
	switch t.Kind {
	case TimerMember:
		if int(t.Slot) >= s.recs.len() {
			return 0, false
		}
		rec := s.recs.at(t.Slot)
		if rec == nil || rec.incarnation != t.ID || rec.health != musterv1.Health_HEALTH_ALIVE || !isSupervised(rec) {
			return 0, false
		}
		return s.expiryDeadline(rec, s.lastReport.at(t.Slot)), true
	case TimerStart:
		w := s.byGeneration[t.ID]
		if w == nil || w.rec.Spec == nil || w.rec.Condition.WasLive || w.rec.Condition.Status != musterv1.Status_STATUS_UNHEALTHY {
			return 0, false
		}
		return w.rec.SpecSinceNs + w.rec.Timeouts.StartNs, true
	case TimerEviction:
		w := s.byGeneration[t.ID]
		if w == nil || !w.rec.Condition.WasLive || w.rec.Condition.Status != musterv1.Status_STATUS_UNHEALTHY || w.rec.Timeouts.EvictionNs == Never {
			return 0, false
		}
		return w.rec.Condition.SinceNs + w.rec.Timeouts.EvictionNs, true
	case TimerStop:
		op := s.stops[t.ID]
		if op == nil || op.rec.Done {
			return 0, false
		}
		return op.rec.DeadlineNs, true
	case TimerDelivery:
		if int(t.Slot) >= s.recs.len() || s.recs.at(t.Slot) == nil || s.recs.at(t.Slot).incarnation != t.ID {
			return 0, false
		}
		return s.deliveryDeadline(t.Slot)
	case TimerRetention:
		for _, rec := range s.ended {
			if rec.Generation == t.ID {
				return s.retentionEnd(rec), true
			}
		}
	}
	return 0, false
}

func (s *State) retentionEnd(rec *musterv1.WorldRecord) int64 {
	return rec.Condition.SinceNs + s.core.Settings.GetRetentionNs()
}

// deliveryDeadline is the clock after which a member counts as out of reach: nothing was heard of it, and its oldest order was not
// confirmed, for its delivery timeout under one leader. A member whose reports arrive has none that passes.
func (s *State) deliveryDeadline(slot Slot) (atNs int64, ok bool) {
	rec := s.recs.at(slot)
	waiting := s.pending[rec.member()]
	if len(waiting) == 0 || rec.health != musterv1.Health_HEALTH_ALIVE || !s.knowsHosts() {
		return 0, false
	}
	return max(s.lastReport.at(slot), waiting[0].dueNs, s.core.GraceUntilNs) + rec.timeouts.GetDeliveryNs(), true
}

// Observe turns timers whose deadline has passed into what a leader proposes. It only reads; each observation is checked again
// when it is applied.
func (s *State) Observe(passed []Timer) (expire *musterv1.Expire, due *musterv1.Due, overdue *musterv1.Undeliverable) {
	expire, due, overdue = &musterv1.Expire{}, &musterv1.Due{}, &musterv1.Undeliverable{}
	for _, t := range passed {
		switch t.Kind {
		case TimerMember:
			expire.Procs = append(expire.Procs, s.recs.at(t.Slot).ref())
		case TimerStart:
			due.Starts = append(due.Starts, &musterv1.WorldSince{Generation: t.ID, SinceNs: s.byGeneration[t.ID].rec.SpecSinceNs})
		case TimerEviction:
			due.Evictions = append(due.Evictions, &musterv1.WorldSince{Generation: t.ID, SinceNs: s.byGeneration[t.ID].rec.Condition.SinceNs})
		case TimerStop:
			due.Stops = append(due.Stops, t.ID)
		case TimerRetention:
			due.Ended = append(due.Ended, t.ID)
		case TimerDelivery:
			p := s.recs.at(t.Slot).ref()
			overdue.Orders = append(overdue.Orders, &musterv1.OverdueOrder{Proc: p, Order: s.pending[memberOf(p)][0].id})
		}
	}
	sortRefs(expire.Procs)
	slices.SortFunc(overdue.Orders, func(a, b *musterv1.OverdueOrder) int { return memberOf(a.Proc).compare(memberOf(b.Proc)) })
	return expire, due, overdue
}
