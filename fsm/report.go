package fsm

import (
	"cmp"
	"fmt"
	"slices"

	musterv1 "muster/proto/muster/v1"

	"muster/fsm/id"
)

// maxFailedActors is how many failed actors of a proc are kept; the rest is counted.
const maxFailedActors = 64

// applyReport applies what a leader's collector gathered. Verdicts come back for those that were not simply accepted.
func (s *State) applyReport(b *musterv1.ReportBatch) *musterv1.Outcome {
	var verdicts []*musterv1.Verdict
	for _, g := range b.Groups {
		verdicts = s.reportGroup(g, verdicts)
	}
	for _, r := range b.Reports {
		if v := s.reportOne(r); v != nil {
			verdicts = append(verdicts, v)
		}
	}
	return told(verdicts)
}

// told orders verdicts by (world, role, rank).
func told(verdicts []*musterv1.Verdict) *musterv1.Outcome {
	if len(verdicts) == 0 {
		return &musterv1.Outcome{}
	}
	slices.SortStableFunc(verdicts, func(a, b *musterv1.Verdict) int {
		return cmp.Or(memberOf(a.Proc).compare(memberOf(b.Proc)), cmp.Compare(a.Proc.Incarnation, b.Proc.Incarnation))
	})
	return &musterv1.Outcome{Body: &musterv1.Outcome_Verdicts{Verdicts: &musterv1.Verdicts{Verdicts: verdicts}}}
}

// reportGroup renews the leases of ranks whose present incarnation is the one that was present at g.Number: since incarnations are
// numbers, a later one is greater.
func (s *State) reportGroup(g *musterv1.ReportGroup, verdicts []*musterv1.Verdict) []*musterv1.Verdict {
	m := member{world: g.GetRanks().GetWorld(), role: g.GetRanks().GetRole()}
	w := s.worlds[m.world]
	for from, to := range id.Intervals(g.GetRanks().GetRuns()) {
		for m.rank = from; m.rank < to; m.rank++ {
			slot, present := Slot(0), false
			if w != nil {
				slot, present = w.slot(m.role, m.rank)
			}
			if present && !g.ByHost && s.alive[slot] != 0 && s.alive[slot] <= g.Number {
				s.lastReport.set(slot, s.core.ClockNs) // as renew has it
			} else if v := s.reportMember(g, w, m, slot, present); v != nil {
				verdicts = append(verdicts, v)
			}
		}
	}
	return verdicts
}

// reportMember is one rank of a group; w and slot count where it is present.
func (s *State) reportMember(g *musterv1.ReportGroup, w *world, m member, slot Slot, present bool) *musterv1.Verdict {
	if g.GetByHost() {
		return s.reportHeld(w, m, slot, present, g.Number)
	}
	if !present {
		return s.unknownOrEnded(m, g.Number, 0)
	}
	rec := s.recs.at(slot)
	if rec.incarnation > g.Number {
		return &musterv1.Verdict{Proc: m.ref(0), Kind: musterv1.Verdict_KIND_SUPERSEDED}
	}
	return s.renew(w, slot, rec)
}

// reportOne applies the report of one incarnation.
func (s *State) reportOne(r *musterv1.ProcReport) *musterv1.Verdict {
	m := memberOf(r.Proc)
	if r.HeldOrder != 0 {
		if v := s.HeldVerdict(r.Proc, r.HeldOrder); v != nil {
			return v
		}
		slot, rec := s.lookup(m)
		w := s.worlds[m.world]
		if v := s.renewHeld(w, slot, rec); v != nil {
			return v
		}
		if s.HasBrake() && rec.health == musterv1.Health_HEALTH_ALIVE && !rec.assignment.Claimed {
			s.actorsFailed(w, slot, rec, r.FailedActors)
		}
		return nil
	}
	incarnation := r.Proc.GetIncarnation()
	if d := s.detached[m]; d != nil && d.incarnation == incarnation {
		return nil
	}
	slot, rec := s.lookup(m)
	switch {
	case rec == nil, rec.incarnation < incarnation:
		return s.unknownOrEnded(m, incarnation, incarnation)
	case rec.incarnation > incarnation:
		return s.Outlived(r.Proc)
	}
	w := s.worlds[m.world]
	ended := s.HasBrake() && r.Health != musterv1.Health_HEALTH_UNSPECIFIED
	if ended && r.Health == rec.health {
		return nil // said before
	}
	if v := s.renew(w, slot, rec); v != nil {
		return v
	}
	if len(r.FailedActors) > 0 {
		s.actorsFailed(w, slot, rec, r.FailedActors)
	}
	if ended {
		s.memberEnded(m, r)
	}
	return nil
}

// Outlived is what an incarnation hears whose place a later one holds: that it is superseded, or how its own world has ended.
func (s *State) Outlived(p *musterv1.ProcRef) *musterv1.Verdict {
	m := memberOf(p)
	if v := s.unknownOrEnded(m, p.GetIncarnation(), p.GetIncarnation()); v.Kind == musterv1.Verdict_KIND_ENDED {
		return v
	}
	return &musterv1.Verdict{Proc: m.ref(p.GetIncarnation()), Kind: musterv1.Verdict_KIND_SUPERSEDED}
}

// renew dates the last report of a member that is alive, and has a verdict for any other.
func (s *State) renew(w *world, slot Slot, rec *record) *musterv1.Verdict {
	switch rec.health {
	case musterv1.Health_HEALTH_ALIVE:
		s.lastReport.set(slot, s.core.ClockNs)
		return nil
	case musterv1.Health_HEALTH_UNSPECIFIED:
		return nil // its host has still to start it
	case musterv1.Health_HEALTH_EXPIRED, musterv1.Health_HEALTH_CONNECTION_FAILURE:
		return &musterv1.Verdict{Proc: rec.ref(), Kind: musterv1.Verdict_KIND_EXPIRED}
	default:
		status := w.rec.Condition.Status
		if w.rec.End != nil {
			status = w.rec.End.Status // it is not over for the others yet
		}
		return &musterv1.Verdict{Proc: rec.ref(), Kind: musterv1.Verdict_KIND_ENDED, Status: status}
	}
}

// unknownOrEnded looks a member that is not there up in the ended worlds.
func (s *State) unknownOrEnded(m member, number, incarnation uint64) *musterv1.Verdict {
	if rec := s.endedAt(m.world, number); rec != nil {
		return &musterv1.Verdict{Proc: m.ref(incarnation), Kind: musterv1.Verdict_KIND_ENDED, Status: rec.Condition.Status}
	}
	return &musterv1.Verdict{Proc: m.ref(incarnation), Kind: musterv1.Verdict_KIND_UNKNOWN}
}

// actorsFailed keeps the first cause of each failed actor. One failed actor makes its proc unhealthy.
func (s *State) actorsFailed(w *world, slot Slot, rec *record, failed []*musterv1.FailedActor) {
	actors, count := slices.Clone(rec.failedActors()), rec.failedActorCount()
	var fresh []*musterv1.FailedActor
	more := false
	for _, f := range failed {
		i, found := slices.BinarySearchFunc(actors, f, compareActors)
		if found {
			continue
		}
		if len(actors) == maxFailedActors {
			more = count == maxFailedActors
			count = maxFailedActors + 1 // and more: which ones is not known any more
			continue
		}
		fresh = append(fresh, f)
		actors = slices.Insert(actors, i, f)
		count++
	}
	if len(fresh) == 0 && !more {
		return
	}
	m := rec.member()
	rec = rec.clone()
	rec.setFailedActors(actors, count)
	s.replaceMember(w, slot, rec)
	if len(fresh) == 0 {
		return
	}
	text := fmt.Sprintf("actor %s[%d] failed: %s", fresh[0].Actor, fresh[0].Pid, fresh[0].Cause)
	s.emitMember(w, musterv1.Event_KIND_ACTOR_FAILED, m, clip(text))
	s.blame(w, rec, nil, fmt.Sprintf("rank %d: %s", m.rank, text))
	s.settle(w, fmt.Sprintf("rank %d: %s", m.rank, text))
}

func compareActors(a, b *musterv1.FailedActor) int {
	return cmp.Or(cmp.Compare(a.Actor, b.Actor), cmp.Compare(a.Pid, b.Pid))
}

// applyHello opens a session: a report of all it lists, and a confirmation of what each has accepted.
func (s *State) applyHello(h *musterv1.Hello) *musterv1.Outcome {
	var verdicts []*musterv1.Verdict
	hosts := map[member]uint64{} // those that speak here, and the highest order each has accepted
	for _, hm := range h.Members {
		if h.Epoch != s.core.Epoch {
			verdicts = append(verdicts, &musterv1.Verdict{Proc: hm.Proc, Kind: musterv1.Verdict_KIND_REJOIN})
			continue
		}
		if v := s.reportOne(&musterv1.ProcReport{Proc: hm.Proc}); v != nil {
			verdicts = append(verdicts, v)
			continue
		}
		s.confirm(hm.Proc, hm.HighestOrder, hm.MasterPort)
		if hm.Proc.GetRole() == musterv1.Role_ROLE_HOST {
			s.lostRanks(hm)
			hosts[memberOf(hm.Proc)] = hm.GetHighestOrder()
		}
	}
	for _, r := range h.Ranks {
		if h.Epoch != s.core.Epoch {
			break // the host itself joins again first
		}
		if v := s.heldRank(r); v != nil {
			verdicts = append(verdicts, v)
		}
		if s.knowsEarlier() {
			s.lostRun(r, h.Ranks, hosts)
		}
	}
	return told(verdicts)
}

// applyConfirm notes which orders a member has accepted.
func (s *State) applyConfirm(c *musterv1.Confirm) *musterv1.Outcome {
	s.confirm(c.Proc, c.HighestOrder, c.MasterPort)
	return &musterv1.Outcome{}
}

// applyExpire expires those that are still silent: whoever reported since the leader looked, was superseded, or has more grace left,
// is left alone.
func (s *State) applyExpire(e *musterv1.Expire) *musterv1.Outcome {
	type round struct {
		w     *world
		role  musterv1.Role
		ranks []uint32
		text  string
	}
	if s.Braked() {
		return &musterv1.Outcome{}
	}
	var rounds []*round
	var managing *record
	for _, p := range e.Procs {
		m := memberOf(p)
		slot, rec := s.lookup(m)
		if rec == nil || rec.incarnation != p.GetIncarnation() || rec.health != musterv1.Health_HEALTH_ALIVE || !isSupervised(rec) {
			continue
		}
		if s.entry.stampNs <= s.expiryDeadline(rec, s.lastReport.at(slot)) {
			continue
		}
		w := s.worlds[m.world]
		rec = rec.clone()
		rec.setHealth(musterv1.Health_HEALTH_EXPIRED, fmt.Sprintf("silent for longer than its lease of %v", nanoseconds(rec.timeouts.GetLeaseNs())))
		s.replaceMember(w, slot, rec)
		s.verdict(rec.ref(), musterv1.Verdict_KIND_EXPIRED, 0)
		s.entry.effects.Expired++
		if rec.mode == musterv1.Mode_MODE_MANAGING_SYSTEM && managing == nil {
			managing = rec
		}
		s.blame(w, rec, nil, fmt.Sprintf("rank %d on %s was %s", m.rank, rec.machine(), rec.cause()))
		if n := len(rounds); n == 0 || rounds[n-1].w != w || rounds[n-1].role != m.role {
			rounds = append(rounds, &round{w: w, role: m.role, text: fmt.Sprintf("on %s: %s", rec.machine(), rec.cause())})
		}
		r := rounds[len(rounds)-1]
		r.ranks = append(r.ranks, m.rank)
	}
	for _, r := range rounds {
		slices.Sort(r.ranks)
		who := "rank"
		if r.role == musterv1.Role_ROLE_HOST && s.HasBrake() {
			who = "host rank"
		}
		text := fmt.Sprintf("%s %s expired %s", who, printRanks(r.ranks), r.text)
		s.emitMembers(r.w, musterv1.Event_KIND_PROC_EXPIRED, r.role, r.ranks, clip(text))
		for _, rank := range r.ranks {
			if _, rec := s.lookup(member{r.w.rec.World, r.role, rank}); rec != nil {
				s.targetDone(r.w, rec.ref(), "expired")
			}
			if r.role == musterv1.Role_ROLE_HOST && s.worlds[r.w.rec.World] == r.w {
				s.hostTargetsDone(r.w, rank)
			}
		}
		s.settle(r.w, text)
	}
	if managing != nil && s.core.Phase == musterv1.Phase_PHASE_RUNNING {
		s.stopEverything(s.ownTimeouts(),
			fmt.Sprintf("%s, which manages the system, has expired", printMember(managing.member())))
	}
	return &musterv1.Outcome{}
}
