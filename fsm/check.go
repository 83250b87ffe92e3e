package fsm

import (
	"errors"
	"fmt"
	"slices"

	musterv1 "muster/proto/muster/v1"
)

// checkStep is how many members, worlds, or targets of stops one step of a checker looks at, about: a few milliseconds.
const checkStep = 10_000

// RestoreSteps is how many empty pieces behind the last one have a restore of so many records checked before it is committed: the first makes
// the checker, and what is left of a step at the end of a stage is not used for the next one.
func RestoreSteps(records uint64) int {
	return 1 + int(records/checkStep) + len(newChecker(New()).stages)
}

// Check looks for facts that contradict each other. It is what tests ask after every entry and what a state file has to pass; it
// costs a walk over the whole state.
func (s *State) Check() error { return newChecker(s).finish() }

// checker is a Check in steps, so that a state that is beside the one in force can be checked between entries. The state must not change
// between them.
type checker struct {
	s      *State
	stages []func() (more bool, err error)

	next    Slot // to be looked at
	members int
	counted State // what all members add up to, of which only counts are used
	tallies map[string]*tally
	present *tally           // the world's that the last member is of
	pending map[member][]due // what is due

	worlds     []string // still to be looked at
	operations []uint64
	target     int            // of the first of those, still to be looked at
	open       map[uint64]int // its targets that are not done, by generation
	due        []member       // whose due orders are still to be looked at; nil: not listed yet
	orders     int            // that were met
}

// tally is what the members of a world add up to.
type tally struct {
	w       *world
	counted world
}

func newChecker(s *State) *checker {
	c := &checker{s: s, tallies: map[string]*tally{}, pending: map[member][]due{}}
	for name := range sorted(s.worlds) {
		c.worlds = append(c.worlds, name)
	}
	for operation := range sorted(s.stops) {
		c.operations = append(c.operations, operation)
	}
	c.stages = []func() (bool, error){
		c.someMembers, c.allMembers, once(s.checkDetached), c.someWorlds, c.someStops, c.somePending,
		once(s.checkPhase), once(s.checkEnded), once(s.checkRequests), once(s.checkEvents),
	}
	return c
}

var errPending = errors.New("a member has other due orders than the records say, or is not there")

// once is a stage of one step.
func once(check func() error) func() (bool, error) {
	return func() (bool, error) { return false, check() }
}

// step looks at some; more tells whether anything is left.
func (c *checker) step() (more bool, err error) {
	if len(c.stages) == 0 {
		return false, nil
	}
	more, err = c.stages[0]()
	if !more {
		c.stages = c.stages[1:]
	}
	return len(c.stages) > 0, err
}

// finish looks at all that is left.
func (c *checker) finish() error {
	for {
		if more, err := c.step(); err != nil || !more {
			return err
		}
	}
}

func (c *checker) someMembers() (more bool, err error) {
	to := min(c.next+checkStep, Slot(c.s.recs.len()))
	for ; c.next < to; c.next++ {
		rec := c.s.recs.at(c.next)
		if rec == nil {
			continue
		}
		c.members++
		if err := c.member(c.next, rec); err != nil {
			return false, err
		}
	}
	return int(to) < c.s.recs.len(), nil
}

// of is the tally of a member's world.
func (c *checker) of(name string) *tally {
	if t := c.present; t != nil && t.w.rec.World == name {
		return t
	}
	t := c.tallies[name]
	if t == nil {
		w := c.s.worlds[name]
		if w == nil {
			return nil
		}
		t = &tally{w: w, counted: world{rec: w.rec}}
		c.tallies[name] = t
	}
	c.present = t
	return t
}

// member holds one against its world, and counts it.
func (c *checker) member(slot Slot, rec *record) error {
	s, m := c.s, rec.member()
	t := c.of(m.world)
	if t == nil {
		return fmt.Errorf("%s is in slot %d and its world is not there", printMember(m), slot)
	}
	w := t.w
	if at, ok := w.slot(m.role, m.rank); !ok || at != slot {
		return fmt.Errorf("%s is in slot %d and noted in %d (there: %t)", printMember(m), slot, at, ok)
	}
	if rec.incarnation <= w.rec.Created || rec.incarnation > s.core.Number {
		return fmt.Errorf("%s has incarnation %d, its world was made at %d, the number is %d",
			printMember(m), rec.incarnation, w.rec.Created, s.core.Number)
	}
	if n, definite := wanted(w.rec.Spec); definite && m.role == musterv1.Role_ROLE_WORKER && m.rank >= n {
		return fmt.Errorf("%s is outside the shape of %d", printMember(m), n)
	}
	if s.alive[slot] != aliveIncarnation(rec) {
		return fmt.Errorf("%s is %v and noted as alive under %d", printMember(m), rec.health, s.alive[slot])
	}
	c.counted.count(&t.counted, rec, +1)
	if m.role == musterv1.Role_ROLE_HOST {
		return checkHost(w, rec)
	}
	if d, ok := spawnDue(rec); ok {
		host := hostOf(w, m.rank)
		c.pending[host] = append(c.pending[host], d)
	}
	return checkAssignment(w, rec)
}

// checkHost: a host has the rank that it was given.
func checkHost(w *world, rec *record) error {
	given := w.hostRanks[rec.rank]
	if given == nil || given.Left || given.Key != rec.key() || w.hostKeys[rec.key()] != rec.rank {
		return fmt.Errorf("host rank %d of world %s is held by %q and noted as of %q (left: %t)", rec.rank, w.rec.World, rec.key(), given.GetKey(), given.GetLeft())
	}
	return nil
}

// checkAssignment: who has still to start, or runs, has a host.
func checkAssignment(w *world, rec *record) error {
	m, a := rec.member(), rec.assignment
	if a == nil {
		if !hasBegun(rec) {
			return fmt.Errorf("%s has no health and no assignment", printMember(m))
		}
		return nil
	}
	if a.State == musterv1.Assignment_STATE_UNSPECIFIED || a.State > musterv1.Assignment_STATE_ASSIGNED && a.Order == 0 && a.State != musterv1.Assignment_STATE_ENDED {
		return fmt.Errorf("%s is in state %v under order %d", printMember(m), a.State, a.Order)
	}
	if a.State == musterv1.Assignment_STATE_ENDED {
		if !hasBegun(rec) {
			return fmt.Errorf("%s has ended and has no health", printMember(m))
		}
		return nil
	}
	if !w.hosts.has(hostOf(w, m.rank).rank) {
		return fmt.Errorf("%s is %v and its host is not there", printMember(m), a.State)
	}
	return nil
}

// allMembers: every slot is of a member or free, and every member that a world notes was met.
func (c *checker) allMembers() (more bool, err error) {
	s, noted := c.s, 0
	for _, w := range sorted(s.worlds) {
		noted += w.workers.len() + w.hosts.len()
	}
	if used := s.recs.len() - len(s.free); used != c.members || noted != c.members {
		return false, fmt.Errorf("%d slots are used, %d members are there, and %d are noted by worlds", used, c.members, noted)
	}
	if c.counted.unhealthy != s.unhealthy {
		return false, fmt.Errorf("%d members are unhealthy, counted %d", c.counted.unhealthy, s.unhealthy)
	}
	for _, slot := range s.free {
		if s.recs.at(slot) != nil || s.alive[slot] != 0 {
			return false, fmt.Errorf("free slot %d is used", slot)
		}
	}
	if len(s.byGeneration) != len(s.worlds) || s.names.Len() != len(s.worlds) {
		return false, fmt.Errorf("%d generations and %d names for %d worlds", len(s.byGeneration), s.names.Len(), len(s.worlds))
	}
	return false, nil
}

// checkDetached holds the order of Detached members against who they are.
func (s *State) checkDetached() error {
	if s.inOrder.Len() != len(s.detached) {
		return fmt.Errorf("%d Detached members are in order, there are %d", s.inOrder.Len(), len(s.detached))
	}
	for _, m := range s.inOrder.Items() {
		if s.detached[m] == nil {
			return fmt.Errorf("%s is in the order of Detached members and is none", printMember(m))
		}
	}
	return nil
}

func (c *checker) someWorlds() (more bool, err error) {
	for looked := 0; looked < checkStep && len(c.worlds) > 0; c.worlds = c.worlds[1:] {
		w := c.s.worlds[c.worlds[0]]
		if err := c.world(c.worlds[0], w); err != nil {
			return false, err
		}
		looked += 1 + len(w.hostRanks)
	}
	return len(c.worlds) > 0, nil
}

func (c *checker) world(name string, w *world) error {
	s := c.s
	if w.rec.World != name || s.byGeneration[w.rec.Generation] != w || !s.names.Contains(name) {
		return fmt.Errorf("world %s is kept as %s, generation %d", w.rec.World, name, w.rec.Generation)
	}
	if w.rec.Generation > s.core.Generation || w.rec.Created > s.core.Number {
		return fmt.Errorf("world %s is of generation %d and number %d, the counters are at %d and %d",
			name, w.rec.Generation, w.rec.Created, s.core.Generation, s.core.Number)
	}
	t := c.tallies[name]
	if t == nil {
		t = &tally{w: w}
	}
	if err := w.checkRanks(); err != nil {
		return fmt.Errorf("world %s: %w", name, err)
	}
	if fresh := &t.counted; fresh.joined != w.joined || fresh.healthy != w.healthy || fresh.completed != w.completed ||
		fresh.supervised != w.supervised || fresh.ready != w.ready {
		return fmt.Errorf("world %s counts joined %d, healthy %d, completed %d, supervised %d, hosts ready %d, should be %d, %d, %d, %d, %d", name,
			w.joined, w.healthy, w.completed, w.supervised, w.ready, fresh.joined, fresh.healthy, fresh.completed, fresh.supervised, fresh.ready)
	}
	if have, want := w.unhealthy.Keys(), t.counted.unhealthy.Keys(); !slices.Equal(have, want) {
		return fmt.Errorf("world %s has unhealthy members %v, noted %v", name, want, have)
	}
	if err := checkHostRanks(w); err != nil {
		return err
	}
	return s.checkStatus(w)
}

// checkHostRanks holds what hosts have been given.
func checkHostRanks(w *world) error {
	left := 0
	for rank, rec := range sorted(w.hostRanks) {
		if rec.Left {
			left++
		}
		if rec.Left && w.hosts.has(rank) {
			return fmt.Errorf("host rank %d of world %s has left and is there", rank, w.rec.World)
		}
	}
	if left != w.leftHosts || w.hostRanks[w.neverGiven] != nil {
		return fmt.Errorf("world %s: %d hosts have left, counted %d; host rank %d counts as never given", w.rec.World, left, w.leftHosts, w.neverGiven)
	}
	return nil
}

// checkStatus holds the status against what it is said to follow from.
func (s *State) checkStatus(w *world) error {
	status := w.rec.Condition.Status
	ok := false
	switch status {
	case musterv1.Status_STATUS_AWAITING_CREATION:
		ok = w.rec.Spec == nil && !w.empty() && w.rec.Stop == 0
	case musterv1.Status_STATUS_LIVE:
		ok = w.rec.Spec != nil && s.isLive(w) && w.rec.Condition.WasLive && w.rec.Stop == 0
	case musterv1.Status_STATUS_UNHEALTHY:
		ok = w.rec.Spec != nil && !s.isLive(w) && w.rec.Stop == 0
	case musterv1.Status_STATUS_STOPPING:
		op := s.stops[w.rec.Stop]
		ok = op != nil && !op.rec.Done && w.rec.End != nil && slices.Contains(op.rec.Generations, w.rec.Generation)
	}
	if !ok {
		return fmt.Errorf("world %s cannot be %s with %d joined, %d healthy, stop %d",
			w.rec.World, StatusName(status), w.joined, w.healthy, w.rec.Stop)
	}
	return nil
}

func (c *checker) someStops() (more bool, err error) {
	for looked := 0; looked < checkStep && len(c.operations) > 0; {
		operation := c.operations[0]
		op := c.s.stops[operation]
		if c.target == 0 {
			c.open = map[uint64]int{}
		}
		to := min(len(op.targets), c.target+checkStep-looked)
		for ; c.target < to; c.target++ {
			if err := c.stopTarget(operation, op, c.target); err != nil {
				return false, err
			}
			looked++
		}
		if c.target < len(op.targets) {
			continue
		}
		if err := checkOpen(operation, op, c.open); err != nil {
			return false, err
		}
		c.operations, c.target = c.operations[1:], 0
		looked++
	}
	return len(c.operations) > 0, nil
}

// stopTarget holds one against its operation, and counts it where it is waited for.
func (c *checker) stopTarget(operation uint64, op *stop, i int) error {
	t := op.targets[i]
	m := memberOf(t.Proc)
	if op.index[m] != i || t.Operation != operation {
		return fmt.Errorf("stop %d: target %s is out of place", operation, printMember(m))
	}
	if hasStopDue(t) {
		addressee, d := stopDue(operation, t)
		c.pending[addressee] = append(c.pending[addressee], d)
	}
	if t.Done {
		return nil
	}
	generation := uint64(0)
	if _, rec := c.s.lookup(m); rec != nil {
		generation = c.s.worlds[m.world].rec.Generation
	} else if c.s.detached[m] == nil {
		return fmt.Errorf("stop %d waits for %s, which is not there", operation, printMember(m))
	}
	c.open[generation]++
	return nil
}

// checkOpen holds what an operation waits for against what its targets say.
func checkOpen(operation uint64, op *stop, open map[uint64]int) error {
	for generation, n := range sorted(op.open) {
		if open[generation] != n {
			return fmt.Errorf("stop %d waits for %d targets of generation %d, counted %d", operation, open[generation], generation, n)
		}
	}
	total := 0
	for _, n := range sorted(open) {
		total += n
	}
	if total != op.left {
		return fmt.Errorf("stop %d waits for %d targets, counted %d", operation, total, op.left)
	}
	if len(open) > 0 && op.rec.Done {
		return fmt.Errorf("stop %d is done and waits", operation)
	}
	return nil
}

// somePending holds the index of due orders against what it follows from. It names nobody: the walk is in no order, and what a restore is refused
// with has to be the same on every node.
func (c *checker) somePending() (more bool, err error) {
	s := c.s
	if c.due == nil {
		if len(c.pending) != len(s.pending) {
			return false, fmt.Errorf("%d members have due orders, %d should", len(s.pending), len(c.pending))
		}
		c.due = unsortedKeys(s.pending)
	}
	some := c.due[:min(checkStep, len(c.due))]
	c.due = c.due[len(some):]
	for _, m := range some {
		waiting, derived := s.pending[m], c.pending[m]
		c.orders += len(waiting)
		slices.SortFunc(derived, compareDue)
		if !slices.Equal(waiting, derived) {
			return false, errPending
		}
		if _, rec := s.lookup(m); rec == nil && s.detached[m] == nil {
			return false, errPending
		}
	}
	if len(c.due) == 0 && c.orders != s.dueOrders {
		return false, fmt.Errorf("%d due orders are counted, there are %d", s.dueOrders, c.orders)
	}
	return len(c.due) > 0, nil
}

// checkPhase: a system that stops has an operation that stops it, and one that has stopped holds nobody.
func (s *State) checkPhase() error {
	switch s.core.Phase {
	case musterv1.Phase_PHASE_STOPPING:
		if op := s.stops[s.core.SystemStop]; op == nil {
			return fmt.Errorf("the system is stopping by operation %d, which is not there", s.core.SystemStop)
		}
	case musterv1.Phase_PHASE_STOPPED:
		if len(s.worlds)+len(s.detached) > 0 {
			return fmt.Errorf("the system has stopped and has %d worlds and %d detached members", len(s.worlds), len(s.detached))
		}
	}
	return nil
}

func (s *State) checkEnded() error {
	last := uint64(0)
	for _, rec := range s.ended {
		if rec.Ended < last || s.byGeneration[rec.Generation] != nil {
			return fmt.Errorf("ended world %s, generation %d, is out of order or lives", rec.World, rec.Generation)
		}
		last = rec.Ended
	}
	return nil
}

func (s *State) checkRequests() error {
	if len(s.requests.byID) != len(s.requests.oldest) {
		return fmt.Errorf("%d requests by id, %d by age", len(s.requests.byID), len(s.requests.oldest))
	}
	last, bytes := uint64(0), 0
	for _, r := range s.requests.oldest {
		if r.Number <= last || r.Number > s.core.Number || s.requests.byID[string(r.Id)] != r {
			return fmt.Errorf("request %d behind %d, the number is %d, or its id has another", r.Number, last, s.core.Number)
		}
		last, bytes = r.Number, bytes+len(r.Outcome)
	}
	if bytes != s.requests.bytes {
		return fmt.Errorf("answers of %d bytes, counted %d", bytes, s.requests.bytes)
	}
	return nil
}

// checkEvents: every ring ascends, and a world's is of a world that is known and of nothing else.
func (s *State) checkEvents() error {
	known := map[uint64]bool{}
	for _, rec := range s.ended {
		known[rec.Generation] = true
	}
	for generation, ring := range sorted(s.events.worlds) {
		if !known[generation] && s.byGeneration[generation] == nil {
			return fmt.Errorf("events are kept of generation %d, which is not known", generation)
		}
		if err := s.checkRing(ring, generation); err != nil {
			return err
		}
	}
	return s.checkRing(s.events.cluster, 0)
}

// checkRing holds one ring; of events of one generation if one is given.
func (s *State) checkRing(ring []*musterv1.Event, generation uint64) error {
	last := uint64(0)
	for _, e := range ring {
		if e.Number <= last || e.Number > s.core.Number || generation != 0 && e.Generation != generation {
			return fmt.Errorf("event %d of generation %d behind %d, the number is %d", e.Number, e.Generation, last, s.core.Number)
		}
		last = e.Number
	}
	return nil
}
