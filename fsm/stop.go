package fsm

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// applyStop begins to stop worlds, or everything. A world that is stopping already is joined, and its deadline may only get
// shorter; an unknown one gets a result of its own.
func (s *State) applyStop(q *musterv1.StopRequest) *musterv1.Outcome {
	return s.once(q.GetMeta(), q, func() *musterv1.Outcome {
		timeout := q.GetProcTimeoutNs()
		if timeout == 0 {
			timeout = s.core.Settings.GetTimeouts().GetProcTimeoutNs()
		}
		reason := q.GetReason()
		if reason == "" {
			reason = "asked for"
		}
		if q.GetEverything() {
			return s.stopped(s.stopEverything(timeout, reason), nil)
		}
		return s.stopWorlds(q.GetWorlds(), timeout, reason)
	})
}

func (s *State) stopped(operation uint64, worlds []*musterv1.WorldStop) *musterv1.Outcome {
	return &musterv1.Outcome{Body: &musterv1.Outcome_Stop{Stop: &musterv1.StopResponse{
		Operation: operation, Worlds: worlds, Number: s.core.Number,
	}}}
}

func (s *State) stopWorlds(names []string, timeout int64, reason string) *musterv1.Outcome {
	results := make([]*musterv1.WorldStop, len(names))
	var fresh []*world
	for i, name := range names {
		r := &musterv1.WorldStop{World: name}
		results[i] = r
		w := s.worlds[name]
		switch {
		case w == nil && s.latestEnded(name) != nil:
			r.Result = musterv1.WorldStop_RESULT_ALREADY_ENDED
		case w == nil:
			r.Result = musterv1.WorldStop_RESULT_UNKNOWN
		case w.rec.Stop != 0:
			r.Result, r.Operation = musterv1.WorldStop_RESULT_STOPPING, w.rec.Stop
			s.hasten(s.stops[w.rec.Stop], timeout)
		default:
			r.Result = musterv1.WorldStop_RESULT_STOPPING
			if !slices.Contains(fresh, w) {
				fresh = append(fresh, w)
			}
		}
	}
	if len(fresh) == 0 {
		return s.stopped(0, results)
	}
	operation := s.beginStop(fresh, timeout, reason, &musterv1.Condition{Status: musterv1.Status_STATUS_STOPPED, Reason: clip(reason)})
	for i, name := range names {
		if r := results[i]; r.Result == musterv1.WorldStop_RESULT_STOPPING && r.Operation == 0 {
			r.Operation = operation
			if s.worlds[name] == nil {
				r.Result = musterv1.WorldStop_RESULT_ENDED
			}
		}
	}
	return s.stopped(operation, results)
}

// stopEverything stops all worlds, all Detached members, and then the system. It returns the operation, 0 if the system has
// stopped already.
func (s *State) stopEverything(timeout int64, reason string) uint64 {
	switch s.core.Phase {
	case musterv1.Phase_PHASE_STOPPED:
		return 0
	case musterv1.Phase_PHASE_STOPPING:
		s.hasten(s.stops[s.core.SystemStop], timeout)
		return s.core.SystemStop
	}
	s.setPhase(musterv1.Phase_PHASE_STOPPING, reason)
	var fresh []*world
	for _, w := range sorted(s.worlds) {
		if w.rec.Stop != 0 {
			s.hasten(s.stops[w.rec.Stop], timeout)
		} else {
			fresh = append(fresh, w)
		}
	}
	end := &musterv1.Condition{Status: musterv1.Status_STATUS_STOPPED, Reason: clip("the system was stopped: " + reason)}
	return s.beginStopOf(fresh, true, timeout, reason, end)
}

func (s *State) setPhase(p musterv1.Phase, text string) {
	s.core.Phase = p
	s.emit(&musterv1.Event{Kind: musterv1.Event_KIND_PHASE, Text: clip(PhaseName(p) + ": " + text)})
}

func (s *State) beginStop(worlds []*world, timeout int64, reason string, end *musterv1.Condition) uint64 {
	return s.beginStopOf(worlds, false, timeout, reason, end)
}

// beginStopOf makes the operation: who has to be told, by when, and what the worlds shall be afterwards.
func (s *State) beginStopOf(worlds []*world, everything bool, timeout int64, reason string, end *musterv1.Condition) uint64 {
	slices.SortFunc(worlds, func(a, b *world) int {
		if a.rec.World < b.rec.World {
			return -1
		}
		return 1
	})
	op := newStop()
	rec := &musterv1.StopRecord{
		Operation: s.draw(), Reason: clip(reason), Everything: everything, ProcTimeoutNs: timeout,
		DeadlineNs: s.core.ClockNs + timeout + s.core.Settings.GetStopMarginNs(),
	}
	for _, w := range worlds {
		rec.Generations = append(rec.Generations, w.rec.Generation)
	}
	s.stops[rec.Operation] = op
	s.putStop(op, rec)
	if everything {
		s.core.SystemStop = rec.Operation
	}
	for _, w := range worlds {
		wrec := proto.CloneOf(w.rec)
		wrec.Stop, wrec.End = rec.Operation, end
		s.putWorld(w, wrec)
		for _, slot := range sorted(w.workers) {
			if p := s.recs[slot]; p.Health == musterv1.Health_HEALTH_ALIVE {
				s.addTarget(op, w.rec.Generation, p.Proc)
			}
		}
		s.setCondition(w, musterv1.Status_STATUS_STOPPING, reason)
	}
	if everything {
		for _, p := range sortedMembers(s.detached) {
			s.addTarget(op, 0, p.Proc)
		}
	}
	s.emit(&musterv1.Event{Kind: musterv1.Event_KIND_STOP_BEGUN, Text: clip(fmt.Sprintf("operation %d: %s", rec.Operation, reason))})
	s.timer(Timer{AtNs: rec.DeadlineNs, Kind: TimerStop, ID: rec.Operation})
	for _, w := range worlds {
		s.endIfStopped(op, w)
	}
	s.finishStop(op)
	return rec.Operation
}

// addTarget has p told, and its world's generation (0 for Detached members) wait for it.
func (s *State) addTarget(op *stop, generation uint64, p *musterv1.ProcRef) {
	t := &musterv1.StopTarget{Operation: op.rec.Operation, Proc: p, Order: s.draw()}
	op.index[memberOf(p)] = len(op.targets)
	op.targets = append(op.targets, nil)
	s.putStopTarget(op, len(op.targets)-1, t)
	op.wait(generation, +1)
	s.pend(op, t)
}

// hasten shortens a running operation's deadline; it never gets longer.
func (s *State) hasten(op *stop, timeout int64) {
	if op == nil || op.rec.Done {
		return
	}
	deadline := s.core.ClockNs + timeout + s.core.Settings.GetStopMarginNs()
	if deadline >= op.rec.DeadlineNs {
		return
	}
	rec := proto.CloneOf(op.rec)
	rec.DeadlineNs = deadline
	s.putStop(op, rec)
	s.timer(Timer{AtNs: deadline, Kind: TimerStop, ID: rec.Operation})
}

// applyStopResult is a proc's answer. Answers of other incarnations or operations change nothing.
func (s *State) applyStopResult(r *musterv1.StopResult) *musterv1.Outcome {
	m := memberOf(r.Proc)
	op := s.stops[r.GetOperation()]
	if op == nil || op.rec.Done {
		return &musterv1.Outcome{}
	}
	i, ok := op.index[m]
	if !ok || op.targets[i].Proc.Incarnation != r.Proc.GetIncarnation() || op.targets[i].Done {
		return &musterv1.Outcome{}
	}
	if slot, rec := s.lookup(m); rec != nil && rec.Proc.Incarnation == r.Proc.GetIncarnation() && rec.Health == musterv1.Health_HEALTH_ALIVE {
		rec = proto.CloneOf(rec)
		rec.Health, rec.Cause = musterv1.Health_HEALTH_STOPPED, op.rec.Reason
		s.replaceMember(s.worlds[m.world], slot, rec)
	} else if d := s.detached[m]; d != nil && d.Proc.Incarnation == r.Proc.GetIncarnation() {
		s.dropDetached(m)
	}
	t := proto.CloneOf(op.targets[i])
	t.ActorsStopped, t.ActorsAborted = r.GetActorsStopped(), r.GetActorsAborted()
	s.putStopTarget(op, i, t)
	s.targetDone(s.worlds[m.world], r.Proc, "stopped")
	return &musterv1.Outcome{}
}

// targetDone credits p to the stop that waits for it, if one does. w is p's world, nil for Detached members.
func (s *State) targetDone(w *world, p *musterv1.ProcRef, outcome string) {
	operation := s.core.SystemStop
	if w != nil {
		operation = w.rec.Stop
	}
	op := s.stops[operation]
	if op == nil || op.rec.Done {
		return
	}
	m := memberOf(p)
	i, ok := op.index[m]
	if !ok || op.targets[i].Done || op.targets[i].Proc.Incarnation != p.Incarnation {
		return
	}
	delete(s.pending, m)
	t := proto.CloneOf(op.targets[i])
	t.Done, t.Outcome = true, outcome
	s.putStopTarget(op, i, t)
	if w == nil {
		op.wait(0, -1)
	} else {
		op.wait(w.rec.Generation, -1)
		s.endIfStopped(op, w)
	}
	s.finishStop(op)
}

// endIfStopped ends w when nobody in it has still to answer.
func (s *State) endIfStopped(op *stop, w *world) {
	if op.open[w.rec.Generation] == 0 {
		s.endWorld(w, w.rec.End.Status, w.rec.End.Reason)
	}
}

// stopOver ends what a stop did not manage in time.
func (s *State) stopOver(op *stop) {
	for i, t := range op.targets {
		if t.Done {
			continue
		}
		delete(s.pending, memberOf(t.Proc))
		t = proto.CloneOf(t)
		t.Done, t.Outcome = true, "did not answer in time"
		s.putStopTarget(op, i, t)
	}
	clear(op.open)
	op.left = 0
	for _, generation := range op.rec.Generations {
		if w := s.byGeneration[generation]; w != nil && w.rec.Stop == op.rec.Operation {
			s.endWorld(w, w.rec.End.Status, w.rec.End.Reason)
		}
	}
	s.finishStop(op)
}

// finishStop closes the operation when its targets are done and its worlds have ended, and with the last world the system.
func (s *State) finishStop(op *stop) {
	finished := !op.rec.Done && op.left == 0
	if finished {
		rec := proto.CloneOf(op.rec)
		rec.Done, rec.DoneNs = true, s.core.ClockNs
		s.putStop(op, rec)
		s.emit(&musterv1.Event{Kind: musterv1.Event_KIND_STOP_DONE, Text: fmt.Sprintf("operation %d is over", rec.Operation)})
	}
	system := s.stops[s.core.SystemStop]
	if s.core.Phase == musterv1.Phase_PHASE_STOPPING && system != nil && system.rec.Done && len(s.worlds) == 0 {
		for m := range sortedMembers(s.detached) {
			s.dropDetached(m)
		}
		s.setPhase(musterv1.Phase_PHASE_STOPPED, "everything has ended")
	}
	if finished {
		s.forgetStops()
	}
}

// forgetStops drops finished operations whose worlds are forgotten.
func (s *State) forgetStops() {
	kept := make(map[uint64]bool, len(s.ended))
	for _, rec := range s.ended {
		kept[rec.Generation] = true
	}
	for operation, op := range sorted(s.stops) {
		if !op.rec.Done || operation == s.core.SystemStop {
			continue
		}
		if !slices.ContainsFunc(op.rec.Generations, func(g uint64) bool { return kept[g] }) {
			s.entry.digest.dropped("stop", op.rec)
			delete(s.stops, operation)
		}
	}
}
