package route

import (
	"context"
	"sync"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

const (
	// maxInterests bounds what one member is interested in, maxAll what all of them are.
	maxInterests = 1 << 14
	maxAll       = 1 << 20
	// maxMoved bounds what waits to be looked at; beyond it everybody is looked at.
	maxMoved = 1 << 16
)

// place is where a worker can be.
type place struct {
	world string
	rank  uint32
}

func placeOf(p *musterv1.ProcRef) place { return place{p.GetWorld(), p.GetRank()} }

// member is one life of somebody who is interested.
type member struct {
	place
	role        musterv1.Role
	incarnation uint64
}

func memberOf(p *musterv1.ProcRef) member {
	return member{placeOf(p), max(p.GetRole(), musterv1.Role_ROLE_WORKER), p.GetIncarnation()}
}

// told is what an interested member knows.
type told struct {
	incarnation uint64
	address     string
}

func toldOf(l *musterv1.Located) told { return told{l.GetProc().GetIncarnation(), l.GetAddress()} }

// Table of interests. Its methods do not wait; Moved may be called with the state's lock held, the others read the state.
// Safe for concurrent use.
type Table struct {
	locate func(*musterv1.ProcRef) *musterv1.Located
	tell   func(*musterv1.AddressUpdate)
	wake   chan struct{} // one place: "look again"

	mu sync.Mutex
	// interests of each member, and by place who has them.
	interests map[member]map[place]told
	byPlace   map[place]map[member]struct{}
	all       int

	movedMu sync.Mutex
	moved   []place
	worlds  map[string]bool
	every   bool
}

// NewTable returns an empty one. locate reads the state; tell hands an update to its member's session and does not block.
func NewTable(locate func(*musterv1.ProcRef) *musterv1.Located, tell func(*musterv1.AddressUpdate)) *Table {
	return &Table{
		locate: locate, tell: tell, wake: make(chan struct{}, 1),
		interests: map[member]map[place]told{}, byPlace: map[place]map[member]struct{}{}, worlds: map[string]bool{},
	}
}

// Meet makes who interested in to if it is not yet, and tells it then. Where there is no room, it is not told.
func (t *Table) Meet(who, to *musterv1.ProcRef) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, p := memberOf(who), placeOf(to)
	if _, known := t.interests[m][p]; !known && t.add(m, p, told{}) {
		t.refresh(m, p)
	}
}

// Say takes what a member says of its interests, and tells it what differs from what it knows, and what it asks for.
func (t *Table) Say(i *musterv1.Interest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := memberOf(i.GetWho())
	for _, f := range i.GetForget() {
		t.drop(m, placeOf(f))
	}
	for _, known := range i.GetKnown() {
		p := placeOf(known.GetProc())
		if t.add(m, p, toldOf(known)) {
			t.refresh(m, p)
		} else {
			t.refuse(m, p)
		}
	}
	for _, asked := range i.GetAsk() {
		p := placeOf(asked)
		if t.add(m, p, told{}) {
			t.say(m, p, t.see(m, p))
		} else {
			t.refuse(m, p)
		}
	}
}

// End forgets what members are interested in.
func (t *Table) End(members []*musterv1.HelloMember) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, hm := range members {
		m := memberOf(hm.GetProc())
		for p := range t.interests[m] {
			t.drop(m, p)
		}
	}
}

// Len is how many interests are held.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}

// add notes an interest and what is known; false if there is no room. Called with mu held, as are all below.
func (t *Table) add(m member, p place, known told) bool {
	if _, has := t.interests[m][p]; !has {
		if len(t.interests[m]) >= maxInterests || t.all >= maxAll {
			return false
		}
		t.all++
	}
	if t.interests[m] == nil {
		t.interests[m] = map[place]told{}
	}
	if t.byPlace[p] == nil {
		t.byPlace[p] = map[member]struct{}{}
	}
	t.interests[m][p], t.byPlace[p][m] = known, struct{}{}
	return true
}

func (t *Table) drop(m member, p place) {
	if _, has := t.interests[m][p]; !has {
		return
	}
	t.all--
	delete(t.interests[m], p)
	delete(t.byPlace[p], m)
	if len(t.interests[m]) == 0 {
		delete(t.interests, m)
	}
	if len(t.byPlace[p]) == 0 {
		delete(t.byPlace, p)
	}
}

// refresh tells m where p is if that is not what it knows. Reading and telling under one lock keeps updates in order.
// Who can be reached nowhere, now as before, is nothing to tell.
func (t *Table) refresh(m member, p place) {
	now, before := t.see(m, p), t.interests[m][p]
	switch {
	case now.GetAddress() == "" && before.address == "":
		t.interests[m][p] = toldOf(now)
	case toldOf(now) != before:
		t.say(m, p, now)
	}
}

// see is where p is, as m is to see it.
func (t *Table) see(m member, p place) *musterv1.Located {
	now := t.locate(&musterv1.ProcRef{World: p.world, Role: musterv1.Role_ROLE_WORKER, Rank: p.rank})
	from := t.locate(&musterv1.ProcRef{World: m.world, Role: m.role, Rank: m.rank})
	seen := id.Address(now.GetAddress()).SeenFrom(id.Address(from.GetAddress()))
	return &musterv1.Located{Proc: now.GetProc(), Address: string(seen)}
}

func (t *Table) say(m member, p place, now *musterv1.Located) {
	t.interests[m][p] = toldOf(now)
	t.tell(&musterv1.AddressUpdate{Who: m.ref(), Located: now})
}

func (t *Table) refuse(m member, p place) {
	proc := &musterv1.ProcRef{World: p.world, Role: musterv1.Role_ROLE_WORKER, Rank: p.rank}
	t.tell(&musterv1.AddressUpdate{Who: m.ref(), Located: &musterv1.Located{Proc: proc}, Refused: true})
}

func (m member) ref() *musterv1.ProcRef {
	return &musterv1.ProcRef{World: m.world, Role: m.role, Rank: m.rank, Incarnation: m.incarnation}
}

// Moved notes that workers, or all workers of some worlds, may be found elsewhere.
func (t *Table) Moved(workers []*musterv1.ProcRef, worlds []string) {
	if len(workers)+len(worlds) == 0 {
		return
	}
	t.movedMu.Lock()
	for _, p := range workers {
		if len(t.moved) == maxMoved {
			t.every = true
			break
		}
		t.moved = append(t.moved, placeOf(p))
	}
	for _, w := range worlds {
		t.worlds[w] = true
	}
	t.movedMu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Run tells whoever is interested what has moved, until ctx ends.
func (t *Table) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		}
		t.movedMu.Lock()
		moved, worlds, every := t.moved, t.worlds, t.every
		t.moved, t.worlds, t.every = nil, map[string]bool{}, false
		t.movedMu.Unlock()
		for _, p := range moved {
			t.look(p)
		}
		if every || len(worlds) > 0 {
			for _, p := range t.places(worlds, every) {
				t.look(p)
			}
		}
	}
}

// places are those of some worlds, or all, that somebody is interested in.
func (t *Table) places(worlds map[string]bool, every bool) []place {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []place
	for p := range t.byPlace {
		if every || worlds[p.world] {
			out = append(out, p)
		}
	}
	return out
}

// look refreshes all who are interested in a place.
func (t *Table) look(p place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for m := range t.byPlace[p] {
		t.refresh(m, p)
	}
}
