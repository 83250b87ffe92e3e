package client

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

const (
	// maxLearnt bounds what is remembered of addresses that nobody has asked for; beyond it the oldest are forgotten.
	maxLearnt = 4096
	// maxNamed places go into one message.
	maxNamed = 1000
)

// Location is where a proc can be reached directly.
type Location struct {
	// Proc is who.
	Proc id.ProcID
	// Incarnation that listens there; 0 if nobody holds the rank.
	Incarnation uint64
	// Address is the proc's own or, where it has none, its world's; empty if it can be reached nowhere at present.
	Address id.Address
}

// Route is where a proc is to be found, as long as it is not closed. Safe for concurrent use.
type Route struct {
	member *Member
	place  place

	// Guarded by interests.mu.
	changed chan struct{}
	refused bool
}

// Location is what is known now.
func (r *Route) Location() Location {
	i := r.member.interests
	i.mu.Lock()
	defer i.mu.Unlock()
	if k := i.known[r.place]; k != nil {
		return k.location(r.place)
	}
	return Location{Proc: r.place.procID()}
}

// Changed returns a channel that is closed when the location changes after the call. Ask for it before Location.
func (r *Route) Changed() <-chan struct{} {
	i := r.member.interests
	i.mu.Lock()
	defer i.mu.Unlock()
	return r.changed
}

// Close ends the interest.
func (r *Route) Close() {
	r.member.interests.close(r)
	r.member.poke()
}

// Resolve asks where a proc, "world[rank]", can be reached. It waits until that is known and there is an address, or ctx ends. The Route is
// kept up to date until it is closed, through changes of the leader; a changed incarnation is a change too.
func (m *Member) Resolve(ctx context.Context, proc string) (*Route, error) {
	p, err := id.ParseProcID(proc)
	if err != nil {
		return nil, fmt.Errorf("resolve: %w", err)
	}
	r := m.interests.open(m, place{string(p.World), p.Rank})
	m.poke()
	for {
		changed := r.Changed()
		m.interests.mu.Lock()
		refused := r.refused
		m.interests.mu.Unlock()
		switch {
		case refused:
			r.Close()
			return nil, fmt.Errorf("resolve %s: the leader holds too many interests: close some routes", proc)
		case r.Location().Address != "":
			return r, nil
		}
		select {
		case <-changed:
		case <-m.done:
			r.Close()
			return nil, fmt.Errorf("resolve %s: the member has ended", proc)
		case <-ctx.Done():
			r.Close()
			return nil, fmt.Errorf("resolve %s: it has not joined with an address: %w", proc, outOfTime(ctx))
		}
	}
}

func (p place) procID() id.ProcID { return id.ProcID{World: id.WorldID(p.world), Rank: p.rank} }

// interests is whose addresses a member wants to know, and what it knows.
type interests struct {
	mu     sync.Mutex
	known  map[place]*known
	learnt []place // that nobody has asked for, oldest first
	ask    []place // to be said
	forget []place // likewise
	// forgot was said in this session: an update of such a place may have been on its way already, and is no interest of the leader's.
	forgot map[place]bool
}

type known struct {
	at     *musterv1.Located // nil: not told yet
	routes []*Route
	learnt bool // told because of a post
}

func newInterests() *interests {
	return &interests{known: map[place]*known{}, forgot: map[place]bool{}}
}

func (k *known) location(p place) Location {
	return Location{Proc: p.procID(), Incarnation: k.at.GetProc().GetIncarnation(), Address: id.Address(k.at.GetAddress())}
}

func (i *interests) open(m *Member, p place) *Route {
	i.mu.Lock()
	defer i.mu.Unlock()
	r := &Route{member: m, place: p, changed: make(chan struct{})}
	k := i.known[p]
	if k == nil {
		k = &known{}
		i.known[p] = k
		i.ask = append(i.ask, p)
	}
	k.routes = append(k.routes, r)
	return r
}

func (i *interests) close(r *Route) {
	i.mu.Lock()
	defer i.mu.Unlock()
	k := i.known[r.place]
	if k == nil || !slices.Contains(k.routes, r) {
		return
	}
	if k.routes = slices.DeleteFunc(k.routes, func(other *Route) bool { return other == r }); len(k.routes) == 0 && !k.learnt {
		i.drop(r.place)
	}
}

// drop is called with mu held.
func (i *interests) drop(p place) {
	delete(i.known, p)
	i.ask = slices.DeleteFunc(i.ask, func(other place) bool { return other == p })
	i.forget = append(i.forget, p)
}

// update takes what the leader tells; false if that is nothing. The leader tells only what is news, and so it is believed.
func (i *interests) update(u *musterv1.AddressUpdate) (now Location, told bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p := placeOf(u.GetLocated().GetProc())
	k := i.known[p]
	if u.GetRefused() {
		if k != nil {
			for _, r := range k.routes {
				r.refused = true
				r.announce()
			}
		}
		return Location{}, false
	}
	if k == nil {
		k = &known{learnt: true}
		i.known[p] = k
		if i.forgot[p] {
			i.ask = append(i.ask, p)
		}
		i.learn(p)
	}
	k.at = u.GetLocated()
	for _, r := range k.routes {
		r.announce()
	}
	return k.location(p), true
}

func (r *Route) announce() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// learn remembers p, and forgets the oldest where that is too much.
func (i *interests) learn(p place) {
	i.learnt = append(i.learnt, p)
	if len(i.learnt) <= maxLearnt {
		return
	}
	oldest := i.learnt[0]
	i.learnt = i.learnt[1:]
	if k := i.known[oldest]; k != nil {
		if k.learnt = false; len(k.routes) == 0 {
			i.drop(oldest)
		}
	}
}

// begin has a new session told everything.
func (i *interests) begin() (all []*musterv1.Interest) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ask, i.forget = nil, nil
	clear(i.forgot)
	next := &musterv1.Interest{}
	for p, k := range i.known {
		if k.at == nil {
			next.Ask = append(next.Ask, p.ref())
		} else {
			next.Known = append(next.Known, k.at)
		}
		if len(next.Ask) == maxNamed || len(next.Known) == maxNamed {
			all, next = append(all, next), &musterv1.Interest{}
		}
	}
	if len(next.Ask)+len(next.Known) > 0 {
		all = append(all, next)
	}
	return all
}

// news is what has to be said since; nil if nothing has.
func (i *interests) news() *musterv1.Interest {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.ask)+len(i.forget) == 0 {
		return nil
	}
	out := &musterv1.Interest{}
	n := min(len(i.forget), maxNamed)
	for _, p := range i.forget[:n] {
		if i.known[p] == nil { // it may be wanted again
			out.Forget = append(out.Forget, p.ref())
			i.forgot[p] = true
		}
	}
	i.forget = i.forget[n:]
	n = min(len(i.ask), maxNamed)
	for _, p := range i.ask[:n] {
		out.Ask = append(out.Ask, p.ref())
		delete(i.forgot, p)
	}
	i.ask = i.ask[n:]
	return out
}

// sayInterests says whose addresses are wanted, if that is news here.
func (s *session) sayInterests() error {
	if !s.relays {
		return nil
	}
	for {
		news := s.member.interests.news()
		if news == nil {
			return nil
		}
		if err := s.interested(news); err != nil {
			return err
		}
	}
}

func (s *session) interested(i *musterv1.Interest) error {
	i.Who = s.member.Proc()
	return s.send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Interest{Interest: i}})
}

// beginRelay says what a new session has to know of posts and addresses.
func (s *session) beginRelay() error {
	for _, i := range s.member.interests.begin() {
		if err := s.interested(i); err != nil {
			return err
		}
	}
	s.member.posts.begin()
	return nil
}

// located takes an address.
func (s *session) located(u *musterv1.AddressUpdate) error {
	m := s.member
	if placeOf(u.GetWho()) != placeOf(m.Proc()) {
		return nil
	}
	if now, told := m.interests.update(u); told && m.cfg.OnAddress != nil {
		m.cfg.OnAddress(now)
	}
	return s.sayInterests() // it may have one too many by now
}
