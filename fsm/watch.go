package fsm

import (
	"slices"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

const (
	// maxWatched bounds the events, maxWatchedBytes their size, unless it is one alone, and maxScanned those looked at, in one answer to a
	// watcher.
	maxWatched, maxWatchedBytes, maxScanned = 500, 1 << 20, 5000
	// maxGenerations and maxHistoryBytes bound a history.
	maxGenerations, maxHistoryBytes = 100, 2 << 20
)

// Watch answers a watcher: what has happened behind q.From, at most 500 events or a mebibyte at a time. It asks again from the answer's
// number, at once where that is below the state's, else when something has happened.
func (s *State) Watch(q *musterv1.WatchRequest) *musterv1.WatchResponse {
	out := &musterv1.WatchResponse{Number: q.GetFrom(), ClockNs: s.core.ClockNs}
	switch from := q.GetFrom(); {
	case from == 0:
		out.Number = s.core.Number
		return out
	case from >= s.core.Number: // this node may be behind the one that told the number
		return out
	case from < s.core.Epoch:
		out.Restored = s.core.Epoch
		return out
	case from < s.core.EventsDropped:
		out.Compacted = s.core.EventsDropped
		return out
	}
	ring := s.events.cluster
	i, _ := slices.BinarySearchFunc(ring, q.GetFrom()+1, func(e *musterv1.Event, n uint64) int {
		if e.Number < n {
			return -1
		}
		return 1
	})
	if i == len(ring) {
		out.Number = s.core.Number
		return out
	}
	worlds, kinds := setOf(q.Worlds), setOf(q.Kinds)
	room := maxWatchedBytes
	for scanned := 0; i < len(ring); i, scanned = i+1, scanned+1 {
		if scanned == maxScanned || len(out.Events) == maxWatched {
			return out
		}
		e := ring[i]
		if (len(worlds) == 0 || worlds[e.World]) && (len(kinds) == 0 || kinds[e.Kind]) {
			if room -= proto.Size(e); room < 0 && len(out.Events) > 0 {
				return out
			}
			out.Events = append(out.Events, e)
		}
		out.Number = e.Number
	}
	out.Number = s.core.Number
	return out
}

// setOf is a list, to be asked often.
func setOf[T comparable](list []T) map[T]bool {
	set := make(map[T]bool, len(list))
	for _, v := range list {
		set[v] = true
	}
	return set
}

// History is what is still known of a world; nil if that is nothing. The oldest generations are left out where it would be too much.
func (s *State) History(world string) *musterv1.HistoryResponse {
	var recs []*musterv1.WorldRecord
	for _, rec := range s.ended {
		if rec.World == world {
			recs = append(recs, rec)
		}
	}
	if w := s.worlds[world]; w != nil {
		recs = append(recs, w.rec)
	}
	if len(recs) == 0 {
		return nil
	}
	out := &musterv1.HistoryResponse{Number: s.core.Number, ClockNs: s.core.ClockNs}
	room := maxHistoryBytes
	for _, rec := range slices.Backward(recs) {
		g := &musterv1.HistoryResponse_Generation{World: s.viewHead(rec), Events: slices.Clone(s.events.worlds[rec.Generation])}
		room -= proto.Size(g)
		if len(out.Generations) == maxGenerations || room < 0 && len(out.Generations) > 0 {
			break
		}
		out.Generations = append(out.Generations, g)
	}
	slices.Reverse(out.Generations)
	return out
}
