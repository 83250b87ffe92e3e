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
	explainRanks  = 4096    // missing ranks that are named
	explainLooks  = 4096    // places of a role that are looked at for one thing, since the reader holds a lock
	explainReach  = 1 << 20 // places that are looked at in all for who is missing
	stopPage      = 1000
)

// Explain tells why a world, or one member of it, is what it is, and what happens next; nil where the world, or the member, is unknown. Not 0:
// from that place on ExplainMore looks who else is missing.
func (s *State) Explain(q *musterv1.ExplainRequest) (r *musterv1.ExplainResponse, next uint32) {
	r = &musterv1.ExplainResponse{ClockNs: s.core.ClockNs, Number: s.core.Number}
	w := s.worlds[q.GetWorld()]
	rec := s.latestEnded(q.GetWorld())
	if w != nil {
		rec = w.rec
	}
	if rec == nil {
		return nil, 0
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
		return r, 0
	}
	if q.GetOneRank() {
		role := q.GetRole()
		if role == musterv1.Role_ROLE_UNSPECIFIED {
			role = musterv1.Role_ROLE_WORKER
		}
		if !s.explainMember(r, w, member{w.rec.World, role, q.GetRank()}) {
			return nil, 0
		}
		return r, 0
	}
	return r, s.explainWorld(r, w)
}

func (s *State) explainWorld(r *musterv1.ExplainResponse, w *world) (next uint32) {
	n, definite := wanted(w.rec.Spec)
	if definite {
		r.MissingCount = n - w.joined
	}
	if w.hosts.len() > 0 || w.rec.Spec.GetExec() != nil {
		r.MissingHostCount = hostsWanted(w.rec.Spec) - w.ready
	}
	next = s.nameMissing(r, w, 0)
	for _, slot := range w.unhealthyMembers() {
		if len(r.Procs) == explainMost {
			break
		}
		r.Procs = append(r.Procs, s.viewProc(slot))
	}
	if s.dueOrders > 0 {
		s.explainAllOrders(r, w)
	}
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
	return next
}

// ExplainMore looks who else is missing, from a place on, and tells where to go on; next is 0 at the end. It takes what Explain has told of
// a world, whose counts it leaves as they are: who has come since is not named, and never are more named than are counted.
func (s *State) ExplainMore(r *musterv1.ExplainResponse, from uint32) (next uint32) {
	w := s.byGeneration[r.GetWorld().GetGeneration()]
	if w == nil || from >= explainReach {
		return 0
	}
	return s.nameMissing(r, w, from)
}

// nameMissing names those missing of explainLooks places of each role, from one on, and tells where to go on, as ExplainMore does.
func (s *State) nameMissing(r *musterv1.ExplainResponse, w *world, from uint32) (next uint32) {
	n, _ := wanted(w.rec.Spec) // 0 where nobody is missing, whoever comes
	hosts, to := hostsWanted(w.rec.Spec), from+explainLooks
	mostRanks, mostHosts := min(int(r.MissingCount), explainRanks), min(int(r.MissingHostCount), explainMost)
	ranks := slices.Collect(id.Ranks(r.Missing))
	for rank := from; rank < min(n, to) && len(ranks) < mostRanks; rank++ {
		if slot, there := w.slot(musterv1.Role_ROLE_WORKER, rank); !there || !countsForLive(s.recs.at(slot)) {
			ranks = append(ranks, rank)
		}
	}
	r.Missing = id.AppendRuns(nil, ranks)
	for rank := from; rank < min(hosts, to) && len(r.MissingHosts) < mostHosts; rank++ {
		if slot, there := w.slot(musterv1.Role_ROLE_HOST, rank); !there || !s.recs.at(slot).isAlive() {
			r.MissingHosts = append(r.MissingHosts, rank)
		}
	}
	if len(ranks) == mostRanks && len(r.MissingHosts) == mostHosts || to >= max(n, hosts) {
		return 0
	}
	return to
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
	orders := &oldestOrders{}
	orders.add(m, s.pending[m])
	if rec.assignment != nil {
		host := hostOf(w, m.rank)
		orders.add(host, slices.DeleteFunc(slices.Clone(s.pending[host]), func(d due) bool { return d.subject != m }))
		if !hasBegun(rec) && rec.assignment.Order == 0 {
			r.Notes = append(r.Notes, s.worldNotes(w, r)...)
		}
		if rec.assignment.State == musterv1.Assignment_STATE_STARTED && !hasBegun(rec) {
			r.Notes = append(r.Notes, "its program runs and counts once it has joined (ready: join)")
		}
	}
	s.explainOrders(r, orders)
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

// oldestOrders are the first explainMost orders of those that were added, and how many that were.
type oldestOrders struct {
	count  uint32
	oldest []addressed // ascending
}

type addressed struct {
	to member
	due
}

// add takes what an addressee has still to be told, or what is wanted of it.
func (o *oldestOrders) add(to member, waiting []due) {
	o.count += uint32(len(waiting))
	for _, d := range waiting {
		i, _ := slices.BinarySearchFunc(o.oldest, d, func(a addressed, d due) int { return compareDue(a.due, d) })
		if i == explainMost {
			return
		}
		o.oldest = slices.Insert(o.oldest, i, addressed{to, d})
		o.oldest = o.oldest[:min(len(o.oldest), explainMost)]
	}
}

// explainAllOrders tells what the members of a world have still to be told; hosts first, as each is told for many.
func (s *State) explainAllOrders(r *musterv1.ExplainResponse, w *world) {
	o := &oldestOrders{}
	all := true
	for _, role := range []musterv1.Role{musterv1.Role_ROLE_HOST, musterv1.Role_ROLE_WORKER} {
		looks := 0
		for rank := range w.members(role).from(0) {
			if looks++; looks > explainLooks {
				all = false
				break
			}
			m := member{w.rec.World, role, rank}
			o.add(m, s.pending[m])
		}
	}
	if !all {
		r.Notes = append(r.Notes, fmt.Sprintf("the world is large: orders are told and counted of its first %d hosts and ranks; explain a rank to see its own", explainLooks))
	}
	s.explainOrders(r, o)
}

// explainOrders tells of what has still to be told.
func (s *State) explainOrders(r *musterv1.ExplainResponse, o *oldestOrders) {
	r.OrderCount = o.count
	for _, d := range o.oldest {
		what := "end"
		switch d.kind {
		case dueSpawn:
			what = fmt.Sprintf("start rank %d", d.subject.rank)
		case dueStopRank:
			what = fmt.Sprintf("end rank %d", d.subject.rank)
		}
		r.Orders = append(r.Orders, &musterv1.DueOrder{Id: d.id, To: d.to.ref(0), What: what, AgeNs: s.core.ClockNs - d.dueNs})
	}
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
