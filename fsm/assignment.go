package fsm

import (
	"slices"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"

	"muster/fsm/id"
)

// A host says everything about its ranks by their spawn orders. An order names one run of a program for ever, while the rank may take a new
// incarnation under a program that goes on.

// joinHost makes an agent a host of a world and gives it ranks.
func (s *State) joinHost(j *musterv1.JoinRequest, m member, request uint64) *musterv1.Outcome {
	if j.Key == "" {
		return refuseField(musterv1.Reason_REASON_INVALID, "key", "is missing: an agent is known again by it")
	}
	w := s.worlds[m.world]
	known := true
	if j.AssignRank {
		m.rank, known = 0, false
		if w != nil {
			m.rank, known = w.hostKeys[j.Key]
		}
	}
	if known {
		if out := s.sameJoin(m, j); out != nil {
			return out
		}
	}
	if s.core.Phase != musterv1.Phase_PHASE_RUNNING {
		return s.refusePhase()
	}
	if j.Issued < s.core.RestoreEpoch {
		return s.refuseStale(m)
	}
	if out := s.mayHost(w, j, m); out != nil {
		return out
	}
	var present *record
	if known {
		var slot Slot
		slot, present = s.lookup(m)
		if present != nil && !s.holds(j, present) {
			if out := s.maySupersede(j, present, s.lastReport.at(slot)); out != nil {
				return out
			}
		}
	}
	if present == nil && (w != nil && w.rec.LastRemoval > j.Issued || w == nil && s.core.LastWorldDropped > j.Issued) {
		return s.refuseStale(m)
	}
	if w == nil {
		if out := s.mayCreate(); out != nil {
			return out
		}
		w = s.createWorld(m.world, request, nil)
	}
	if !known {
		m.rank = s.freeHostRank(w)
	}
	return s.admitHost(w, m, j)
}

// holds: the caller is what is present, and was only silent. It may have been something else since, in a history that a restore has undone.
func (s *State) holds(j *musterv1.JoinRequest, present *record) bool {
	if j.Incarnation == 0 {
		return false
	}
	return j.Incarnation == present.incarnation || s.knowsEarlier() && slices.Contains(j.Earlier, present.incarnation)
}

// knowsEarlier: all nodes follow rules by which a host is known that was something else in a history that a restore has undone.
func (s *State) knowsEarlier() bool { return s.core.MachineVersion >= earlierVersion }

// mayHost holds what depends on the world.
func (s *State) mayHost(w *world, j *musterv1.JoinRequest, m member) *musterv1.Outcome {
	if w == nil {
		return s.mayJoin(nil, j, m)
	}
	if w.rec.Condition.Status == musterv1.Status_STATUS_STOPPING {
		return refuse(musterv1.Reason_REASON_WORLD_STOPPING, "world %s is stopping: nobody may join it any more", m.world)
	}
	if out := mayHaveHosts(w.rec.Spec); w.rec.Spec != nil && out != nil {
		return out
	}
	if rank, ok := w.hostKeys[j.Key]; ok && rank != m.rank && !j.AssignRank {
		if w.hosts.has(rank) {
			return refuseField(musterv1.Reason_REASON_ALREADY_EXISTS, "rank",
				"the agent with this key is host rank %d of world %s already: an agent has one rank of a world", rank, m.world)
		}
	}
	return nil
}

// admitHost gives a host its place and its ranks. One that was only silent keeps what it runs; of any other the programs are gone.
func (s *State) admitHost(w *world, m member, j *musterv1.JoinRequest) *musterv1.Outcome {
	slot, present := s.lookup(m)
	rec := s.joining(m, musterv1.Mode_MODE_MANAGED_BY_SYSTEM, j, w.rec.Timeouts)
	kept := false
	if present != nil {
		kept = s.holds(j, present)
		s.supersede(w, m, slot, present)
		if kept {
			rec.highestOrder = present.highestOrder
			if m.rank == 0 && w.rec.MasterHost == present.incarnation {
				s.setMaster(w, rec, w.rec.MasterPort)
			}
		}
		if present.key() != j.Key && s.HasBrake() {
			s.noteRemoval(w) // the other agent has no rank any more
		}
	}
	if !kept {
		rec.setLabels(j.Labels)
	}
	slot = s.putMember(w, rec, s.core.ClockNs)
	s.timer(Timer{AtNs: s.expiryDeadline(rec, s.core.ClockNs), Kind: TimerMember, Slot: slot, ID: rec.incarnation})
	s.putHostRank(w, &musterv1.HostRank{World: m.world, Rank: m.rank, Key: j.Key})
	s.emitMember(w, musterv1.Event_KIND_PROC_JOINED, m, clip("on "+j.Machine))
	if kept {
		if len(s.pending[m]) > 0 {
			s.announce(rec)
			s.timeDelivery(slot)
		}
	} else if present != nil {
		s.hostRestarted(w, m.rank)
		if s.worlds[m.world] != w || w.rec.Stop != 0 {
			return s.joined(w.rec.Generation, rec)
		}
	}
	s.assignRanks(w, m.rank)
	s.orderSpawns(w)
	s.settle(w, "")
	return s.joined(w.rec.Generation, rec)
}

// hostRestarted: what the host had accepted has ended with its agent; the rest is ordered anew, as a new incarnation, since nobody knows
// what the earlier agent did with the order.
func (s *State) hostRestarted(w *world, host uint32) {
	s.hostRanksOver(w, host, "its host was restarted", func(slot Slot, rec *record) {
		s.cancelSpawn(w, rec)
		fresh := rec.clone()
		fresh.incarnation = s.draw()
		fresh.assignment = &musterv1.Assignment{State: musterv1.Assignment_STATE_ASSIGNED}
		s.replaceMember(w, slot, fresh)
	})
}

// hostLeft: its rank may be given to another, with what it had not accepted.
func (s *State) hostLeft(w *world, host uint32, rec *record) {
	if s.worlds[w.rec.World] != w {
		return // it was the last to answer
	}
	s.putHostRank(w, &musterv1.HostRank{World: w.rec.World, Rank: host, Key: rec.key(), Left: true})
	s.hostTargetsDone(w, host)
	if s.worlds[w.rec.World] != w {
		return
	}
	s.hostRanksOver(w, host, "its host left", func(slot Slot, _ *record) { s.dropMember(w, slot) })
}

// hostRanksOver fails those of a host's ranks that it had accepted, and hands the others that have not ended to rest.
func (s *State) hostRanksOver(w *world, host uint32, why string, rest func(Slot, *record)) {
	from, to := ranksOf(w.rec.Spec, host)
	for rank := from; rank < to; rank++ {
		slot, rec := s.lookup(member{w.rec.World, musterv1.Role_ROLE_WORKER, rank})
		switch rec.assigned().GetState() {
		case musterv1.Assignment_STATE_ASSIGNED:
			rest(slot, rec)
		case musterv1.Assignment_STATE_ACCEPTED, musterv1.Assignment_STATE_STARTED:
			s.rankEnded(w, slot, rec, &musterv1.Exit{Failure: why})
			if s.worlds[w.rec.World] != w {
				return
			}
		}
	}
	s.stopIfFailed(w)
}

// joinAssigned is the Join of a rank that a host runs: of the program itself, or of the host for it. Both show that they are meant by
// holding what only they were told.
func (s *State) joinAssigned(w *world, slot Slot, present *record, j *musterv1.JoinRequest) *musterv1.Outcome {
	m, a := present.member(), present.assignment
	byHost := j.HeldOrder != 0 && j.HeldOrder == a.Order
	if a.State == musterv1.Assignment_STATE_ENDED || a.Order == 0 || !byHost && !s.holds(j, present) {
		return refuse(musterv1.Reason_REASON_ALREADY_EXISTS,
			"%s is run by the host on machine %q (incarnation %d): only the program that it has started may join as that", printMember(m),
			present.machine(), present.incarnation)
	}
	if out := s.mayJoin(w, j, m); out != nil {
		return out
	}
	if s.numbersClaims() && s.isLateClaim(j, present, byHost) {
		return s.refuseStale(m)
	}
	switch present.health {
	case musterv1.Health_HEALTH_UNSPECIFIED, musterv1.Health_HEALTH_ALIVE:
		if byHost {
			return s.joined(w.rec.Generation, present)
		}
		return s.claim(w, slot, present, j)
	case musterv1.Health_HEALTH_EXPIRED, musterv1.Health_HEALTH_CONNECTION_FAILURE:
		return s.goOn(w, slot, present, j, byHost)
	}
	return refuse(musterv1.Reason_REASON_SUPERSEDED, "%s counts as %s: its program has nothing to join any more", printMember(m), HealthName(present.health))
}

// numbersClaims: all nodes follow rules that know a late copy of a claim.
func (s *State) numbersClaims() bool { return s.core.MachineVersion >= claimsVersion }

// isLateClaim: since j was first sent, another program has spoken for the rank, the one that did has left, or the rank has gone on under
// another incarnation. A host's word for a rank that is alive changes nothing, and may come late.
func (s *State) isLateClaim(j *musterv1.JoinRequest, present *record, byHost bool) bool {
	switch {
	case byHost && present.health == musterv1.Health_HEALTH_ALIVE:
		return false
	case byHost:
		return j.Issued < max(present.incarnation, s.core.RestoreEpoch)
	}
	return j.Issued < max(present.assignment.ClaimNumber, s.core.RestoreEpoch)
}

// claim: the program speaks for itself from now on.
func (s *State) claim(w *world, slot Slot, present *record, j *musterv1.JoinRequest) *musterv1.Outcome {
	s.cancelSpawn(w, present)
	rec := present.clone()
	rec.setNonce(j.Nonce)
	rec.setAddress(j.Address)
	rec.setLabels(j.Labels)
	rec.highestOrder = max(rec.highestOrder, rec.assignment.Order)
	rec.assignment.Claimed, rec.assignment.State = true, musterv1.Assignment_STATE_STARTED
	s.numberClaim(rec.assignment)
	s.nowAlive(w, slot, rec)
	s.emitMember(w, musterv1.Event_KIND_PROC_JOINED, rec.member(), clip("its program, on "+rec.machine()))
	s.settle(w, "")
	return s.joined(w.rec.Generation, rec)
}

// numberClaim dates a change of who speaks for a rank.
func (s *State) numberClaim(a *musterv1.Assignment) {
	if s.numbersClaims() {
		a.ClaimNumber = s.core.Number
	}
}

// unclaim: the program has nothing to say any more, and its host speaks for it. A stop that it was to answer is told to the host.
func (s *State) unclaim(w *world, slot Slot, present *record) {
	rec := present.clone()
	rec.assignment.Claimed = false
	rec.setNonce(nil)
	s.numberClaim(rec.assignment)
	s.putMember(w, rec, s.core.ClockNs)
	s.emitMember(w, musterv1.Event_KIND_PROC_LEFT, rec.member(), clip("its program goes on, on "+rec.machine()))
	op := s.stops[w.rec.Stop]
	if op == nil || op.rec.Done {
		return
	}
	i, ok := op.index[rec.member()]
	if !ok || op.targets[i].Done || op.targets[i].Via != nil {
		return
	}
	if _, h := s.lookup(hostOf(w, rec.rank)); h.isAlive() {
		s.untell(op.targets[i])
		t := proto.CloneOf(op.targets[i])
		t.Via, t.Accepted = h.ref(), false
		op.targets[i] = t
		s.tell(op, i)
	} else {
		s.targetDone(w, rec.ref(), hostGone)
	}
}

// nowAlive stores rec as alive from now on.
func (s *State) nowAlive(w *world, slot Slot, rec *record) {
	rec.health = musterv1.Health_HEALTH_ALIVE
	s.putMember(w, rec, s.core.ClockNs)
	s.timer(Timer{AtNs: s.expiryDeadline(rec, s.core.ClockNs), Kind: TimerMember, Slot: slot, ID: rec.incarnation})
}

// goOn gives a rank that was silent for too long a new incarnation, under which its program goes on.
func (s *State) goOn(w *world, slot Slot, present *record, j *musterv1.JoinRequest, byHost bool) *musterv1.Outcome {
	m := present.member()
	s.supersede(w, m, slot, present)
	rec := present.clone()
	rec.incarnation = s.draw()
	rec.setNonce(j.Nonce)
	rec.setHealth(musterv1.Health_HEALTH_ALIVE, "")
	rec.setFailedActors(nil, 0)
	rec.assignment.State = musterv1.Assignment_STATE_STARTED
	if !byHost {
		rec.setAddress(j.Address)
		rec.setLabels(j.Labels)
		rec.assignment.Claimed = true
		s.numberClaim(rec.assignment)
	}
	s.nowAlive(w, slot, rec)
	s.emitMember(w, musterv1.Event_KIND_PROC_JOINED, m, clip("again, on "+rec.machine()))
	s.settle(w, "")
	return s.joined(w.rec.Generation, rec)
}

// applyAnswers applies what a session has to say to orders, in its order.
func (s *State) applyAnswers(a *musterv1.Answers) *musterv1.Outcome {
	var verdicts []*musterv1.Verdict
	for _, answer := range a.GetAnswers() {
		var v *musterv1.Verdict
		switch b := answer.GetBody().(type) {
		case *musterv1.Answer_Confirm:
			s.applyConfirm(b.Confirm)
		case *musterv1.Answer_StopResult:
			s.applyStopResult(b.StopResult)
		case *musterv1.Answer_Started:
			v = s.heldRank(&musterv1.HeldRank{Proc: b.Started.GetProc(), Order: b.Started.GetOrder(), Started: true})
		case *musterv1.Answer_Exited:
			s.heldRank(&musterv1.HeldRank{Proc: b.Exited.GetProc(), Order: b.Exited.GetOrder(), Exit: exitOf(b.Exited)})
		}
		if v != nil {
			verdicts = append(verdicts, v)
		}
	}
	return told(verdicts)
}

func exitOf(e *musterv1.Exited) *musterv1.Exit {
	if e.GetExit() == nil {
		return &musterv1.Exit{}
	}
	return e.Exit
}

// HeldOrder is the spawn order under which a rank's host runs it; 0 where no host does.
func (s *State) HeldOrder(world string, rank uint32) uint64 {
	_, rec := s.lookup(member{world, musterv1.Role_ROLE_WORKER, rank})
	return rec.assigned().GetOrder()
}

// HeldVerdict is what a host hears of a rank that it runs under a spawn order: that it must not run any more, and why; nil where
// it may go on.
func (s *State) HeldVerdict(p *musterv1.ProcRef, order uint64) *musterv1.Verdict {
	m := memberOf(p)
	_, rec := s.lookup(m)
	var v *musterv1.Verdict
	switch a := rec.assigned(); {
	case rec == nil || order == 0: // no order has that number
		v = s.unknownOrEnded(m, order, 0)
	case a.GetOrder() == order && a.GetState() != musterv1.Assignment_STATE_ENDED:
		return nil
	case a.GetOrder() == order:
		v = &musterv1.Verdict{Kind: musterv1.Verdict_KIND_ENDED, Status: s.endOf(s.worlds[m.world])}
	default:
		if v = s.unknownOrEnded(m, order, 0); v.Kind == musterv1.Verdict_KIND_UNKNOWN && order < rec.incarnation {
			v.Kind = musterv1.Verdict_KIND_SUPERSEDED
		}
	}
	v.Proc, v.HeldOrder = m.ref(0), order
	return v
}

// endOf is what a world's end will be, as far as that is known.
func (s *State) endOf(w *world) musterv1.Status {
	if w.rec.End != nil {
		return w.rec.End.Status
	}
	return w.rec.Condition.Status
}

// reportHeld is "alive" from a host for a rank whose spawn order is not above number.
func (s *State) reportHeld(w *world, m member, slot Slot, present bool, number uint64) *musterv1.Verdict {
	order := number
	if present {
		if a := s.recs.at(slot).assignment; a.GetOrder() != 0 && a.Order <= number {
			if a.State != musterv1.Assignment_STATE_ENDED {
				return s.renewHeld(w, slot, s.recs.at(slot)) // as HeldVerdict would find
			}
			order = a.Order
		}
	}
	if v := s.HeldVerdict(m.ref(0), order); v != nil {
		return v
	}
	return s.renewHeld(w, slot, s.recs.at(slot))
}

// renewHeld dates the last report of a rank that its host speaks for. A program that has joined speaks for itself.
func (s *State) renewHeld(w *world, slot Slot, rec *record) *musterv1.Verdict {
	if rec.assignment.Claimed {
		return nil
	}
	v := s.renew(w, slot, rec)
	if v == nil || v.Kind != musterv1.Verdict_KIND_EXPIRED {
		return nil // one that has been asked to stop is still ending
	}
	return &musterv1.Verdict{Proc: rec.member().ref(0), Kind: v.Kind, HeldOrder: rec.assignment.Order}
}

// heldRank takes what a host says of a rank: that it runs it, or how it has ended.
func (s *State) heldRank(h *musterv1.HeldRank) *musterv1.Verdict {
	v := s.HeldVerdict(h.GetProc(), h.GetOrder())
	if h.Exit != nil {
		if v == nil {
			m := memberOf(h.Proc)
			slot, rec := s.lookup(m)
			w := s.worlds[m.world]
			s.rankEnded(w, slot, rec, h.Exit)
			s.stopIfFailed(w)
		}
		return nil
	}
	if v != nil {
		return v
	}
	m := memberOf(h.Proc)
	slot, rec := s.lookup(m)
	w := s.worlds[m.world]
	if h.Started && rec.assignment.State != musterv1.Assignment_STATE_STARTED {
		s.rankStarted(w, slot, rec)
		_, rec = s.lookup(m)
	}
	return s.renewHeld(w, slot, rec)
}

// rankStarted: the program runs. With `ready: join` it counts only when it has joined.
func (s *State) rankStarted(w *world, slot Slot, present *record) {
	s.cancelSpawn(w, present)
	rec := present.clone()
	rec.assignment.State = musterv1.Assignment_STATE_STARTED
	if w.rec.Spec.GetExec().GetReadyJoin() || hasBegun(rec) {
		s.replaceMember(w, slot, rec)
	} else {
		s.nowAlive(w, slot, rec)
	}
	s.emitMember(w, musterv1.Event_KIND_STARTED, rec.member(), clip("on "+rec.machine()))
	s.settle(w, "")
}

// lostRanks fails what a host has accepted and does not hold: it was accepted in a history that a restore has undone.
func (s *State) lostRanks(hm *musterv1.HelloMember) {
	w := s.worlds[hm.Proc.GetWorld()]
	from, to := ranksOf(w.rec.Spec, hm.Proc.GetRank())
	held := map[uint32]bool{}
	for a, b := range id.Intervals(hm.GetHeld()) {
		for rank := max(a, from); rank < min(b, to); rank++ {
			held[rank] = true
		}
	}
	for rank := from; rank < to; rank++ {
		slot, rec := s.lookup(member{w.rec.World, musterv1.Role_ROLE_WORKER, rank})
		a := rec.assigned()
		if isUnderWay(a) && !held[rank] && a.Order <= hm.GetHighestOrder() {
			s.rankEnded(w, slot, rec, notRun())
			if s.worlds[w.rec.World] != w {
				return
			}
		}
	}
	s.stopIfFailed(w)
}

// lostRun fails a rank that its host, one of hosts, has accepted and of which it holds another run alone, of a history that a restore has undone.
func (s *State) lostRun(other *musterv1.HeldRank, held []*musterv1.HeldRank, hosts map[member]uint64) {
	m := memberOf(other.GetProc())
	slot, rec := s.lookup(m)
	a := rec.assigned()
	if !isUnderWay(a) || a.Order == other.GetOrder() {
		return
	}
	w := s.worlds[m.world]
	highest, speaks := hosts[hostOf(w, m.rank)]
	if !speaks || a.Order > highest || slices.ContainsFunc(held, func(r *musterv1.HeldRank) bool { return r.GetOrder() == a.Order }) {
		return
	}
	s.rankEnded(w, slot, rec, notRun())
	s.stopIfFailed(w)
}

// isUnderWay: a host has accepted it, and has not said that it has ended.
func isUnderWay(a *musterv1.Assignment) bool {
	return a.GetState() == musterv1.Assignment_STATE_ACCEPTED || a.GetState() == musterv1.Assignment_STATE_STARTED
}

func notRun() *musterv1.Exit { return &musterv1.Exit{Failure: "its host does not run it any more"} }
