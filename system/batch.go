package system

import (
	"cmp"
	"slices"

	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// batch is what goes into one entry, and who waits for it. Its tables are used again for a later one when it is settled, so that a report
// that says what the one before it said costs no memory. The message does not come back: it belongs to the entry.
type batch struct {
	report   *musterv1.ReportBatch
	waiting  []waiting
	parts    []part // in order of tickets
	packed   []packed
	spans    []span                 // ascending
	speakers []speaker              // of all spans, one a rank
	explicit map[identity]*Reporter // reports by name, for their verdicts; nil without any
	known    []known                // verdicts that need no log entry

	// What has been packed: all of the spans before, and all speakers before.
	packedSpans, packedSpeakers int

	// Scratch of gather and pack.
	order   []uint32
	present []uint32
	runs    []byte
}

const (
	// maxExplicit bounds the reports by name that a batch makes of packed ones.
	maxExplicit = 1000
	// packAtOnce bounds the ranks that are compared with one hold of the state: a fifth of a millisecond.
	packAtOnce = 1 << 16
	// maxKept bounds the tables that are kept for later batches, in ranks: four mebibytes a batch.
	maxKept = 1 << 18
)

type known struct {
	r *Reporter
	v *musterv1.Verdict
}

type waiting struct {
	r   *Reporter
	seq uint64
}

// part is one session in a batch, with what it says by name.
type part struct {
	r   *Reporter
	odd []*musterv1.ProcReport
}

// packed is "alive" of one session for one place, and whom it speaks for there.
type packed struct {
	at      place
	part    uint32
	members roster
	runs    []byte
}

// span is where a batch's speakers for one place are, ranks ascending.
type span struct {
	at       place
	from, to int
}

// speaker is a part of a batch with a rank that its session speaks for, and the rank's number: its incarnation, or the spawn order under
// which the session holds it. There are many of them: they hold no pointers.
type speaker struct {
	rank   uint32
	part   uint32
	number uint64
}

// gather spreads out what is packed, place by place, and puts behind it what the sessions say by name.
func (b *batch) gather() {
	for i := range b.packed {
		b.order = append(b.order, uint32(i))
	}
	slices.SortFunc(b.order, b.comparePacked)
	for i := 0; i < len(b.order); {
		s := span{at: b.packed[b.order[i]].at, from: len(b.speakers)}
		for ; i < len(b.order) && b.packed[b.order[i]].at == s.at; i++ {
			b.addRuns(&b.packed[b.order[i]])
		}
		b.oneEach(s)
		s.to = len(b.speakers)
		b.spans = append(b.spans, s)
	}
	for _, p := range b.parts {
		for _, report := range p.odd {
			b.addExplicit(report, p.r)
		}
	}
}

// comparePacked orders by place, and within it so that neighbours who do not overlap come in order of their ranks.
func (b *batch) comparePacked(i, j uint32) int {
	p, q := &b.packed[i], &b.packed[j]
	if c := p.at.compare(q.at); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(p.members.ranks[0], q.members.ranks[0]), cmp.Compare(p.part, q.part))
}

// addRuns walks the runs against the members that the session speaks for; it costs their number and the length of the runs, whatever
// ranks they name.
func (b *batch) addRuns(p *packed) {
	ranks, numbers := p.members.ranks, p.members.numbers
	i := 0
	for from, to := range id.Intervals(p.runs) {
		for i < len(ranks) && ranks[i] < from {
			i++
		}
		for ; i < len(ranks) && ranks[i] < to; i++ {
			b.speakers = append(b.speakers, speaker{ranks[i], p.part, numbers[i]})
		}
	}
}

// oneEach leaves one speaker a rank behind s.from: that of the greatest number, the later of two. An older number that another session
// still speaks for goes by name, to hear that it is superseded.
func (b *batch) oneEach(s span) {
	list := b.speakers[s.from:]
	if ascending(list) {
		return
	}
	slices.SortFunc(list, func(a, b speaker) int {
		if a.rank != b.rank {
			return cmp.Compare(a.rank, b.rank)
		}
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.part, b.part))
	})
	n := 0
	for i, speaks := range list {
		if i+1 < len(list) && list[i+1].rank == speaks.rank {
			if list[i+1].number != speaks.number {
				b.addExplicit(speaks.report(s.at), b.reporter(speaks))
			}
			continue
		}
		list[n] = speaks
		n++
	}
	b.speakers = b.speakers[:s.from+n]
}

// ascending tells whether every rank is there once, in order.
func ascending(list []speaker) bool {
	for i := 1; i < len(list); i++ {
		if list[i].rank <= list[i-1].rank {
			return false
		}
	}
	return true
}

func (b *batch) reporter(s speaker) *Reporter { return b.parts[s.part].r }

// report is what the speaker says by name.
func (s speaker) report(at place) *musterv1.ProcReport {
	return &musterv1.ProcReport{Proc: s.ref(at), HeldOrder: s.heldOrder(at)}
}

// verdict is what the speaker hears.
func (s speaker) verdict(at place, v *musterv1.Verdict) *musterv1.Verdict {
	return &musterv1.Verdict{Proc: s.ref(at), Kind: v.GetKind(), Status: v.GetStatus(), HeldOrder: s.heldOrder(at)}
}

// ref has no incarnation where a host speaks: it does not know it.
func (s speaker) ref(at place) *musterv1.ProcRef {
	ref := &musterv1.ProcRef{World: at.world, Role: at.role, Rank: s.rank}
	if !at.held {
		ref.Incarnation = s.number
	}
	return ref
}

func (s speaker) heldOrder(at place) uint64 {
	if at.held {
		return s.number
	}
	return 0
}

func (b *batch) addExplicit(report *musterv1.ProcReport, r *Reporter) {
	if b.explicit == nil {
		b.explicit = map[identity]*Reporter{}
	}
	b.report.Reports = append(b.report.Reports, report)
	b.explicit[reportedBy(report)] = r
}

// pack compares numbers with the state. Ranks whose incarnation is the present one, or that are held under the present spawn order,
// travel packed, under the state's number that was read before the comparison; whatever is different goes by name, for Apply to
// judge. It takes packAtOnce ranks, and tells whether more are left.
func (b *batch) pack(s *fsm.State) (more bool) {
	number := s.Number()
	for left := packAtOnce; left > 0 && b.packedSpans < len(b.spans); {
		span := b.spans[b.packedSpans]
		some := b.speakers[max(span.from, b.packedSpeakers):span.to]
		some = some[:min(left, len(some))]
		left -= len(some)
		if b.packedSpeakers = max(span.from, b.packedSpeakers) + len(some); b.packedSpeakers == span.to {
			b.packedSpans++
		}
		seats := s.Seats(span.at.world, span.at.role)
		b.present = b.present[:0]
		for _, speaks := range some {
			now := seats.Incarnation(speaks.rank)
			if span.at.held {
				now = seats.HeldOrder(speaks.rank)
			}
			if now == speaks.number {
				b.present = append(b.present, speaks.rank)
			} else {
				b.packOther(s, span.at, speaks)
			}
		}
		if len(b.present) > 0 {
			b.runs = id.AppendRuns(b.runs[:0], b.present)
			b.report.Groups = append(b.report.Groups, &musterv1.ReportGroup{
				Number: number, ByHost: span.at.held,
				Ranks: &musterv1.RankRuns{World: span.at.world, Role: span.at.role, Runs: slices.Clone(b.runs)},
			})
		}
	}
	return b.packedSpans < len(b.spans)
}

// packOther takes a speaker whose number is not that of the member that the world has now.
func (b *batch) packOther(s *fsm.State, at place, speaks speaker) {
	ref := speaks.ref(at)
	switch {
	case !at.held && s.IsDetached(ref): // nothing depends on its being heard
	case presentNumber(s, at, ref) > speaks.number: // applied already, and for good: the log need not say it again
		if v := outlived(s, at, ref, speaks.number); v != nil {
			b.known = append(b.known, known{b.reporter(speaks), speaks.verdict(at, v)})
		}
	case len(b.explicit) < maxExplicit:
		b.addExplicit(speaks.report(at), b.reporter(speaks))
	} // else it reports again, and is not acknowledged as a member that it is not
}

// presentNumber is what a rank has now of what its speaker's number is.
func presentNumber(s *fsm.State, at place, ref *musterv1.ProcRef) uint64 {
	if at.held {
		return s.HeldOrder(at.world, ref.Rank)
	}
	return s.Present(ref)
}

// outlived is what those hear whose number is not the present one any more.
func outlived(s *fsm.State, at place, ref *musterv1.ProcRef, number uint64) *musterv1.Verdict {
	if at.held {
		return s.HeldVerdict(ref, number)
	}
	return s.Outlived(ref)
}

// settle acknowledges what is committed and passes verdicts on, each to the session that reported. A verdict on a packed group names no
// incarnation; where hosts spoke its held order only says that they did.
func (b *batch) settle(out *musterv1.Outcome) {
	byReporter := map[*Reporter][]*musterv1.Verdict{}
	for _, k := range b.known {
		byReporter[k.r] = append(byReporter[k.r], k.v)
	}
	for _, v := range out.GetVerdicts().GetVerdicts() {
		who := judgedBy(v)
		r := b.explicit[who]
		if r == nil {
			speaks, ok := b.speaker(who.place, who.rank)
			if !ok {
				continue
			}
			r, v = b.reporter(speaks), speaks.verdict(who.place, v)
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

// speaker finds who speaks for a rank.
func (b *batch) speaker(at place, rank uint32) (speaker, bool) {
	i, ok := slices.BinarySearchFunc(b.spans, at, func(s span, at place) int { return s.at.compare(at) })
	if !ok {
		return speaker{}, false
	}
	list := b.speakers[b.spans[i].from:b.spans[i].to]
	i, ok = slices.BinarySearchFunc(list, rank, func(s speaker, rank uint32) int { return cmp.Compare(s.rank, rank) })
	if !ok {
		return speaker{}, false
	}
	return list[i], true
}

// reset empties the batch for its next use, and lets go of all that it points to.
func (b *batch) reset() {
	clear(b.waiting)
	clear(b.parts)
	clear(b.packed)
	clear(b.spans)
	clear(b.known)
	*b = batch{
		waiting: b.waiting[:0], parts: b.parts[:0], packed: b.packed[:0], spans: b.spans[:0], known: b.known[:0],
		speakers: b.speakers[:0], order: b.order[:0], present: b.present[:0], runs: b.runs[:0],
	}
}
