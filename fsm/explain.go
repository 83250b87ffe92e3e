package fsm

import (
	"fmt"
	"slices"

	musterv1 "muster/proto/muster/v1"

	"muster/fsm/id"
)

const (
	explainMost   = 20 // of each list
	explainEvents = 10
	explainRanks  = 4096  // missing ranks that are named
	explainLooks  = 50000 // members and places that are looked at, since the reader holds a lock
	stopPage      = 1000
)

// Explain tells why a world, or one member of it, is what it is, and what happens next; nil where the world, or the member, is unknown.
func (s *State) Explain(q *musterv1.ExplainRequest) *musterv1.ExplainResponse {
	r := &musterv1.ExplainResponse{ClockNs: s.core.ClockNs, Number: s.core.Number}
	w := s.worlds[q.GetWorld()]
	rec := s.latestEnded(q.GetWorld())
	if w != nil {
		rec = w.rec
	}
	if rec == nil {
		return nil
	}
	r.World, _ = s.viewWorld(&musterv1.ViewRequest{OmitProcs: true}, rec, cursor{}, &budget{})
	r.Events = s.Events(rec.Generation, 0)
	r.Events = r.Events[max(0, len(r.Events)-explainEvents):]
	if s.staged != nil {
		r.Notes = append(r.Notes, "a restore is under way: nothing expires, nothing is evicted and nothing else is accepted until it has ended")
	}
	if s.Braked() && w != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("the mass-expiry brake is on: %d of %d agents are silent at once, so nobody expires and no world is evicted "+
			"until one lease has passed, or `muster alarm release`", s.core.Brake.Silent, s.core.Brake.Agents))
	}
	if w == nil {
		s.explainNext(r, Timer{Kind: TimerRetention, ID: rec.Generation}, "it is forgotten")
		if q.GetOneRank() {
			r.Notes = append(r.Notes, "the world has ended: its procs are not kept, what is above is all that is known")
		}
		return r
	}
	if q.GetOneRank() {
		role := q.GetRole()
		if role == musterv1.Role_ROLE_UNSPECIFIED {
			role = musterv1.Role_ROLE_WORKER
		}
		if !s.explainMember(r, w, member{w.rec.World, role, q.GetRank()}) {
			return nil
		}
		return r
	}
	s.explainWorld(r, w)
	return r
}

func (s *State) explainWorld(r *musterv1.ExplainResponse, w *world) {
	n, definite := wanted(w.rec.Spec)
	if definite {
		r.MissingCount = n - w.joined
		r.Missing = id.AppendRuns(nil, s.firstMissing(n, min(int(r.MissingCount), explainRanks), func(rank uint32) bool {
			_, rec := s.lookup(member{w.rec.World, musterv1.Role_ROLE_WORKER, rank})
			return rec == nil || !countsForLive(rec)
		}))
	}
	if w.hosts.len() > 0 || w.rec.Spec.GetExec() != nil {
		r.MissingHostCount = hostsWanted(w.rec.Spec) - w.ready
		r.MissingHosts = s.firstMissing(hostsWanted(w.rec.Spec), min(int(r.MissingHostCount), explainMost), func(rank uint32) bool {
			_, rec := s.lookup(member{w.rec.World, musterv1.Role_ROLE_HOST, rank})
			return !rec.isAlive()
		})
	}
	looks := 0
	for m, slot := range s.membersFrom(w, cursor{}) {
		if looks++; looks > explainLooks {
			r.Notes = append(r.Notes, "the world is large: not all of its members were looked at; `muster ps` lists them all")
			break
		}
		if rec := s.recs.at(slot); isSupervised(rec) && !isHealthy(rec) && len(r.Procs) < explainMost {
			r.Procs = append(r.Procs, s.viewProc(slot))
		}
		s.explainOrders(r, m, func(due) bool { return true })
	}
	s.sortOrders(r)
	for _, t := range []struct {
		kind TimerKind
		id   uint64
		what string
	}{
		{TimerStart, w.rec.Generation, "it is stopped as evicted, unless it has become Live"},
		{TimerEviction, w.rec.Generation, "it is stopped as evicted, unless it is Live again"},
		{TimerStop, w.rec.Stop, "what has not answered the stop is given up, and the world ends"},
	} {
		s.explainNext(r, Timer{Kind: t.kind, ID: t.id}, t.what)
	}
	r.Notes = append(r.Notes, s.worldNotes(w, r)...)
}

// firstMissing is the first ranks below n that are missing, at most most.
func (s *State) firstMissing(n uint32, most int, missing func(rank uint32) bool) []uint32 {
	var out []uint32
	for rank := uint32(0); rank < min(n, explainLooks) && len(out) < most; rank++ {
		if missing(rank) {
			out = append(out, rank)
		}
	}
	return out
}

// worldNotes says why nothing happens that one could wait for.
func (s *State) worldNotes(w *world, r *musterv1.ExplainResponse) []string {
	var notes []string
	exec := w.rec.Spec.GetExec()
	switch {
	case w.rec.Spec == nil:
		notes = append(notes, "members have joined, and nobody has created the world: nothing is started and nothing is evicted")
	case w.rec.Condition.Status == musterv1.Status_STATUS_STOPPING:
	case exec != nil && w.rec.MasterAddress == "":
		notes = append(notes, fmt.Sprintf("nothing is started before all %d hosts have joined: run `muster host --world %s` on each",
			hostsWanted(w.rec.Spec), w.rec.World))
	case exec != nil && w.rec.MasterPort == 0:
		notes = append(notes, "the other hosts are told when host rank 0 has said at which port the procs meet")
	case w.hosts.len() == 0 && r.MissingCount > 0 && exec == nil:
		notes = append(notes, "the world has no program: its procs join by themselves")
	}
	if w.rec.Condition.Status == musterv1.Status_STATUS_UNHEALTHY && w.rec.Condition.WasLive && w.rec.Timeouts.EvictionNs == Never {
		notes = append(notes, "its eviction timeout is switched off: it stays as it is until somebody acts")
	}
	return notes
}

// explainMember tells of one member; false where it is not there.
func (s *State) explainMember(r *musterv1.ExplainResponse, w *world, m member) bool {
	slot, rec := s.lookup(m)
	if rec == nil {
		n, definite := wanted(w.rec.Spec)
		if m.role != musterv1.Role_ROLE_WORKER || !definite || m.rank >= n {
			return false
		}
		r.Missing, r.MissingCount = id.AppendRuns(nil, []uint32{m.rank}), 1
		if host := hostOf(w, m.rank); w.rec.Spec.GetExec() != nil || w.hosts.len() > 0 {
			r.MissingHosts, r.MissingHostCount = []uint32{host.rank}, 1
		}
		r.Notes = append(r.Notes, s.worldNotes(w, r)...)
		return true
	}
	r.Procs = append(r.Procs, s.viewProc(slot))
	s.explainOrders(r, m, func(due) bool { return true })
	if rec.assignment != nil {
		s.explainOrders(r, hostOf(w, m.rank), func(d due) bool { return d.subject == m })
		if !hasBegun(rec) && rec.assignment.Order == 0 {
			r.Notes = append(r.Notes, s.worldNotes(w, r)...)
		}
		if rec.assignment.State == musterv1.Assignment_STATE_STARTED && !hasBegun(rec) {
			r.Notes = append(r.Notes, "its program runs and counts once it has joined (ready: join)")
		}
	}
	s.sortOrders(r)
	s.explainNext(r, Timer{Kind: TimerMember, Slot: slot, ID: rec.incarnation}, "it counts as Expired, unless it is heard before")
	s.explainNext(r, Timer{Kind: TimerDelivery, Slot: slot, ID: rec.incarnation}, "it counts as out of reach, unless it accepts its orders or is heard before")
	return true
}

// explainNext adds what a timer stands for, if it is set. A brake holds back what would condemn somebody.
func (s *State) explainNext(r *musterv1.ExplainResponse, t Timer, what string) {
	at, ok := s.Deadline(t)
	if !ok {
		return
	}
	if s.Braked() && t.Kind != TimerStop && t.Kind != TimerRetention {
		at = max(at, s.BrakeEnds())
	}
	r.Next = append(r.Next, &musterv1.NextAction{AtNs: at, What: what})
}

// explainOrders adds what an addressee has still to be told.
func (s *State) explainOrders(r *musterv1.ExplainResponse, addressee member, wants func(due) bool) {
	for _, d := range s.pending[addressee] {
		if !wants(d) {
			continue
		}
		what := "end"
		switch d.kind {
		case dueSpawn:
			what = fmt.Sprintf("start rank %d", d.subject.rank)
		case dueStopRank:
			what = fmt.Sprintf("end rank %d", d.subject.rank)
		}
		r.OrderCount++
		r.Orders = append(r.Orders, &musterv1.DueOrder{Id: d.id, To: addressee.ref(0), What: what, AgeNs: s.core.ClockNs - d.dueNs})
	}
}

func (s *State) sortOrders(r *musterv1.ExplainResponse) {
	slices.SortFunc(r.Orders, func(a, b *musterv1.DueOrder) int { return compareDue(due{id: a.Id}, due{id: b.Id}) })
	r.Orders = r.Orders[:min(len(r.Orders), explainMost)]
}

// ViewStop is one page of a stop operation; nil where it is unknown.
func (s *State) ViewStop(q *musterv1.ViewStopRequest) *musterv1.ViewStopResponse {
	op := s.stops[q.GetOperation()]
	if op == nil {
		return nil
	}
	r := &musterv1.ViewStopResponse{
		Reason: op.rec.Reason, Done: op.rec.Done, Total: uint32(len(op.targets)), ClockNs: s.core.ClockNs, DeadlineNs: op.rec.DeadlineNs,
	}
	for _, t := range op.targets[min(int(q.GetSkip()), len(op.targets)):] {
		if len(r.Targets) == stopPage {
			break
		}
		r.Targets = append(r.Targets, &musterv1.StopOutcome{
			Proc: t.Proc, Done: t.Done, Outcome: t.Outcome, Accepted: t.Accepted, ActorsStopped: t.ActorsStopped, ActorsAborted: t.ActorsAborted,
		})
	}
	return r
}
