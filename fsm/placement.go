package fsm

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// knowsHosts: all nodes follow rules that have hosts.
func (s *State) knowsHosts() bool { return s.core.MachineVersion >= hostsVersion }

// ranksOf is the ranks [from, to) of a host rank: empty for a spare, and where the world does not say how many procs it wants.
func ranksOf(spec *musterv1.WorldSpec, host uint32) (from, to uint32) {
	n, definite := wanted(spec)
	h := uint64(spec.GetProcsPerHost())
	if !definite || h == 0 || uint64(host)*h >= uint64(n) {
		return 0, 0
	}
	return uint32(uint64(host) * h), uint32(min(uint64(host+1)*h, uint64(n)))
}

// hostsWanted is how many hosts have ranks; 0 where the world does not say.
func hostsWanted(spec *musterv1.WorldSpec) uint32 {
	n, definite := wanted(spec)
	h := spec.GetProcsPerHost()
	if !definite || h == 0 {
		return 0
	}
	return uint32((uint64(n) + uint64(h) - 1) / uint64(h))
}

// hostOf is the place of the host that has a rank of w.
func hostOf(w *world, rank uint32) member {
	return member{w.rec.World, musterv1.Role_ROLE_HOST, rank / max(w.rec.Spec.GetProcsPerHost(), 1)}
}

// isReadyHost: a host with ranks that is there.
func isReadyHost(w *world, rec *record) bool {
	return rec.role == musterv1.Role_ROLE_HOST && rec.health == musterv1.Health_HEALTH_ALIVE &&
		rec.rank < hostsWanted(w.rec.GetSpec())
}

// recountReady counts anew after w's spec has changed.
func (s *State) recountReady(w *world) {
	w.ready = 0
	for _, slot := range w.hosts.from(0) {
		if isReadyHost(w, s.recs.at(slot)) {
			w.ready++
		}
	}
}

// putHostRank notes who has a host rank. An agent has one rank of a world: one that it had before goes back.
func (s *State) putHostRank(w *world, rec *musterv1.HostRank) {
	if old, ok := w.hostKeys[rec.Key]; ok && old != rec.Rank && !rec.Left {
		before := proto.CloneOf(w.hostRanks[old])
		before.Key, before.Left = "", true
		s.storeHostRank(w, before)
	}
	s.storeHostRank(w, rec)
}

func (s *State) storeHostRank(w *world, rec *musterv1.HostRank) {
	if old := w.hostRanks[rec.Rank]; old != nil {
		if w.hostKeys[old.Key] == rec.Rank {
			delete(w.hostKeys, old.Key)
		}
		if old.Left {
			w.leftHosts--
		}
	}
	w.hostRanks[rec.Rank] = rec
	if rec.Key != "" {
		w.hostKeys[rec.Key] = rec.Rank
	}
	if rec.Left {
		w.leftHosts++
	}
	for w.hostRanks[w.neverGiven] != nil {
		w.neverGiven++
	}
	s.entry.digest.record(&musterv1.Record{Body: &musterv1.Record_HostRank{HostRank: rec}})
}

// forgetHostRanks goes with the world.
func (s *State) forgetHostRanks(w *world) {
	for _, rec := range sorted(w.hostRanks) {
		s.entry.digest.dropped("host rank", rec)
	}
	w.hostRanks, w.hostKeys, w.neverGiven, w.leftHosts = map[uint32]*musterv1.HostRank{}, map[string]uint32{}, 0, 0
}

// freeHostRank is what an agent gets that has had no rank of w: the lowest never given that has ranks, else the lowest whose host has
// left, else it is a spare. While nobody knows how many hosts w wants, one whose host has left goes first, so that restarted agents do
// not become spares of a world that is created later.
func (s *State) freeHostRank(w *world) uint32 {
	hosts := hostsWanted(w.rec.Spec)
	if w.neverGiven < hosts {
		return w.neverGiven
	}
	if w.leftHosts > 0 {
		for rank, rec := range sorted(w.hostRanks) {
			if rec.Left {
				return rank
			}
		}
	}
	return w.neverGiven
}

// assignRanks gives a host those of its ranks that nobody has. A living proc that joined by itself keeps its rank.
func (s *State) assignRanks(w *world, host uint32) {
	_, h := s.lookup(member{w.rec.World, musterv1.Role_ROLE_HOST, host})
	from, to := ranksOf(w.rec.Spec, host)
	var given []uint32
	for rank := from; rank < to; rank++ {
		m := member{w.rec.World, musterv1.Role_ROLE_WORKER, rank}
		slot, present := s.lookup(m)
		if present != nil && (present.assignment != nil || isHealthy(present) || present.health == musterv1.Health_HEALTH_ALIVE) {
			continue
		}
		if present != nil {
			s.supersede(w, m, slot, present)
		}
		s.supersedeDetached(m)
		rec := s.newRecord(m, musterv1.Mode_MODE_MANAGED_BY_SYSTEM, w.rec.Timeouts)
		rec.assign(h)
		s.putMember(w, rec, s.core.ClockNs)
		given = append(given, rank)
	}
	if len(given) > 0 {
		s.emitMembers(w, musterv1.Event_KIND_ASSIGNED, musterv1.Role_ROLE_WORKER, given,
			clip(fmt.Sprintf("to host rank %d on %s", host, h.machine())))
	}
}

// orderSpawns makes due what can be: in a world of programs not before every host that has ranks is there, then rank 0's host, then, when
// it has said at which port the procs meet, the others; in other worlds each host at once.
func (s *State) orderSpawns(w *world) {
	if w.rec.Spec == nil || w.rec.Stop != 0 {
		return
	}
	hosts := hostsWanted(w.rec.Spec)
	if exec := w.rec.Spec.Exec; exec != nil {
		if s.metElsewhere(w) && !s.anyRuns(w, nil) {
			s.setMaster(w, nil, 0)
		}
		if w.rec.MasterAddress == "" {
			if w.ready < hosts || hosts == 0 {
				return
			}
			_, first := s.lookup(member{w.rec.World, musterv1.Role_ROLE_HOST, 0})
			s.setMaster(w, first, exec.MasterPort)
		}
		if w.rec.MasterPort == 0 {
			hosts = 1
		}
	}
	for rank := range w.hosts.from(0) {
		if rank < hosts {
			s.orderSpawnsOf(w, rank)
		}
	}
}

// setMaster notes where the procs meet: at what host rank 0 advertises, or, with nil, not yet anywhere.
func (s *State) setMaster(w *world, first *record, port uint32) {
	rec := proto.CloneOf(w.rec)
	rec.MasterAddress, rec.MasterPort, rec.MasterHost = "", port, 0
	if first != nil {
		rec.MasterAddress = masterAddress(first)
		if s.HasBrake() {
			rec.MasterHost = first.incarnation
		}
	}
	s.putWorld(w, rec)
}

// metElsewhere: the procs were told to meet at an earlier host rank 0's.
func (s *State) metElsewhere(w *world) bool {
	_, first := s.lookup(member{w.rec.World, musterv1.Role_ROLE_HOST, 0})
	return w.rec.MasterHost != 0 && first != nil && first.incarnation != w.rec.MasterHost
}

// anyRuns tells whether a host has accepted to run a rank that has not ended, those of except apart, which ascend.
func (s *State) anyRuns(w *world, except []uint32) bool {
	for rank, slot := range w.workers.from(0) {
		switch s.recs.at(slot).assigned().GetState() {
		case musterv1.Assignment_STATE_ACCEPTED, musterv1.Assignment_STATE_STARTED:
			if _, found := slices.BinarySearch(except, rank); !found {
				return true
			}
		}
	}
	return false
}

// orderSpawnsOf makes due what a host has not been ordered to start.
func (s *State) orderSpawnsOf(w *world, host uint32) {
	from, to := ranksOf(w.rec.Spec, host)
	for rank := from; rank < to; rank++ {
		m := member{w.rec.World, musterv1.Role_ROLE_WORKER, rank}
		slot, rec := s.lookup(m)
		a := rec.assigned()
		if a.GetState() != musterv1.Assignment_STATE_ASSIGNED || a.GetOrder() != 0 {
			continue
		}
		rec = rec.clone()
		rec.assignment.Order, rec.assignment.DueNs = s.draw(), s.core.ClockNs
		s.replaceMember(w, slot, rec)
		s.pend(hostOf(w, rank), due{id: rec.assignment.Order, dueNs: s.core.ClockNs, kind: dueSpawn, subject: m})
	}
}

// masterAddress is what a host advertises, as procs are told it: without a scheme.
func masterAddress(host *record) string {
	if _, rest, found := strings.Cut(host.address(), ":"); found && rest != "" {
		return rest
	}
	if host.machine() != "" {
		return host.machine()
	}
	return "localhost"
}

// meetAt takes the port that rank 0's host has chosen.
func (s *State) meetAt(w *world, port uint32) {
	if port == 0 || port > 65535 || w.rec.MasterPort != 0 || w.rec.MasterAddress == "" {
		return
	}
	rec := proto.CloneOf(w.rec)
	rec.MasterPort = port
	s.putWorld(w, rec)
	s.orderSpawns(w)
}
