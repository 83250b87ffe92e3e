package system

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

const (
	// maxGather is how long "alive" may wait for company.
	maxGather = 25 * time.Millisecond
	// gatherShare of the shortest lease bounds it further.
	gatherShare = 100
	// fullBatch is how many waiting ranks are company enough.
	fullBatch = 4096
)

func gatherTime(shortestLeaseNs int64) time.Duration {
	return min(maxGather, time.Duration(shortestLeaseNs/gatherShare))
}

// place names where a member stands.
type place struct {
	world string
	role  musterv1.Role
}

// ErrTooMuch says that a session has more reports waiting than it may; it ends, and what was not acknowledged is said again in the next.
var ErrTooMuch = errors.New("too many reports wait")

// maxOdd bounds the bytes of reports with more to say than "alive" that one session may have waiting.
const maxOdd = 1 << 20

// collector gathers reports of all sessions until the next entry. It keeps at most one unsealed report per session: a newer one
// replaces it, failures are merged, so that liveness is never refused for lack of room.
type collector struct {
	state  State
	poke   func()
	gather time.Duration

	mu      sync.Mutex
	waiting []*Reporter // in order of their tickets
	tickets uint64
	ranks   int
	timer   *time.Timer
}

func newCollector(s State, poke func()) *collector {
	return &collector{state: s, poke: poke, gather: maxGather}
}

// Reporter is one session's place in the collector. Report is called by the session's reader only.
type Reporter struct {
	c        *collector
	members  map[place]roster
	size     int // members
	acked    func(seq uint64)
	verdicts func([]*musterv1.Verdict)

	// Guarded by c.mu.
	queued   bool
	ticket   uint64
	seq      uint64
	alive    map[place][]byte
	odd      []*musterv1.ProcReport
	oddBytes int
}

// roster is the members of one place that a session speaks for, ranks ascending.
type roster struct {
	ranks        []uint32
	incarnations []uint64
}

func (r roster) incarnation(rank uint32) (uint64, bool) {
	i, ok := slices.BinarySearch(r.ranks, rank)
	if !ok {
		return 0, false
	}
	return r.incarnations[i], true
}

func (c *collector) reporter(members []*musterv1.HelloMember, acked func(uint64), verdicts func([]*musterv1.Verdict)) *Reporter {
	sorted := slices.Clone(members)
	slices.SortStableFunc(sorted, func(a, b *musterv1.HelloMember) int { return cmp.Compare(a.Proc.GetRank(), b.Proc.GetRank()) })
	r := &Reporter{c: c, members: map[place]roster{}, size: len(members), acked: acked, verdicts: verdicts, alive: map[place][]byte{}}
	for _, m := range sorted {
		p := place{m.Proc.GetWorld(), roleOf(m.Proc.GetRole())}
		list := r.members[p]
		if n := len(list.ranks); n > 0 && list.ranks[n-1] == m.Proc.GetRank() { // named twice: the later incarnation
			list.incarnations[n-1] = max(list.incarnations[n-1], m.Proc.GetIncarnation())
			continue
		}
		list.ranks, list.incarnations = append(list.ranks, m.Proc.GetRank()), append(list.incarnations, m.Proc.GetIncarnation())
		r.members[p] = list
	}
	return r
}

func roleOf(r musterv1.Role) musterv1.Role {
	if r == musterv1.Role_ROLE_UNSPECIFIED {
		return musterv1.Role_ROLE_WORKER
	}
	return r
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
		if p := (place{runs.GetWorld(), roleOf(runs.GetRole())}); len(r.members[p].ranks) > 0 {
			r.alive[p] = runs.GetRuns()
		}
	}
	if !r.queued {
		r.c.enqueue(r)
	}
	switch {
	case len(odd) > 0 || r.c.ranks >= fullBatch:
		r.c.poke()
	case r.c.timer == nil:
		r.c.timer = time.AfterFunc(r.c.gather, r.c.poke)
	}
	return nil
}

// own are the reports of members that the session speaks for.
func (r *Reporter) own(reports []*musterv1.ProcReport) (own []*musterv1.ProcReport, bytes int) {
	for _, report := range reports {
		p := report.GetProc()
		incarnation, ok := r.members[place{p.GetWorld(), roleOf(p.GetRole())}].incarnation(p.GetRank())
		if ok && incarnation == p.GetIncarnation() {
			own = append(own, report)
			bytes += proto.Size(report) + 4
		}
	}
	return own, bytes
}

// enqueue is called with mu held.
func (c *collector) enqueue(r *Reporter) {
	c.tickets++
	r.queued, r.ticket = true, c.tickets
	c.waiting = append(c.waiting, r)
	c.ranks += r.size
}

// mark stands behind every report received so far.
func (c *collector) mark() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tickets
}

// crowded tells whether reports wait that were not taken with the last batch and have nobody to wait for.
func (c *collector) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) > 0 && c.timer == nil
}

// sealed tells whether every report received before a mark has been taken.
func (c *collector) sealed(mark uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) == 0 || c.waiting[0].ticket > mark
}

// batch is what goes into one entry, and who waits for it.
type batch struct {
	report   *musterv1.ReportBatch
	waiting  []waiting
	alive    map[place]map[uint32]speaker
	explicit map[identity]*Reporter // reports by name, for their verdicts
	known    []known                // verdicts that need no log entry
}

// maxExplicit bounds the reports by name that a batch makes of packed ones.
const maxExplicit = 1000

type known struct {
	r *Reporter
	v *musterv1.Verdict
}

type waiting struct {
	r   *Reporter
	seq uint64
}

// speaker is a session with the incarnation of a rank that it speaks for.
type speaker struct {
	r           *Reporter
	incarnation uint64
}

type identity struct {
	place
	rank        uint32
	incarnation uint64
}

func identityOf(p *musterv1.ProcRef) identity {
	return identity{place{p.GetWorld(), roleOf(p.GetRole())}, p.GetRank(), p.GetIncarnation()}
}

// part is what is taken of one reporter.
type part struct {
	r     *Reporter
	alive map[place][]byte
	odd   []*musterv1.ProcReport
}

// take gathers what waits, about room bytes at most, session by session. Who has more odd reports than fit keeps the rest, and is
// acknowledged with those.
func (c *collector) take(room int) *batch {
	b := &batch{report: &musterv1.ReportBatch{}, alive: map[place]map[uint32]speaker{}, explicit: map[identity]*Reporter{}}
	var parts []part
	c.mu.Lock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	for len(c.waiting) > 0 && room > 0 {
		r := c.waiting[0]
		p, size, whole := r.part(room)
		parts = append(parts, p)
		room -= size
		if !whole {
			break
		}
		b.waiting = append(b.waiting, waiting{r, r.seq})
		r.queued = false
		c.ranks -= r.size
		c.waiting = c.waiting[1:]
	}
	if len(c.waiting) == 0 {
		c.waiting = nil
	}
	c.mu.Unlock()
	if len(parts) == 0 {
		return nil
	}
	for _, p := range parts {
		b.add(p)
	}
	c.state.Read(b.pack)
	return b
}

// part takes over what fits. Called with c.mu held.
func (r *Reporter) part(room int) (p part, size int, whole bool) {
	p = part{r: r, alive: r.alive}
	for place, runs := range r.alive {
		size += len(place.world) + len(runs) + 16
	}
	r.alive = map[place][]byte{}
	n := 0
	for n < len(r.odd) && (size < room || n == 0) {
		bytes := proto.Size(r.odd[n]) + 4
		size += bytes
		r.oddBytes -= bytes
		n++
	}
	p.odd, r.odd = r.odd[:n:n], r.odd[n:]
	return p, size, len(r.odd) == 0
}

// add walks the runs against the members that the session speaks for; it costs their number and the length of the runs, whatever
// ranks they name.
func (b *batch) add(p part) {
	for at, runs := range p.alive {
		if b.alive[at] == nil {
			b.alive[at] = map[uint32]speaker{}
		}
		members, i := p.r.members[at], 0
		for from, to := range id.Intervals(runs) {
			for i < len(members.ranks) && members.ranks[i] < from {
				i++
			}
			for ; i < len(members.ranks) && members.ranks[i] < to; i++ {
				b.addAlive(at, members.ranks[i], speaker{p.r, members.incarnations[i]})
			}
		}
	}
	for _, report := range p.odd {
		b.addExplicit(report, p.r)
	}
}

// addAlive keeps the greatest incarnation of a rank for the packed group. An older one that another session still speaks for
// goes by name, to hear that it is superseded.
func (b *batch) addAlive(p place, rank uint32, s speaker) {
	before, taken := b.alive[p][rank]
	if taken && before.incarnation > s.incarnation {
		before, s = s, before
	}
	b.alive[p][rank] = s
	if taken && before.incarnation != s.incarnation {
		b.addExplicit(&musterv1.ProcReport{Proc: before.ref(p, rank)}, before.r)
	}
}

func (s speaker) ref(p place, rank uint32) *musterv1.ProcRef {
	return &musterv1.ProcRef{World: p.world, Role: p.role, Rank: rank, Incarnation: s.incarnation}
}

func (b *batch) addExplicit(report *musterv1.ProcReport, r *Reporter) {
	b.report.Reports = append(b.report.Reports, report)
	b.explicit[identityOf(report.Proc)] = r
}

// pack compares incarnations with the state. Ranks whose incarnation is the present one travel packed, under the number that
// was read before the comparison; whatever is different goes by name, for Apply to judge.
func (b *batch) pack(s *fsm.State) {
	number := s.Number()
	places := slices.SortedFunc(maps.Keys(b.alive), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.world, b.world), cmp.Compare(a.role, b.role))
	})
	for _, p := range places {
		var present []uint32
		for rank, speaks := range b.alive[p] {
			ref := speaks.ref(p, rank)
			switch now := s.Present(ref); {
			case s.IsDetached(ref): // nothing depends on its being heard
			case now == speaks.incarnation:
				present = append(present, rank)
			case now > speaks.incarnation: // applied already, and for good: the log need not say it again
				b.known = append(b.known, known{speaks.r, s.Outlived(ref)})
			case len(b.explicit) < maxExplicit:
				b.addExplicit(&musterv1.ProcReport{Proc: ref}, speaks.r)
			} // else it reports again, and is not acknowledged as a member that it is not
		}
		if len(present) > 0 {
			slices.Sort(present)
			b.report.Groups = append(b.report.Groups, &musterv1.ReportGroup{
				Number: number, Ranks: &musterv1.RankRuns{World: p.world, Role: p.role, Runs: id.AppendRuns(nil, present)},
			})
		}
	}
}

// settle acknowledges what is committed and passes verdicts on, each to the session that reported.
func (b *batch) settle(out *musterv1.Outcome) {
	byReporter := map[*Reporter][]*musterv1.Verdict{}
	for _, k := range b.known {
		byReporter[k.r] = append(byReporter[k.r], k.v)
	}
	for _, v := range out.GetVerdicts().GetVerdicts() {
		r := b.explicit[identityOf(v.Proc)]
		if r == nil {
			speaks := b.alive[place{v.Proc.World, v.Proc.Role}][v.Proc.Rank]
			if r = speaks.r; r == nil {
				continue
			}
			v = &musterv1.Verdict{Proc: speaks.ref(place{v.Proc.World, v.Proc.Role}, v.Proc.Rank), Kind: v.Kind, Status: v.Status}
		}
		byReporter[r] = append(byReporter[r], v)
	}
	for r, verdicts := range byReporter {
		r.verdicts(verdicts)
	}
	for _, w := range b.waiting {
		if w.seq > 0 {
			w.r.acked(w.seq)
		}
	}
}
