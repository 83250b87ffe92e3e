package fsm

import (
	"slices"

	musterv1 "muster/proto/muster/v1"

	"muster/fsm/id"
)

// eventLog is what happened lately: a ring for the cluster and one per world that is known, living or ended, so that a quiet
// world's history is not washed away by a noisy one's.
type eventLog struct {
	cluster []*musterv1.Event            // oldest first
	worlds  map[uint64][]*musterv1.Event // by generation
}

func newEventLog() eventLog { return eventLog{worlds: map[uint64][]*musterv1.Event{}} }

// ringAppend keeps at most limit of the youngest. Rings are re-sliced and copied now and then rather than indexed in a circle: what
// is frozen shares them.
func ringAppend(ring []*musterv1.Event, e *musterv1.Event, limit int) []*musterv1.Event {
	if len(ring) >= limit {
		ring = ring[len(ring)-limit+1:]
	}
	return append(ring, e)
}

// noteDropped remembers the youngest event that the cluster's ring is about to drop to take another one.
func (s *State) noteDropped() {
	if surplus := len(s.events.cluster) - int(s.core.Settings.GetEvents()); surplus >= 0 && s.HasBrake() {
		s.core.EventsDropped = max(s.core.EventsDropped, s.events.cluster[surplus].Number)
	}
}

// add keeps an event; only worlds that are known have a ring.
func (l *eventLog) add(e *musterv1.Event, settings *musterv1.Settings, known bool) {
	l.cluster = ringAppend(l.cluster, e, int(settings.GetEvents()))
	if known && e.World != "" {
		l.worlds[e.Generation] = ringAppend(l.worlds[e.Generation], e, int(settings.GetWorldEvents()))
	}
}

// refitEvents brings the rings to the sizes of the settings, as they would be in a state that was loaded from a file now.
func (s *State) refitEvents() {
	ended := make(map[uint64]bool, len(s.ended))
	for _, rec := range s.ended {
		ended[rec.Generation] = true
	}
	all := s.events.all()
	if surplus := len(all) - int(s.core.Settings.GetEvents()); surplus > 0 {
		s.core.EventsDropped = max(s.core.EventsDropped, all[surplus-1].Number)
	}
	fresh := newEventLog()
	for _, e := range all {
		fresh.add(e, s.core.Settings, ended[e.Generation] || s.byGeneration[e.Generation] != nil)
	}
	s.events = fresh
}

// all returns every event held by any ring once, oldest first.
func (l *eventLog) all() []*musterv1.Event { return eventsOf(l.cluster, unsorted(nil, l.worlds)) }

// eventsOf is all of an eventLog whose rings are given, those of worlds in any order.
func eventsOf(cluster []*musterv1.Event, worlds [][]*musterv1.Event) []*musterv1.Event {
	out := slices.Clone(cluster)
	oldest := uint64(0)
	if len(out) > 0 {
		oldest = out[0].Number
	}
	for _, ring := range worlds {
		for _, e := range ring {
			if e.Number < oldest {
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, func(a, b *musterv1.Event) int {
		if a.Number < b.Number {
			return -1
		}
		return 1
	})
	return out
}

// emit draws a number for e, dates it, and keeps it.
func (s *State) emit(e *musterv1.Event) { s.emitOf(e, true) }

// emitDropped tells that a world is known no more, and so has no ring.
func (s *State) emitDropped(rec *musterv1.WorldRecord, what string) {
	e := &musterv1.Event{
		Kind: musterv1.Event_KIND_WORLD_DROPPED, Generation: rec.Generation, Text: "world " + rec.World + " " + what,
	}
	if s.HasBrake() {
		e.World = rec.World // for those who watch it
	}
	s.emitOf(e, false)
}

func (s *State) emitOf(e *musterv1.Event, known bool) {
	e.Number = s.draw()
	e.ClockNs = s.core.ClockNs
	e.WallMs = s.entry.wallMs
	s.noteDropped()
	s.events.add(e, s.core.Settings, known)
	s.entry.digest.event(e)
}

// emitMember is emit for what concerns one member of w.
func (s *State) emitMember(w *world, kind musterv1.Event_Kind, m member, text string) {
	s.emitMembers(w, kind, m.role, []uint32{m.rank}, text)
}

// emitMembers is emit for what concerns some members of w; ranks ascend.
func (s *State) emitMembers(w *world, kind musterv1.Event_Kind, role musterv1.Role, ranks []uint32, text string) {
	s.emit(&musterv1.Event{
		Kind: kind, World: w.rec.World, Generation: w.rec.Generation,
		Role: role, Ranks: id.AppendRuns(nil, ranks), Text: text,
	})
}

// Events returns what is still known of what happened after a number, oldest first; of one generation of a world if one is given.
func (s *State) Events(generation, after uint64) []*musterv1.Event {
	ring := s.events.cluster
	if generation != 0 {
		ring = s.events.worlds[generation]
	}
	i, _ := slices.BinarySearchFunc(ring, after, func(e *musterv1.Event, n uint64) int {
		if e.Number <= n {
			return -1
		}
		return 1
	})
	return slices.Clone(ring[i:])
}
