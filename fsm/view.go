package fsm

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

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

// budget is what a page may still cost.
type budget struct {
	procs int // shown
	bytes int // shown
	looks int // taken, at worlds and members that are not shown, too
}

// pageBytes keeps a page below what gRPC takes by default, pageLooks the time that its reader holds the lock below a millisecond: a world
// that is shown costs as much as headLooks that are not.
const (
	pageBytes = 2 << 20
	pageLooks = 5000
	headLooks = 10
)

func (b *budget) spent() bool { return b.procs <= 0 || b.bytes <= 0 || b.looks <= 0 }

// View is one page of the state. It holds at most MaxPage procs, and may hold none though more follow: its caller holds the read
// lock as long.
func (s *State) View(q *musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
	b := &budget{procs: int(q.GetPageSize()), bytes: pageBytes, looks: pageLooks}
	if b.procs == 0 {
		b.procs = DefaultPage
	}
	b.procs = min(b.procs, MaxPage)
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
	wants := worldFilter(q)
	for c, rec := range s.viewOrder(q, from) {
		if b.spent() {
			v.NextPageToken = c.String()
			return v, nil
		}
		b.looks--
		if !wants(rec) {
			continue
		}
		wv, more := s.viewWorld(q, rec, c, b)
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
			for name, w := range s.askedFrom(q, from.world) {
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

// askedFrom walks the living worlds that a view may show, in order of their names, from one on: those it names, without a look at others.
func (s *State) askedFrom(q *musterv1.ViewRequest, first string) iter.Seq2[string, *world] {
	if len(q.GetWorlds()) == 0 {
		return s.worldsFrom(first)
	}
	return func(yield func(string, *world) bool) {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(q.GetWorlds()))) {
			if w := s.worlds[name]; w != nil && name >= first && !yield(name, w) {
				return
			}
		}
	}
}

func worldFilter(q *musterv1.ViewRequest) func(*musterv1.WorldRecord) bool {
	names := setOf(q.GetWorlds())
	return func(rec *musterv1.WorldRecord) bool {
		return (len(names) == 0 || names[rec.World]) && hasLabels(rec.Labels, q.GetWorldLabels())
	}
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

// viewHead shows a world without its members.
func (s *State) viewHead(rec *musterv1.WorldRecord) *musterv1.WorldView {
	wv := &musterv1.WorldView{
		World: rec.World, Generation: rec.Generation, Spec: rec.Spec, Labels: rec.Labels, LabelRevision: rec.LabelRevision,
		Condition: rec.Condition, Timeouts: rec.Timeouts, FirstCause: rec.FirstCause, Stop: rec.Stop,
		MasterAddress: rec.MasterAddress, MasterPort: rec.MasterPort, EarlierCauses: rec.EarlierCauses,
	}
	wv.Wanted, _ = wanted(rec.Spec)
	if w := s.byGeneration[rec.Generation]; w != nil {
		wv.Joined, wv.Healthy = w.joined, w.healthy
	}
	return wv
}

// viewWorld shows a world and those of its members that fit; more is where to go on if some do not. A world that is left out, because
// none of its members has matched so far, is nil.
func (s *State) viewWorld(q *musterv1.ViewRequest, rec *musterv1.WorldRecord, from cursor, b *budget) (wv *musterv1.WorldView, more *cursor) {
	wv = s.viewHead(rec)
	w := s.byGeneration[rec.Generation]
	b.looks -= headLooks
	b.bytes -= proto.Size(wv)
	if w == nil || q.GetOmitProcs() && !q.GetOmitEmpty() {
		return unlessEmpty(q, wv), nil
	}
	for m, slot := range s.membersFrom(w, from) {
		if b.spent() {
			more = &cursor{world: rec.World, generation: rec.Generation, role: m.role, rank: m.rank}
			break
		}
		b.looks--
		if !hasLabels(s.recs.at(slot).labels(), q.GetProcLabels()) {
			continue
		}
		if q.GetOmitProcs() {
			return wv, nil // it has one that matches
		}
		p := s.viewProc(slot)
		b.procs--
		b.bytes -= proto.Size(p)
		wv.Procs = append(wv.Procs, p)
	}
	if from.role != 0 && len(wv.Procs) == 0 {
		return nil, more // it was shown on a page before
	}
	return unlessEmpty(q, wv), more
}

func unlessEmpty(q *musterv1.ViewRequest, wv *musterv1.WorldView) *musterv1.WorldView {
	if q.GetOmitEmpty() && len(wv.Procs) == 0 {
		return nil
	}
	return wv
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
			for rank, slot := range w.members(role).from(first) {
				if !yield(member{w.rec.World, role, rank}, slot) {
					return
				}
			}
		}
	}
}

func (s *State) viewProc(slot Slot) *musterv1.ProcView {
	return viewOf(s.recs.at(slot), s.core.ClockNs-s.lastReport.at(slot))
}

// viewOf shows a member whose last report is so old.
func viewOf(rec *record, reportAgeNs int64) *musterv1.ProcView {
	return &musterv1.ProcView{
		Proc: rec.ref(), Health: rec.health, Cause: rec.cause(), Mode: rec.mode, Address: rec.address(), Machine: rec.machine(),
		Labels: rec.labels(), ReportAgeNs: reportAgeNs,
		FailedActors: rec.failedActors(), FailedActorCount: rec.failedActorCount(), Assignment: rec.assignment,
	}
}
