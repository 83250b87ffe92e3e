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
			timeout = s.ownTimeouts()
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

// ownTimeouts is the proc timeout of a stop that gives none: 0, each world's own. Earlier rules took the setting for all.
func (s *State) ownTimeouts() int64 {
	if s.HasBrake() {
		return 0
	}
	return s.core.Settings.GetTimeouts().GetProcTimeoutNs()
}

// procTimeout is what a stop gives the members of w, which is nil for Detached ones.
func (s *State) procTimeout(given int64, w *world) int64 {
	switch {
	case given != 0:
		return given
	case w != nil:
		return w.rec.Timeouts.GetProcTimeoutNs()
	}
	return s.core.Settings.GetTimeouts().GetProcTimeoutNs()
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
			s.hasten(s.stops[w.rec.Stop], s.procTimeout(timeout, w))
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
		s.hasten(s.stops[s.core.SystemStop], s.procTimeout(timeout, nil))
		return s.core.SystemStop
	}
	s.setPhase(musterv1.Phase_PHASE_STOPPING, reason)
	var fresh []*world
	for _, w := range sorted(s.worlds) {
		if w.rec.Stop != 0 {
			s.hasten(s.stops[w.rec.Stop], s.procTimeout(timeout, w))
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
	longest := int64(0)
	if everything || len(worlds) == 0 {
		longest = s.procTimeout(timeout, nil)
	}
	for _, w := range worlds {
		longest = max(longest, s.procTimeout(timeout, w))
	}
	rec := &musterv1.StopRecord{
		Operation: s.draw(), Reason: clip(reason), Everything: everything, ProcTimeoutNs: timeout,
		DeadlineNs: s.core.ClockNs + longest + s.core.Settings.GetStopMarginNs(),
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
		for _, slot := range w.workers.from(0) {
			s.targetProc(op, w, s.recs.at(slot))
		}
		for _, slot := range w.hosts.from(0) {
			s.targetHost(op, w, s.recs.at(slot))
		}
		s.setCondition(w, musterv1.Status_STATUS_STOPPING, reason)
	}
	if everything {
		for _, p := range sortedMembers(s.detached) {
			s.tell(op, s.addTarget(op, nil, p.ref()))
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

// targetProc has a proc told that has not ended: by itself, or, where it is its host that speaks for it, through that. What a host has
// not accepted to start is cancelled.
func (s *State) targetProc(op *stop, w *world, p *record) {
	switch a := p.assignment; {
	case a == nil || a.Claimed:
		if p.health == musterv1.Health_HEALTH_ALIVE {
			s.tell(op, s.addTarget(op, w, p.ref()))
		}
	case a.State == musterv1.Assignment_STATE_ASSIGNED:
		i := s.addTarget(op, w, p.ref())
		s.cancelRank(w, p, op.rec.Reason)
		s.settleTarget(op, w, i, "was not started")
	case a.State == musterv1.Assignment_STATE_ENDED || p.health != musterv1.Health_HEALTH_ALIVE && hasBegun(p):
	default:
		i := s.addTarget(op, w, p.ref())
		host := hostOf(w, p.rank)
		if _, h := s.lookup(host); h.isAlive() {
			t := proto.CloneOf(op.targets[i])
			t.Via = h.ref()
			op.targets[i] = t
			s.tell(op, i)
		} else {
			s.settleTarget(op, w, i, hostGone)
		}
	}
}

const hostGone = "its host has gone"

// targetHost has a host told once the procs that it has ranks of are done.
func (s *State) targetHost(op *stop, w *world, h *record) {
	if h.health != musterv1.Health_HEALTH_ALIVE {
		return
	}
	i := s.addTarget(op, w, h.ref())
	if op.procs[h.member()] == 0 {
		s.tell(op, i)
	} else {
		s.putStopTarget(op, i, op.targets[i])
	}
}

// cancelRank ends an assignment that its host has not accepted.
func (s *State) cancelRank(w *world, p *record, reason string) {
	s.cancelSpawn(w, p)
	slot, rec := s.lookup(p.member())
	rec = rec.clone()
	rec.setHealth(musterv1.Health_HEALTH_STOPPED, clip("was not started: "+reason))
	rec.assignment.State = musterv1.Assignment_STATE_ENDED
	s.replaceMember(w, slot, rec)
}

// cancelSpawn takes the order to start a rank back, if it is due.
func (s *State) cancelSpawn(w *world, p *record) {
	if a := p.assignment; a.GetState() == musterv1.Assignment_STATE_ASSIGNED && a.GetOrder() != 0 {
		s.unpend(hostOf(w, p.rank), a.Order)
	}
}

// addTarget has p's world (nil for Detached members) wait for it. It returns its place; tell gives it its order.
func (s *State) addTarget(op *stop, w *world, p *musterv1.ProcRef) int {
	t := &musterv1.StopTarget{Operation: op.rec.Operation, Proc: p}
	if s.knowsHosts() {
		t.Place = uint32(len(op.targets) + 1)
	}
	op.index[memberOf(p)] = len(op.targets)
	op.targets = append(op.targets, t)
	op.wait(w, memberOf(p), +1)
	return len(op.targets) - 1
}

// tell makes the order of a target due. The entry that does so gives the order its number, since a number below one that the
// addressee has accepted since would never be obeyed.
func (s *State) tell(op *stop, i int) {
	t := proto.CloneOf(op.targets[i])
	t.Order = s.draw()
	if s.knowsHosts() {
		t.DueNs = s.core.ClockNs
	}
	s.putStopTarget(op, i, t)
	s.pend(stopDue(op.rec.Operation, t))
}

// hasten shortens a running operation's deadline; it never gets longer. Who has been told is told again, with the shorter timeout.
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
	if s.HasBrake() {
		rec.ProcTimeoutNs = timeout
	}
	s.putStop(op, rec)
	s.timer(Timer{AtNs: deadline, Kind: TimerStop, ID: rec.Operation})
	if !s.HasBrake() {
		return
	}
	for i, t := range op.targets {
		if !t.Done && t.Order != 0 {
			s.tellAgain(op, i)
		}
	}
}

// tellAgain makes another order of one that has been given, in its place.
func (s *State) tellAgain(op *stop, i int) {
	s.untell(op.targets[i])
	t := proto.CloneOf(op.targets[i])
	t.Accepted = false
	op.targets[i] = t
	s.tell(op, i)
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
	if slot, rec := s.lookup(m); rec != nil && rec.incarnation == r.Proc.GetIncarnation() && rec.health == musterv1.Health_HEALTH_ALIVE {
		rec = rec.clone()
		rec.setHealth(musterv1.Health_HEALTH_STOPPED, op.rec.Reason)
		s.replaceMember(s.worlds[m.world], slot, rec)
	}
	w := s.worlds[m.world]
	if d := s.detached[m]; d != nil && d.incarnation == r.Proc.GetIncarnation() {
		w = nil // named like a world's member, and none
		s.dropDetached(m)
	}
	t := proto.CloneOf(op.targets[i])
	t.ActorsStopped, t.ActorsAborted = r.GetActorsStopped(), r.GetActorsAborted()
	s.putStopTarget(op, i, t)
	s.targetDone(w, r.Proc, "stopped")
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
	s.settleTarget(op, w, i, outcome)
	if w != nil {
		s.endIfStopped(op, w)
	}
	s.finishStop(op)
}

// settleTarget marks a target done and tells its host if it was the last of the host's procs.
func (s *State) settleTarget(op *stop, w *world, i int, outcome string) {
	t := proto.CloneOf(op.targets[i])
	s.untell(t)
	t.Done, t.Outcome = true, outcome
	s.putStopTarget(op, i, t)
	op.wait(w, memberOf(t.Proc), -1)
	if w == nil || t.Proc.Role != musterv1.Role_ROLE_WORKER {
		return
	}
	host := hostOf(w, t.Proc.Rank)
	if at, ok := op.index[host]; ok && op.procs[host] == 0 && !op.targets[at].Done && op.targets[at].Order == 0 {
		s.tell(op, at)
	}
}

// untell takes a target's order back, if it is due.
func (s *State) untell(t *musterv1.StopTarget) {
	if t.Order != 0 && !t.Accepted {
		addressee, d := stopDue(t.Operation, t)
		s.unpend(addressee, d.id)
	}
}

// hostTargetsDone credits the procs that a host would have told.
func (s *State) hostTargetsDone(w *world, host uint32) {
	op := s.stops[w.rec.Stop]
	if op == nil || op.rec.Done {
		return
	}
	from, to := ranksOf(w.rec.Spec, host)
	for rank := from; rank < to; rank++ {
		i, ok := op.index[member{w.rec.World, musterv1.Role_ROLE_WORKER, rank}]
		if ok && !op.targets[i].Done && op.targets[i].Via != nil {
			s.targetDone(w, op.targets[i].Proc, hostGone)
		}
	}
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
		s.untell(t)
		t = proto.CloneOf(t)
		t.Done, t.Outcome = true, "did not answer in time"
		s.putStopTarget(op, i, t)
	}
	clear(op.open)
	clear(op.procs)
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
