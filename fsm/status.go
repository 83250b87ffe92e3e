package fsm

import musterv1 "muster/proto/muster/v1"

// Status sums the state up.
func (s *State) Status() *musterv1.StateStatus {
	return &musterv1.StateStatus{
		ExecutionId: s.core.ExecutionId, Phase: s.core.Phase, Epoch: s.core.Epoch, Number: s.core.Number, ClockNs: s.core.ClockNs,
		Worlds: uint32(len(s.worlds)), Procs: uint32(s.recs.len() - len(s.free)), Unhealthy: s.unhealthy,
		Restoring: s.staged != nil, Settings: s.core.Settings, EndedWorlds: uint32(len(s.ended)), Brake: s.Brake(),
		MachineVersion: s.core.MachineVersion, HeldBackBy: s.heldBackBy(),
	}
}

// heldBackBy names the nodes that know no newer rules than those in force, where another one does.
func (s *State) heldBackBy() []string {
	var old []string
	newer := false
	for _, n := range sorted(s.nodes) {
		if n.MachineVersion <= s.core.MachineVersion {
			old = append(old, n.Name)
		} else {
			newer = true
		}
	}
	if !newer {
		return nil
	}
	return old
}

// Present is the incarnation that a place holds now; 0 for none. Detached members are looked up, too.
func (s *State) Present(p *musterv1.ProcRef) uint64 {
	m := memberOf(p)
	if _, rec := s.lookup(m); rec != nil {
		return rec.incarnation
	}
	if rec := s.detached[m]; rec != nil {
		return rec.incarnation
	}
	return 0
}

// Seats are the places of one world and role, for who looks many ranks up. They are good until the State changes.
type Seats struct {
	s    *State
	w    *world // nil: it is not there
	role musterv1.Role
}

// Seats of a world's members. A world that is not there has nobody.
func (s *State) Seats(world string, role musterv1.Role) Seats {
	return Seats{s, s.worlds[world], roleOf(role)}
}

// Incarnation that holds a rank now; 0 for none. Detached members have no seats.
func (p Seats) Incarnation(rank uint32) uint64 {
	if slot, ok := p.slot(rank); ok {
		if alive := p.s.alive[slot]; alive != 0 {
			return alive
		}
		return p.s.recs.at(slot).incarnation
	}
	return 0
}

// HeldOrder is the spawn order under which a rank's host runs it; 0 where no host does.
func (p Seats) HeldOrder(rank uint32) uint64 {
	if slot, ok := p.slot(rank); ok {
		return p.s.recs.at(slot).assigned().GetOrder()
	}
	return 0
}

func (p Seats) slot(rank uint32) (Slot, bool) {
	if p.w == nil {
		return 0, false
	}
	return p.w.slot(p.role, rank)
}

// HasPlace tells whether who asks to join has a place already, under whatever incarnation.
func (s *State) HasPlace(j *musterv1.JoinRequest) bool {
	rank := j.GetRank()
	if j.GetAssignRank() {
		w := s.worlds[j.GetWorld()]
		if w == nil {
			return false
		}
		known := false
		if rank, known = w.hostKeys[j.GetKey()]; !known {
			return false
		}
	}
	return s.Present(&musterv1.ProcRef{World: j.GetWorld(), Role: j.GetRole(), Rank: rank}) != 0
}

// Answered tells whether a client request was applied already: sent again it only gets its answer.
func (s *State) Answered(meta *musterv1.RequestMeta) bool {
	return s.requests.byID[string(meta.GetId())] != nil
}

// IsDetached tells whether p is in the address book of Detached members under its incarnation.
func (s *State) IsDetached(p *musterv1.ProcRef) bool {
	rec := s.detached[memberOf(p)]
	return rec != nil && rec.incarnation == p.GetIncarnation()
}

// MaxDetached is how many Detached members are listed at once: the reader holds a lock.
const MaxDetached = 4096

// DetachedMembers lists the address book of Detached members in order, the first MaxDetached behind one of them, or of all for nil.
func (s *State) DetachedMembers(behind *musterv1.ProcRef) []*musterv1.ProcRef {
	var out []*musterv1.ProcRef
	s.inOrder.Ascend(memberOf(behind), func(m member) bool {
		if behind == nil || m != memberOf(behind) {
			out = append(out, s.detached[m].ref())
		}
		return len(out) < MaxDetached
	})
	return out
}

// ShortestLeaseNs is the shortest lease that any world or the settings grant, in nanoseconds; 0 before the first TermStart.
func (s *State) ShortestLeaseNs() int64 {
	shortest := s.core.Settings.GetTimeouts().GetLeaseNs()
	for _, w := range s.worldsFrom("") {
		shortest = min(shortest, w.rec.Timeouts.LeaseNs)
	}
	return shortest
}
