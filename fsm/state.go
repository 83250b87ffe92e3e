package fsm

import (
	"cmp"
	"iter"

	"github.com/tidwall/btree"

	musterv1 "muster/proto/muster/v1"
)

// MachineVersion is the newest set of rules that this binary knows.
const MachineVersion = earlierVersion

const (
	// firstMachineVersion is what a cluster begins with whose first leader does not say what it knows.
	firstMachineVersion = 1
	// hostsVersion brought hosts, what they run, and why a world is in trouble.
	hostsVersion = 2
	// brakeVersion brought the mass-expiry brake and settings that can be changed.
	brakeVersion = 3
	// claimsVersion brought the numbers of claims, by which a late copy of one is known.
	claimsVersion = 4
	// packedVersion brought pieces of a restore that are compressed.
	packedVersion = 5
	// earlierVersion brought joins that name earlier incarnations of the caller, by which a state from before an earlier restore knows it.
	earlierVersion = 6
)

// Slot is the place of a member in this State's table. Slots differ between replicas and never enter the log.
type Slot uint32

// member names a place that one member at a time can hold.
type member struct {
	world string
	role  musterv1.Role
	rank  uint32
}

func memberOf(p *musterv1.ProcRef) member {
	return member{p.GetWorld(), roleOf(p.GetRole()), p.GetRank()}
}

// roleOf: whoever is no host is a worker, so that every place is in one of the two tables.
func roleOf(role musterv1.Role) musterv1.Role {
	if role != musterv1.Role_ROLE_HOST {
		return musterv1.Role_ROLE_WORKER
	}
	return role
}

// compare orders by (world, role, rank).
func (m member) compare(o member) int {
	return cmp.Or(cmp.Compare(m.world, o.world), cmp.Compare(m.role, o.role), cmp.Compare(m.rank, o.rank))
}

func (m member) less(o member) bool { return m.compare(o) < 0 }

func (m member) ref(incarnation uint64) *musterv1.ProcRef {
	return &musterv1.ProcRef{World: m.world, Role: m.role, Rank: m.rank, Incarnation: incarnation}
}

// addWorld has a world found, by its name and by its generation.
func (s *State) addWorld(name string, generation uint64, w *world) {
	s.worlds[name], s.byGeneration[generation] = w, w
	s.names.Insert(name)
}

// dropWorld undoes addWorld.
func (s *State) dropWorld(name string, generation uint64) {
	delete(s.worlds, name)
	delete(s.byGeneration, generation)
	s.names.Delete(name)
}

// worldsFrom walks the living worlds in order of their names, from one on.
func (s *State) worldsFrom(first string) iter.Seq2[string, *world] {
	return func(yield func(string, *world) bool) {
		s.names.Ascend(first, func(name string) bool { return yield(name, s.worlds[name]) })
	}
}

// world is a living world: its record, where its members are, and counts that follow from them.
type world struct {
	rec            *musterv1.WorldRecord
	workers, hosts rankTable

	// Host ranks that were ever given, and who gets which again. neverGiven is below the lowest that was not, leftHosts counts those
	// whose host has left.
	hostRanks  map[uint32]*musterv1.HostRank
	hostKeys   map[string]uint32
	neverGiven uint32
	leftHosts  int
	// Hosts with ranks that are Alive.
	ready uint32

	// Of the members that count for Live (workers managed by the system): how many there are, are healthy, have completed.
	joined, healthy, completed uint32
	// Members that are supervised, of any role, and which of them are not healthy: few, as a rule.
	supervised uint32
	unhealthy  btree.Set[place]
}

func newWorld() *world {
	return &world{
		hostRanks: map[uint32]*musterv1.HostRank{}, hostKeys: map[string]uint32{},
	}
}

// stop is an operation with its targets in the order they are told.
type stop struct {
	rec     *musterv1.StopRecord
	targets []*musterv1.StopTarget
	index   map[member]int
	open    map[uint64]int // targets not done, by generation; Detached members under 0
	left    int            // targets not done, all
	procs   map[member]int // procs not done, by the host that has their ranks
}

func newStop() *stop {
	return &stop{index: map[member]int{}, open: map[uint64]int{}, procs: map[member]int{}}
}

// wait counts a target of w, which is nil for Detached members, by +1 or -1.
func (op *stop) wait(w *world, target member, by int) {
	generation := uint64(0)
	if w != nil {
		generation = w.rec.Generation
		if target.role == musterv1.Role_ROLE_WORKER {
			op.procs[hostOf(w, target.rank)] += by
		}
	}
	op.open[generation] += by
	op.left += by
}

// State is the replicated state. Create it with New; an empty one waits for its first TermStart. Not safe for concurrent use.
type State struct {
	core   *musterv1.CoreRecord // changed in place: it leaves the state only as a copy
	digest [32]byte

	nodes        map[string]*musterv1.NodeRecord
	worlds       map[string]*world
	byGeneration map[uint64]*world
	names        btree.Set[string] // derived: of worlds, in order
	detached     map[member]*record
	inOrder      *btree.BTreeG[member] // derived: of the Detached members
	stops        map[uint64]*stop
	ended        []*musterv1.WorldRecord // oldest end first
	requests     requestTable
	events       eventLog
	staged       *staged

	// Members, by slot. Records are replaced, never changed; last reports have a column of their own, since they are what
	// changes all the time.
	recs       column[*record]
	lastReport column[int64]
	alive      []uint64 // derived: the incarnation of who is Alive, 0 elsewhere
	free       []Slot
	unhealthy  uint32   // supervised members that are not healthy
	shared     interner // derived: strings of theirs

	pending   map[member][]due // derived: due orders by addressee, ascending, see pending.go
	dueOrders int              // how many those are

	entry entryContext
}

// entryContext is what holds while one entry is applied.
type entryContext struct {
	wallMs  int64
	stampNs int64
	effects Effects
	broken  []string
	digest  digester
}

// New returns an empty state.
func New() *State {
	return &State{
		core:         &musterv1.CoreRecord{},
		nodes:        map[string]*musterv1.NodeRecord{},
		worlds:       map[string]*world{},
		byGeneration: map[uint64]*world{},
		detached:     map[member]*record{},
		inOrder:      btree.NewBTreeGOptions(member.less, btree.Options{NoLocks: true}),
		stops:        map[uint64]*stop{},
		requests:     newRequestTable(),
		events:       newEventLog(),
		pending:      map[member][]due{},
	}
}

// draw takes the next number.
func (s *State) draw() uint64 {
	s.core.Number++
	return s.core.Number
}

// lookup finds a member of a world.
func (s *State) lookup(m member) (Slot, *record) {
	w := s.worlds[m.world]
	if w == nil {
		return 0, nil
	}
	slot, ok := w.slot(m.role, m.rank)
	if !ok {
		return 0, nil
	}
	return slot, s.recs.at(slot)
}

// putMember stores rec as the present record of its place, with the time of its last report.
func (s *State) putMember(w *world, rec *record, lastReport int64) Slot {
	slot, before := s.storeMember(w, rec, lastReport)
	if elsewhere(before, rec) {
		s.moved(rec)
	}
	s.entry.digest.member(rec)
	return slot
}

// storeMember is putMember's part that loading needs, too.
func (s *State) storeMember(w *world, rec *record, lastReport int64) (slot Slot, before *record) {
	m := rec.member()
	slot, present := w.slot(m.role, m.rank)
	switch {
	case present:
		before = s.recs.at(slot)
		s.count(w, before, -1)
	case len(s.free) > 0:
		slot = s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
	default:
		slot = s.recs.add(nil)
		s.lastReport.add(0)
		s.alive = append(s.alive, 0)
	}
	w.members(m.role).set(m.rank, slot)
	s.recs.set(slot, rec)
	s.lastReport.set(slot, lastReport)
	s.alive[slot] = aliveIncarnation(rec)
	s.count(w, rec, +1)
	return slot, before
}

// replaceMember stores rec in place of the record at slot, keeping its last report.
func (s *State) replaceMember(w *world, slot Slot, rec *record) {
	s.putMember(w, rec, s.lastReport.at(slot))
}

// dropMember frees a member's place.
func (s *State) dropMember(w *world, slot Slot) {
	rec := s.recs.at(slot)
	m := rec.member()
	s.count(w, rec, -1)
	w.members(m.role).drop(m.rank)
	s.recs.set(slot, nil)
	s.lastReport.set(slot, 0)
	s.alive[slot] = 0
	s.free = append(s.free, slot)
	s.setPending(m, nil)
	s.cancelSpawn(w, rec)
	s.moved(rec)
	s.entry.digest.dropped("proc", rec.ref())
}

// count keeps the world's counts, and which of its members are not healthy; by is +1 or -1.
func (s *State) count(w *world, rec *record, by int) {
	add := func(n *uint32, yes bool) {
		if yes {
			*n = uint32(int(*n) + by)
		}
	}
	healthy := isHealthy(rec)
	add(&w.ready, isReadyHost(w, rec))
	add(&w.supervised, isSupervised(rec))
	if isSupervised(rec) && !healthy {
		add(&s.unhealthy, true)
		if at := placeIn(rec.role, rec.rank); by > 0 {
			w.unhealthy.Insert(at)
		} else {
			w.unhealthy.Delete(at)
		}
	}
	if countsForLive(rec) {
		add(&w.joined, true)
		add(&w.healthy, healthy)
		add(&w.completed, rec.health == musterv1.Health_HEALTH_COMPLETED)
	}
}

// countsForLive tells members that a world wants from those that are merely attached to it.
func countsForLive(rec *record) bool {
	return rec.role == musterv1.Role_ROLE_WORKER && rec.mode == musterv1.Mode_MODE_MANAGED_BY_SYSTEM && hasBegun(rec)
}

func isSupervised(rec *record) bool {
	return rec.mode != musterv1.Mode_MODE_DETACHED && hasBegun(rec)
}

// hasBegun tells members from ranks that a host is still to start: those have no health.
func hasBegun(rec *record) bool { return rec.health != musterv1.Health_HEALTH_UNSPECIFIED }

// isHealthy: Alive with no failed actors, or Completed.
func isHealthy(rec *record) bool {
	return rec.health == musterv1.Health_HEALTH_ALIVE && rec.failedActorCount() == 0 ||
		rec.health == musterv1.Health_HEALTH_COMPLETED
}

// putWorld stores rec as w's record.
func (s *State) putWorld(w *world, rec *musterv1.WorldRecord) {
	w.rec = rec
	s.entry.digest.record(&musterv1.Record{Body: &musterv1.Record_World{World: rec}})
}

// putStopTarget stores a target's new record.
func (s *State) putStopTarget(op *stop, i int, rec *musterv1.StopTarget) {
	op.targets[i] = rec
	s.entry.digest.record(&musterv1.Record{Body: &musterv1.Record_StopTarget{StopTarget: rec}})
}

// putStop stores an operation's new record.
func (s *State) putStop(op *stop, rec *musterv1.StopRecord) {
	op.rec = rec
	s.entry.digest.record(&musterv1.Record{Body: &musterv1.Record_Stop{Stop: rec}})
}

// ClusterID of the state; empty before the first TermStart.
func (s *State) ClusterID() string { return s.core.ClusterId }

// Epoch is the first number of the present history; it changes with a restore.
func (s *State) Epoch() uint64 { return s.core.Epoch }

// Number is the last one drawn.
func (s *State) Number() uint64 { return s.core.Number }

// ClockNs is the cluster clock in nanoseconds.
func (s *State) ClockNs() int64 { return s.core.ClockNs }

// MachineVersion is that of the rules that Apply follows; 0 before the first TermStart.
func (s *State) MachineVersion() uint32 { return s.core.MachineVersion }

// Settings in force; not to be changed. Nil before the first TermStart.
func (s *State) Settings() *musterv1.Settings { return s.core.Settings }

// BareTermStarts counts the TermStarts since any other entry: how often leadership changed hands without getting anything done.
func (s *State) BareTermStarts() uint32 { return s.core.BareTermStarts }

// GraceUntilNs is the clock at the latest TermStart plus the grace.
func (s *State) GraceUntilNs() int64 { return s.core.GraceUntilNs }
