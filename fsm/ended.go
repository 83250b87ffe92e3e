package fsm

import (
	"fmt"

	musterv1 "muster/proto/muster/v1"
)

// memberEnded takes a member's own word that it has completed or failed. Asked for by an open stop it is Stopped, whatever it says. What a
// host runs has completed when it has exited, which is its host's to say.
func (s *State) memberEnded(m member, r *musterv1.ProcReport) {
	slot, present := s.lookup(m)
	failed := r.Health == musterv1.Health_HEALTH_FAILED
	completed := r.Health == musterv1.Health_HEALTH_COMPLETED && present.assignment == nil
	if m.role != musterv1.Role_ROLE_WORKER || present.health != musterv1.Health_HEALTH_ALIVE || !failed && !completed {
		return
	}
	w := s.worlds[m.world]
	rec := present.clone()
	text := completedText
	switch {
	case s.isAsked(w, rec):
		failed, text = false, "stopped"
		rec.setHealth(musterv1.Health_HEALTH_STOPPED, s.stops[w.rec.Stop].rec.Reason)
	case failed:
		if text = "failed"; r.Cause != "" {
			text = clip("failed: " + r.Cause)
		}
		rec.setHealth(musterv1.Health_HEALTH_FAILED, text)
	default:
		rec.setHealth(musterv1.Health_HEALTH_COMPLETED, "")
	}
	s.replaceMember(w, slot, rec)
	s.emitMember(w, musterv1.Event_KIND_ENDED, m, clip(fmt.Sprintf("on %s: %s", rec.machine(), text)))
	why := fmt.Sprintf("rank %d on %s %s", m.rank, rec.machine(), text)
	if failed {
		s.blame(w, rec, nil, why)
	}
	s.targetDone(w, rec.ref(), text)
	s.settle(w, why)
	s.stopIfFailed(w)
	if failed && rec.mode == musterv1.Mode_MODE_MANAGING_SYSTEM && s.core.Phase == musterv1.Phase_PHASE_RUNNING {
		s.stopEverything(s.ownTimeouts(), fmt.Sprintf("%s, which manages the system, %s", printMember(m), text))
	}
}
