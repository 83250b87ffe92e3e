package system

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// ErrTooMuch says that a session has more reports waiting than it may; it ends, and what was not acknowledged is said again in the next.
var ErrTooMuch = errors.New("too many reports wait")

// maxOdd bounds the bytes of reports with more to say than "alive" that one session may have waiting.
const maxOdd = 1 << 20

// Reporter is one session's place in the collector. Report, Hold and Release are called by the session's reader only.
type Reporter struct {
	c        *collector
	acked    func(seq uint64)
	verdicts func([]*musterv1.Verdict)

	// Guarded by c.mu; the reader, which alone replaces members, reads them without.
	members  map[place]roster // a snapshot: replaced, never changed
	ranks    int              // of members, all places
	queued   int              // ranks that c.ranks counts for it; -1: it does not wait
	ticket   uint64
	seq      uint64
	alive    map[place][]byte // by world and role, whoever speaks
	odd      []*musterv1.ProcReport
	oddBytes int
}

// roster is the members of one place that a session speaks for, ranks ascending. numbers are incarnations, or spawn orders of ranks that
// a host holds.
type roster struct {
	ranks   []uint32
	numbers []uint64
}

func (r roster) number(rank uint32) (uint64, bool) {
	i, ok := slices.BinarySearch(r.ranks, rank)
	if !ok {
		return 0, false
	}
	return r.numbers[i], true
}

// with is a copy that has a rank; of two numbers the greater counts.
func (r roster) with(rank uint32, number uint64) roster {
	i, ok := slices.BinarySearch(r.ranks, rank)
	if ok {
		numbers := slices.Clone(r.numbers)
		numbers[i] = max(numbers[i], number)
		return roster{r.ranks, numbers}
	}
	return roster{slices.Insert(slices.Clip(r.ranks), i, rank), slices.Insert(slices.Clip(r.numbers), i, number)}
}

// without is a copy that has a rank no more, if its number was this one.
func (r roster) without(rank uint32, number uint64) roster {
	i, ok := slices.BinarySearch(r.ranks, rank)
	if !ok || r.numbers[i] != number {
		return r
	}
	return roster{slices.Delete(slices.Clone(r.ranks), i, i+1), slices.Delete(slices.Clone(r.numbers), i, i+1)}
}

func (c *collector) reporter(
	members []*musterv1.HelloMember, held []*musterv1.HeldRank, acked func(uint64), verdicts func([]*musterv1.Verdict),
) *Reporter {
	var seats []identity
	for _, m := range members {
		seats = append(seats, identityOf(m.Proc))
	}
	for _, h := range held {
		seats = append(seats, heldIdentity(h.Proc, h.Order))
	}
	slices.SortStableFunc(seats, func(a, b identity) int { return cmp.Compare(a.rank, b.rank) })
	r := &Reporter{c: c, members: map[place]roster{}, queued: -1, acked: acked, verdicts: verdicts, alive: map[place][]byte{}}
	for _, s := range seats {
		list := r.members[s.place]
		if n := len(list.ranks); n > 0 && list.ranks[n-1] == s.rank { // named twice: the later one
			list.numbers[n-1] = max(list.numbers[n-1], s.number)
			continue
		}
		r.members[s.place] = roster{append(list.ranks, s.rank), append(list.numbers, s.number)}
		r.ranks++
	}
	return r
}

// maxHeld bounds the ranks that one session's hosts may hold; more are not reported.
const maxHeld = 1 << 20

// Hold has the session report a rank that its host runs under a spawn order.
func (r *Reporter) Hold(p *musterv1.ProcRef, order uint64) {
	at := heldIdentity(p, order)
	if list := r.members[at.place]; len(list.ranks) < maxHeld {
		r.replace(at.place, list.with(at.rank, order))
	}
}

// Release undoes Hold. A later run of the rank is kept.
func (r *Reporter) Release(p *musterv1.ProcRef, order uint64) {
	at := heldIdentity(p, order)
	r.replace(at.place, r.members[at.place].without(at.rank, order))
}

// replace makes a new snapshot; the sealer may still read the old one.
func (r *Reporter) replace(at place, list roster) {
	members := maps.Clone(r.members)
	ranks := r.ranks + len(list.ranks) - len(members[at].ranks)
	members[at] = list
	if len(list.ranks) == 0 {
		delete(members, at)
	}
	r.c.mu.Lock()
	r.members, r.ranks = members, ranks
	r.c.mu.Unlock()
}

// Report takes a message, or refuses it whole with ErrTooMuch. Members that the session has not said hello for are ignored: it does
// not speak for them.
func (r *Reporter) Report(m *musterv1.SessionReport) error {
	odd, oddBytes := r.own(m.GetReports())
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.oddBytes+oddBytes > maxOdd {
		return fmt.Errorf("%w: %d bytes of them, at most %d", ErrTooMuch, r.oddBytes+oddBytes, maxOdd)
	}
	r.odd, r.oddBytes = append(r.odd, odd...), r.oddBytes+oddBytes
	r.seq = max(r.seq, m.GetSeq())
	for _, runs := range m.GetAlive() {
		p := place{world: runs.GetWorld(), role: roleOf(runs.GetRole())}
		if len(r.members[p].ranks) > 0 || len(r.members[p.byHost()].ranks) > 0 {
			r.alive[p] = runs.GetRuns()
		}
	}
	if r.queued < 0 {
		r.c.enqueue(r)
	}
	switch {
	case len(odd) > 0 || r.c.ranks >= fullBatch:
		r.c.poke()
	case r.c.timer == nil:
		r.c.timer = time.AfterFunc(r.c.gather(), r.c.poke)
	}
	return nil
}

// own are the reports of members that the session speaks for.
func (r *Reporter) own(reports []*musterv1.ProcReport) (own []*musterv1.ProcReport, bytes int) {
	for _, report := range reports {
		who := reportedBy(report)
		if number, ok := r.members[who.place].number(who.rank); ok && number == who.number {
			own = append(own, report)
			bytes += proto.Size(report) + 4
		}
	}
	return own, bytes
}

// give adds what fits to a batch. Called with c.mu held.
func (r *Reporter) give(b *batch, room int) (size int, whole bool) {
	n := uint32(len(b.parts))
	for at, runs := range r.alive {
		size += len(at.world) + len(runs) + 16
		if own := r.members[at]; len(own.ranks) > 0 {
			b.packed = append(b.packed, packed{at, n, own, runs})
		}
		if held := r.members[at.byHost()]; len(held.ranks) > 0 {
			size += len(at.world) + len(runs) + 16 // they go in a group of their own
			b.packed = append(b.packed, packed{at.byHost(), n, held, runs})
		}
	}
	clear(r.alive)
	odd := 0
	for odd < len(r.odd) && (size < room || odd == 0) {
		bytes := proto.Size(r.odd[odd]) + 4
		size += bytes
		r.oddBytes -= bytes
		odd++
	}
	b.parts = append(b.parts, part{r, r.odd[:odd:odd]})
	r.odd = r.odd[odd:]
	return size, len(r.odd) == 0
}
