package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"

	"muster/fsm/id"
)

// applyJoin makes the caller a member. It is idempotent by its nonce, and a delayed copy of an old Join never acts: every refusal
// with REASON_STALE compares what the caller had seen when it first asked with what has happened to that name since.
func (s *State) applyJoin(j *musterv1.JoinRequest) *musterv1.Outcome {
	request := s.draw()
	m := member{j.GetWorld(), roleOf(j.GetRole()), j.GetRank()}
	mode := j.GetMode()
	if mode == musterv1.Mode_MODE_UNSPECIFIED {
		mode = musterv1.Mode_MODE_MANAGED_BY_SYSTEM
	}
	if !s.knowsHosts() && (m.role == musterv1.Role_ROLE_HOST || j.GetIncarnation() != 0 || j.GetAssignRank()) {
		return refuseField(musterv1.Reason_REASON_UNSUPPORTED, "role",
			"hosts and programs started by hosts are not supported by this version: let the procs join by themselves")
	}
	if m.rank >= id.MaxProcs {
		return refuseField(musterv1.Reason_REASON_RANK_OUT_OF_RANGE, "rank", "rank %d: must be below %d", m.rank, id.MaxProcs)
	}
	if m.role == musterv1.Role_ROLE_HOST {
		return s.joinHost(j, m, request)
	}
	if out := s.sameJoin(m, j); out != nil {
		return out
	}
	if s.core.Phase != musterv1.Phase_PHASE_RUNNING {
		return s.refusePhase()
	}
	if slot, present := s.lookup(m); present.assigned() != nil {
		return s.joinAssigned(s.worlds[m.world], slot, present, j)
	}
	if j.Issued < s.core.RestoreEpoch {
		return s.refuseStale(m) // from another history
	}
	if mode == musterv1.Mode_MODE_DETACHED {
		return s.joinDetached(j, m)
	}
	w := s.worlds[m.world]
	if out := s.mayJoin(w, j, m); out != nil {
		return out
	}
	if old := s.detached[m]; old != nil && old.incarnation > j.Issued {
		return s.refuseStale(m)
	}
	if slot, present := s.lookup(m); present != nil {
		if out := s.maySupersede(j, present, s.lastReport.at(slot)); out != nil {
			return out
		}
	} else if w != nil && w.rec.LastRemoval > j.Issued || w == nil && s.core.LastWorldDropped > j.Issued {
		return s.refuseStale(m)
	}
	if w == nil {
		if out := s.mayCreate(); out != nil {
			return out
		}
		w = s.createWorld(m.world, request, nil)
	}
	return s.admit(w, m, mode, j)
}

// sameJoin answers a repeated Join as it was answered before, whatever has become of its world since.
func (s *State) sameJoin(m member, j *musterv1.JoinRequest) *musterv1.Outcome {
	if _, present := s.lookup(m); present != nil && present.joinedWith(j.Nonce) {
		return s.joined(s.worlds[m.world].rec.Generation, present)
	}
	if present := s.detached[m]; present != nil && present.joinedWith(j.Nonce) {
		return s.joined(0, present)
	}
	return nil
}

// mayJoin holds what depends on the world.
func (s *State) mayJoin(w *world, j *musterv1.JoinRequest, m member) *musterv1.Outcome {
	if w == nil {
		if old := s.latestEnded(m.world); old != nil {
			return refuse(musterv1.Reason_REASON_WORLD_ENDED,
				"world %s has ended (%s, generation %d): create it again with `replace ended` to use its name",
				m.world, StatusName(old.Condition.Status), old.Generation)
		}
		return nil
	}
	if w.rec.Condition.Status == musterv1.Status_STATUS_STOPPING {
		return refuse(musterv1.Reason_REASON_WORLD_STOPPING, "world %s is stopping: nobody may join it any more", m.world)
	}
	if n, definite := wanted(w.rec.Spec); definite && m.rank >= n {
		return refuseField(musterv1.Reason_REASON_RANK_OUT_OF_RANGE, "rank",
			"rank %d is outside world %s, whose shape has ranks 0 to %d", m.rank, m.world, n-1)
	}
	return nil
}

// maySupersede holds what depends on the present holder of the place.
func (s *State) maySupersede(j *musterv1.JoinRequest, present *record, lastReport int64) *musterv1.Outcome {
	m := present.member()
	if present.incarnation > j.Issued {
		return s.refuseStale(m)
	}
	holds := present.health == musterv1.Health_HEALTH_ALIVE && s.core.ClockNs <= lastReport+present.timeouts.GetLeaseNs()
	if holds && present.key() != j.Key && !j.TakeOver && j.HolderGone != present.incarnation {
		return refuse(musterv1.Reason_REASON_ALREADY_EXISTS,
			"%s is held by incarnation %d on machine %q (key %q) and its lease still runs: stop that one, wait %v, or join with take over",
			printMember(m), present.incarnation, present.machine(), present.key(),
			nanoseconds(lastReport+present.timeouts.GetLeaseNs()-s.core.ClockNs))
	}
	return nil
}

// admit gives m a new incarnation.
func (s *State) admit(w *world, m member, mode musterv1.Mode, j *musterv1.JoinRequest) *musterv1.Outcome {
	slot, present := s.lookup(m)
	if present != nil {
		s.supersede(w, m, slot, present)
	}
	s.supersedeDetached(m)
	rec := s.joining(m, mode, j, w.rec.Timeouts)
	slot = s.putMember(w, rec, s.core.ClockNs)
	s.timer(Timer{AtNs: s.expiryDeadline(rec, s.core.ClockNs), Kind: TimerMember, Slot: slot, ID: rec.incarnation})
	s.emitMember(w, musterv1.Event_KIND_PROC_JOINED, m, "on "+j.Machine)
	cause := ""
	if s.endsLive(w) { // only then: whoever joins waits for it
		cause = fmt.Sprintf("rank %d was taken by a member that manages the system", m.rank) // nothing else ends a Live spell here
	}
	s.settle(w, cause)
	return s.joined(w.rec.Generation, rec)
}

// supersedeDetached takes a place from the Detached member that is entered for it.
func (s *State) supersedeDetached(m member) {
	if old := s.detached[m]; old != nil {
		s.dropDetached(m)
		s.verdict(old.ref(), musterv1.Verdict_KIND_SUPERSEDED, 0)
	}
}

// joining is the record of who joins by j.
func (s *State) joining(m member, mode musterv1.Mode, j *musterv1.JoinRequest, timeouts *musterv1.Timeouts) *record {
	s.shared.labels(j.Labels)
	rec := s.newRecord(m, mode, timeouts)
	rec.machineName, rec.health = s.shared.pointer(j.Machine), musterv1.Health_HEALTH_ALIVE
	rec.setNonce(j.Nonce)
	rec.setTexts(j.Key, j.Address)
	rec.setLabels(j.Labels)
	return rec
}

// supersede sends the present holder to the history.
func (s *State) supersede(w *world, m member, slot Slot, present *record) {
	text := fmt.Sprintf("incarnation %d on %s", present.incarnation, present.machine())
	if present.health != musterv1.Health_HEALTH_ALIVE {
		text += ", was " + HealthName(present.health)
		if present.cause() != "" {
			text += ": " + present.cause()
		}
	}
	s.emitMember(w, musterv1.Event_KIND_PROC_SUPERSEDED, m, clip(text))
	s.verdict(present.ref(), musterv1.Verdict_KIND_SUPERSEDED, 0)
}

func (s *State) joined(generation uint64, rec *record) *musterv1.Outcome {
	// One piece of memory: there is one for each join.
	o := &struct {
		musterv1.Outcome
		body musterv1.Outcome_Join
		join musterv1.JoinResponse
		proc musterv1.ProcRef
	}{}
	p, j := &o.proc, &o.join
	p.World, p.Role, p.Rank, p.Incarnation = rec.world(), rec.role, rec.rank, rec.incarnation
	j.Proc, j.Timeouts, j.Generation, j.HighestOrder = p, rec.timeouts, generation, rec.highestOrder
	j.Number, j.Epoch = s.core.Number, s.core.Epoch
	if s.HasBrake() && s.core.Settings.GetOrphanStop() {
		j.OrphanNs = s.core.Settings.GetOrphanNs()
	}
	o.body.Join, o.Body = j, &o.body
	return &o.Outcome
}

// joinDetached enters the caller in the address book and nowhere else.
func (s *State) joinDetached(j *musterv1.JoinRequest, m member) *musterv1.Outcome {
	if _, present := s.lookup(m); present != nil {
		return refuse(musterv1.Reason_REASON_ALREADY_EXISTS,
			"%s is a member of its world (incarnation %d): a detached member cannot take its place", printMember(m), present.incarnation)
	}
	if present := s.detached[m]; present != nil {
		if present.incarnation > j.Issued {
			return s.refuseStale(m)
		}
		s.verdict(present.ref(), musterv1.Verdict_KIND_SUPERSEDED, 0)
	} else if s.core.LastDetachedRemoval > j.Issued {
		return s.refuseStale(m)
	} else if len(s.detached) >= maxDetached {
		return refuse(musterv1.Reason_REASON_FULL, "the address book holds %d detached members: let some leave", len(s.detached))
	}
	rec := s.joining(m, musterv1.Mode_MODE_DETACHED, j, s.core.Settings.GetTimeouts())
	s.putDetached(rec)
	return s.joined(0, rec)
}

// maxDetached bounds the address book of Detached members.
const maxDetached = 1 << 17

func (s *State) putDetached(rec *record) {
	if elsewhere(s.detached[rec.member()], rec) {
		s.moved(rec)
	}
	s.keepDetached(rec)
	s.entry.digest.detached(rec)
}

func (s *State) keepDetached(rec *record) {
	s.detached[rec.member()] = rec
	s.inOrder.Set(rec.member())
}

func (s *State) dropDetached(m member) {
	rec := s.detached[m]
	delete(s.detached, m)
	s.inOrder.Delete(m)
	s.setPending(m, nil)
	s.core.LastDetachedRemoval = s.core.Number
	s.moved(rec)
	s.entry.digest.dropped("detached", rec.ref())
}

// applyLeave ends a membership whatever its health. What carries that incarnation afterwards has no effect. A program that a host has
// started only ceases to speak for itself: it runs on until its host says how it has ended.
func (s *State) applyLeave(l *musterv1.LeaveRequest) *musterv1.Outcome {
	s.draw()
	m := memberOf(l.Proc)
	removed := false
	if slot, present := s.lookup(m); s.HasBrake() && present.assigned() != nil {
		removed = present.incarnation == l.Proc.GetIncarnation() && present.assignment.Claimed
		if removed {
			s.unclaim(s.worlds[m.world], slot, present)
		}
	} else if present != nil && present.incarnation == l.Proc.GetIncarnation() {
		removed = true
		w := s.worlds[m.world]
		s.dropMember(w, slot)
		text := "left"
		if present.health != musterv1.Health_HEALTH_ALIVE {
			text = "left, was " + HealthName(present.health)
		}
		s.emitMember(w, musterv1.Event_KIND_PROC_LEFT, m, text)
		s.noteRemoval(w)
		s.targetDone(w, present.ref(), "left")
		if m.role == musterv1.Role_ROLE_HOST {
			s.hostLeft(w, m.rank, present)
		}
		s.settle(w, fmt.Sprintf("rank %d left", m.rank))
	} else if d := s.detached[m]; d != nil && d.incarnation == l.Proc.GetIncarnation() {
		removed = true
		s.dropDetached(m)
		s.targetDone(nil, d.ref(), "left")
	}
	return &musterv1.Outcome{Body: &musterv1.Outcome_Leave{Leave: &musterv1.LeaveResponse{Removed: removed, Number: s.core.Number}}}
}

// noteRemoval dates the last removal of a member of w.
func (s *State) noteRemoval(w *world) {
	rec := proto.CloneOf(w.rec)
	rec.LastRemoval = s.core.Number
	s.putWorld(w, rec)
}

func (s *State) refuseStale(m member) *musterv1.Outcome {
	o := refuse(musterv1.Reason_REASON_STALE,
		"%s has changed since the request was first sent (number %d now): take that number as issued and ask again if you still mean it",
		printMember(m), s.core.Number)
	o.GetRefusal().Number = s.core.Number
	return o
}

func (s *State) refusePhase() *musterv1.Outcome {
	return refuse(musterv1.Reason_REASON_SYSTEM_STOPPING, "the system is %s: nothing may join or be created", PhaseName(s.core.Phase))
}

// verdict tells an incarnation sooner what its next report would.
func (s *State) verdict(p *musterv1.ProcRef, kind musterv1.Verdict_Kind, status musterv1.Status) {
	s.entry.effects.Verdicts = append(s.entry.effects.Verdicts, &musterv1.Verdict{Proc: p, Kind: kind, Status: status})
}
