package system

import (
	"cmp"
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

// collector gathers reports of all sessions until the next entry. It keeps at most one unsealed report per session: a newer one
// replaces it, failures are merged, so that liveness is never refused for lack of room.
type collector struct {
	state  State
	poke   func()
	gather time.Duration

	mu      sync.Mutex
	waiting []*Reporter
	ranks   int
	timer   *time.Timer
}

func newCollector(s State, poke func()) *collector {
	return &collector{state: s, poke: poke, gather: maxGather}
}

// Reporter is one session's place in the collector. Report is called by the session's reader only.
type Reporter struct {
	c        *collector
	members  map[place]map[uint32]uint64 // rank → incarnation
	acked    func(seq uint64)
	verdicts func([]*musterv1.Verdict)

	// Guarded by c.mu.
	queued bool
	seq    uint64
	alive  map[place][]byte
	odd    []*musterv1.ProcReport
}

func (c *collector) reporter(members []*musterv1.HelloMember, acked func(uint64), verdicts func([]*musterv1.Verdict)) *Reporter {
	r := &Reporter{c: c, members: map[place]map[uint32]uint64{}, acked: acked, verdicts: verdicts, alive: map[place][]byte{}}
	for _, m := range members {
		p := place{m.Proc.GetWorld(), roleOf(m.Proc.GetRole())}
		if r.members[p] == nil {
			r.members[p] = map[uint32]uint64{}
		}
		r.members[p][m.Proc.GetRank()] = m.Proc.GetIncarnation()
	}
	return r
}

func roleOf(r musterv1.Role) musterv1.Role {
	if r == musterv1.Role_ROLE_UNSPECIFIED {
		return musterv1.Role_ROLE_WORKER
	}
	return r
}

// Report takes a message. Members that the session has not said hello for are ignored: it does not speak for them.
func (r *Reporter) Report(m *musterv1.SessionReport) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.seq = max(r.seq, m.GetSeq())
	for _, runs := range m.GetAlive() {
		r.alive[place{runs.GetWorld(), roleOf(runs.GetRole())}] = runs.GetRuns()
	}
	urgent := false
	for _, report := range m.GetReports() {
		p := report.GetProc()
		if inc, ok := r.members[place{p.GetWorld(), roleOf(p.GetRole())}][p.GetRank()]; !ok || inc != p.GetIncarnation() {
			continue
		}
		urgent = urgent || len(report.FailedActors) > 0
		if len(r.odd) < maxOdd {
			r.odd = append(r.odd, report)
		}
	}
	if !r.queued {
		r.queued = true
		r.c.waiting = append(r.c.waiting, r)
		for _, ranks := range r.members {
			r.c.ranks += len(ranks)
		}
	}
	switch {
	case urgent || r.c.ranks >= fullBatch:
		r.c.poke()
	case r.c.timer == nil:
		r.c.timer = time.AfterFunc(r.c.gather, r.c.poke)
	}
}

// maxOdd bounds the reports with more to say that one session may have waiting; the client sends what is not acknowledged again.
const maxOdd = 1024

func (c *collector) empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) == 0
}

// batch is what goes into one entry, and who waits for it.
type batch struct {
	report   *musterv1.ReportBatch
	waiting  []waiting
	alive    map[place]map[uint32]speaker
	explicit map[identity]*Reporter // reports by name, for their verdicts
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

// take gathers what waits, about room bytes at most, session by session.
func (c *collector) take(room int) *batch {
	c.mu.Lock()
	if len(c.waiting) == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	b := &batch{report: &musterv1.ReportBatch{}, alive: map[place]map[uint32]speaker{}, explicit: map[identity]*Reporter{}}
	n := 0
	for n < len(c.waiting) && room > 0 {
		room -= b.add(c.waiting[n])
		n++
	}
	c.waiting = slices.Clone(c.waiting[n:])
	c.ranks = 0
	for _, r := range c.waiting {
		for _, ranks := range r.members {
			c.ranks += len(ranks)
		}
	}
	c.mu.Unlock()
	if n == 0 {
		return nil
	}
	c.state.Read(b.pack)
	return b
}

// add takes a reporter's part over and returns about how many bytes it makes. Called with c.mu held.
func (b *batch) add(r *Reporter) int {
	size := 0
	for p, runs := range r.alive {
		members := r.members[p]
		if b.alive[p] == nil {
			b.alive[p] = map[uint32]speaker{}
			size += len(p.world) + 16
		}
		for rank := range id.Ranks(runs) {
			if incarnation, ok := members[rank]; ok {
				b.addAlive(p, rank, speaker{r, incarnation})
				size += 3
			}
		}
	}
	for _, report := range r.odd {
		size += proto.Size(report) + 4
		b.addExplicit(report, r)
	}
	b.waiting = append(b.waiting, waiting{r, r.seq})
	r.queued, r.alive, r.odd = false, map[place][]byte{}, nil
	return size
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
			switch {
			case s.IsDetached(ref): // nothing depends on its being heard
			case s.Present(ref) == speaks.incarnation:
				present = append(present, rank)
			default:
				b.addExplicit(&musterv1.ProcReport{Proc: ref}, speaks.r)
			}
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
	for _, w := range b.waiting {
		if verdicts := byReporter[w.r]; len(verdicts) > 0 {
			w.r.verdicts(verdicts)
		}
		if w.seq > 0 {
			w.r.acked(w.seq)
		}
	}
}
