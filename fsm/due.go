package fsm

import (
	"fmt"
	"slices"

	musterv1 "muster/proto/muster/v1"
)

// applyDue lets happen what is due, if it still is by the entry's stamp.
func (s *State) applyDue(d *musterv1.Due) *musterv1.Outcome {
	for _, o := range d.Starts {
		if w := s.stillDue(TimerStart, o.GetGeneration()); w != nil && w.rec.SpecSinceNs == o.GetSinceNs() {
			s.evict(w, fmt.Sprintf("evicted: not Live within %v of its creation (%s)", nanoseconds(w.rec.Timeouts.StartNs), s.missing(w)))
		}
	}
	for _, o := range d.Evictions {
		if w := s.stillDue(TimerEviction, o.GetGeneration()); w != nil && w.rec.Condition.SinceNs == o.GetSinceNs() {
			s.evict(w, fmt.Sprintf("evicted: unhealthy for %v: %s", nanoseconds(w.rec.Timeouts.EvictionNs), w.rec.Condition.Reason))
		}
	}
	for _, operation := range d.Stops {
		if at, ok := s.Deadline(Timer{Kind: TimerStop, ID: operation}); ok && s.entry.stampNs > at {
			s.stopOver(s.stops[operation])
		}
	}
	for _, generation := range d.Ended {
		i := slices.IndexFunc(s.ended, func(rec *musterv1.WorldRecord) bool { return rec.Generation == generation })
		if i >= 0 && s.entry.stampNs > s.retentionEnd(s.ended[i]) {
			s.dropEnded(i)
		}
	}
	for _, p := range d.Detached {
		m := memberOf(p)
		if rec := s.detached[m]; rec != nil && rec.incarnation == p.GetIncarnation() {
			s.dropDetached(m)
			s.targetDone(nil, rec.ref(), "its session has gone")
		}
	}
	return &musterv1.Outcome{}
}

func (s *State) stillDue(kind TimerKind, generation uint64) *world {
	at, ok := s.Deadline(Timer{Kind: kind, ID: generation})
	if !ok || s.entry.stampNs <= at || s.Braked() {
		return nil
	}
	return s.byGeneration[generation]
}

// evict stops w with a reason that makes it Failed.
func (s *State) evict(w *world, reason string) {
	s.beginStop([]*world{w}, s.ownTimeouts(), reason,
		&musterv1.Condition{Status: musterv1.Status_STATUS_FAILED, Reason: clip(reason)})
}

// missing says which wanted ranks have not joined or are not healthy.
func (s *State) missing(w *world) string {
	n, definite := wanted(w.rec.Spec)
	if !definite {
		return "nobody joined"
	}
	return fmt.Sprintf("%d of %d ranks healthy", w.healthy, n)
}
