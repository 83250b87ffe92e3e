package fsm

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	musterv1 "muster/proto/muster/v1"
)

// Pages of a View.
const (
	DefaultPage = 1000
	MaxPage     = 10000
)

// cursor is where a page ends: in which world, and behind which of its members. Ended worlds come behind living ones.
type cursor struct {
	ended      bool
	world      string
	generation uint64
	role       musterv1.Role // 0: the world itself has not been shown
	rank       uint32
}

func (c cursor) String() string {
	return fmt.Sprintf("%t/%s/%d/%d/%d", c.ended, c.world, c.generation, c.role, c.rank)
}

func parseCursor(token string) (cursor, error) {
	bad := fmt.Errorf("page_token %.80q: take it from the next_page_token of the page before", token)
	parts := strings.Split(token, "/")
	if len(parts) != 5 {
		return cursor{}, bad
	}
	ended, err1 := strconv.ParseBool(parts[0])
	generation, err2 := strconv.ParseUint(parts[2], 10, 64)
	role, err3 := strconv.ParseUint(parts[3], 10, 8)
	rank, err4 := strconv.ParseUint(parts[4], 10, 32)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		return cursor{}, bad
	}
	return cursor{ended, parts[1], generation, musterv1.Role(role), uint32(rank)}, nil
}

// View is one page of the state. It holds at most MaxPage procs; its caller holds the read lock as long.
func (s *State) View(q *musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
	room := int(q.GetPageSize())
	if room == 0 {
		room = DefaultPage
	}
	room = min(room, MaxPage)
	var from cursor
	if q.GetPageToken() != "" {
		var err error
		if from, err = parseCursor(q.GetPageToken()); err != nil {
			return nil, err
		}
	}
	v := &musterv1.ViewResponse{
		ExecutionId: s.core.ExecutionId, Phase: s.core.Phase, Number: s.core.Number, ClockNs: s.core.ClockNs,
	}
	for c, rec := range s.viewOrder(q, from) {
		if !wantsWorld(q, rec) {
			continue
		}
		if room <= 0 {
			v.NextPageToken = c.String()
			return v, nil
		}
		room-- // a world costs as much as a proc
		wv, more := s.viewWorld(q, rec, c, &room)
		if wv != nil {
			v.Worlds = append(v.Worlds, wv)
		}
		if more != nil {
			v.NextPageToken = more.String()
			return v, nil
		}
	}
	return v, nil
}

// viewOrder yields the worlds at and behind a cursor, each with the cursor to begin it at.
func (s *State) viewOrder(q *musterv1.ViewRequest, from cursor) iter.Seq2[cursor, *musterv1.WorldRecord] {
	return func(yield func(cursor, *musterv1.WorldRecord) bool) {
		if !from.ended {
			for name, w := range sorted(s.worlds) {
				if name < from.world {
					continue
				}
				c := cursor{world: name, generation: w.rec.Generation}
				if name == from.world && w.rec.Generation == from.generation {
					c = from
				}
				if !yield(c, w.rec) {
					return
				}
			}
		}
		if !q.GetIncludeEnded() {
			return
		}
		ended := slices.Clone(s.ended)
		slices.SortFunc(ended, func(a, b *musterv1.WorldRecord) int {
			return cursor{world: a.World, generation: a.Generation}.compare(cursor{world: b.World, generation: b.Generation})
		})
		for _, rec := range ended {
			c := cursor{ended: true, world: rec.World, generation: rec.Generation}
			if from.ended && c.compare(from) < 0 {
				continue
			}
			if !yield(c, rec) {
				return
			}
		}
	}
}

func (c cursor) compare(o cursor) int {
	if n := strings.Compare(c.world, o.world); n != 0 {
		return n
	}
	switch {
	case c.generation < o.generation:
		return -1
	case c.generation > o.generation:
		return 1
	}
	return 0
}

func wantsWorld(q *musterv1.ViewRequest, rec *musterv1.WorldRecord) bool {
	return (len(q.GetWorlds()) == 0 || slices.Contains(q.GetWorlds(), rec.World)) && hasLabels(rec.Labels, q.GetWorldLabels())
}

// hasLabels tells whether all of want are in have, which is sorted by key.
func hasLabels(have, want []*musterv1.Label) bool {
	for _, l := range want {
		i, found := slices.BinarySearchFunc(have, l.Key, func(h *musterv1.Label, key string) int { return strings.Compare(h.Key, key) })
		if !found || have[i].Value != l.Value {
			return false
		}
	}
	return true
}

// viewWorld shows a world and those of its members that fit; more is where to go on if some do not. A world that is left out
// because none of its members matches is nil.
func (s *State) viewWorld(q *musterv1.ViewRequest, rec *musterv1.WorldRecord, from cursor, room *int) (wv *musterv1.WorldView, more *cursor) {
	wv = &musterv1.WorldView{
		World: rec.World, Generation: rec.Generation, Spec: rec.Spec, Labels: rec.Labels, LabelRevision: rec.LabelRevision,
		Condition: rec.Condition, Timeouts: rec.Timeouts,
	}
	wv.Wanted, _ = wanted(rec.Spec)
	w := s.byGeneration[rec.Generation]
	if w == nil {
		if q.GetOmitEmpty() {
			return nil, nil
		}
		return wv, nil
	}
	wv.Joined, wv.Healthy = w.joined, w.healthy
	for m, slot := range s.membersFrom(w, from) {
		p := s.recs[slot]
		if !hasLabels(p.Labels, q.GetProcLabels()) {
			continue
		}
		if q.GetOmitProcs() {
			return wv, nil // it has one that matches
		}
		if *room <= 0 {
			return wv, &cursor{world: rec.World, generation: rec.Generation, role: m.role, rank: m.rank}
		}
		*room--
		wv.Procs = append(wv.Procs, s.viewProc(slot))
	}
	if q.GetOmitEmpty() && len(wv.Procs) == 0 && from.role == 0 {
		return nil, nil
	}
	return wv, nil
}

// membersFrom walks the members of w in order of (role, rank), from the cursor's on.
func (s *State) membersFrom(w *world, from cursor) iter.Seq2[member, Slot] {
	return func(yield func(member, Slot) bool) {
		for _, role := range []musterv1.Role{musterv1.Role_ROLE_WORKER, musterv1.Role_ROLE_HOST} {
			if role < from.role {
				continue
			}
			first := uint32(0)
			if role == from.role {
				first = from.rank
			}
			for rank, slot := range ranksFrom(w.members(role), w.rec.Spec, first) {
				if !yield(member{w.rec.World, role, rank}, slot) {
					return
				}
			}
		}
	}
}

// ranksFrom walks members in order of their ranks. Where the shape says which ranks there can be they are looked up one by one,
// so that a page costs what it holds and not what the world holds.
func ranksFrom(members map[uint32]Slot, spec *musterv1.WorldSpec, first uint32) iter.Seq2[uint32, Slot] {
	n, definite := wanted(spec)
	return func(yield func(uint32, Slot) bool) {
		if definite && int(n) < 4*len(members) {
			for rank := first; rank < n; rank++ {
				if slot, ok := members[rank]; ok && !yield(rank, slot) {
					return
				}
			}
			return
		}
		for rank, slot := range sorted(members) {
			if rank >= first && !yield(rank, slot) {
				return
			}
		}
	}
}

func (s *State) viewProc(slot Slot) *musterv1.ProcView {
	rec := s.recs[slot]
	return &musterv1.ProcView{
		Proc: rec.Proc, Health: rec.Health, Cause: rec.Cause, Mode: rec.Mode, Address: rec.Address, Machine: rec.Machine,
		Labels: rec.Labels, ReportAgeNs: s.core.ClockNs - s.lastReport[slot],
		FailedActors: rec.FailedActors, FailedActorCount: rec.FailedActorCount,
	}
}

// Supervision tells who of a world is not healthy, or with all, everybody.
func (s *State) Supervision(name string, all bool) *musterv1.WorldSupervisionResponse {
	r := &musterv1.WorldSupervisionResponse{Number: s.core.Number, Known: musterv1.WorldSupervisionResponse_KNOWN_UNKNOWN}
	w := s.worlds[name]
	if w == nil {
		if rec := s.latestEnded(name); rec != nil {
			r.Known, r.Condition = musterv1.WorldSupervisionResponse_KNOWN_ENDED, rec.Condition
		}
		return r
	}
	r.Condition = w.rec.Condition
	if w.supervised == 0 {
		r.Known = musterv1.WorldSupervisionResponse_KNOWN_NO_SUPERVISION
		return r
	}
	r.Known = musterv1.WorldSupervisionResponse_KNOWN_SUPERVISED
	for _, slot := range s.membersFrom(w, cursor{}) {
		if len(r.Procs) == MaxPage {
			break
		}
		if rec := s.recs[slot]; isSupervised(rec) && (all || !isHealthy(rec)) {
			r.Procs = append(r.Procs, s.viewProc(slot))
		}
	}
	return r
}

// Status sums the state up.
func (s *State) Status() *musterv1.StateStatus {
	return &musterv1.StateStatus{
		ExecutionId: s.core.ExecutionId, Phase: s.core.Phase, Epoch: s.core.Epoch, Number: s.core.Number, ClockNs: s.core.ClockNs,
		Worlds: uint32(len(s.worlds)), Procs: uint32(len(s.recs) - len(s.free)), Unhealthy: s.unhealthy,
		Restoring: s.staged != nil, Settings: s.core.Settings, EndedWorlds: uint32(len(s.ended)),
	}
}

// Present is the incarnation that a place holds now; 0 for none. Detached members are looked up, too.
func (s *State) Present(p *musterv1.ProcRef) uint64 {
	m := memberOf(p)
	if _, rec := s.lookup(m); rec != nil {
		return rec.Proc.Incarnation
	}
	if rec := s.detached[m]; rec != nil {
		return rec.Proc.Incarnation
	}
	return 0
}

// IsDetached tells whether p is in the address book of Detached members under its incarnation.
func (s *State) IsDetached(p *musterv1.ProcRef) bool {
	rec := s.detached[memberOf(p)]
	return rec != nil && rec.Proc.Incarnation == p.GetIncarnation()
}

// DetachedMembers lists the address book of Detached members.
func (s *State) DetachedMembers() []*musterv1.ProcRef {
	var out []*musterv1.ProcRef
	for _, rec := range sortedMembers(s.detached) {
		out = append(out, rec.Proc)
	}
	return out
}

// ShortestLeaseNs is the shortest lease that any world or the settings grant, in nanoseconds; 0 before the first TermStart.
func (s *State) ShortestLeaseNs() int64 {
	shortest := s.core.Settings.GetTimeouts().GetLeaseNs()
	for _, w := range sorted(s.worlds) {
		shortest = min(shortest, w.rec.Timeouts.LeaseNs)
	}
	return shortest
}
