package system

import (
	"cmp"
	"maps"
	"slices"

	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

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

// speaker is a session with the number of a rank that it speaks for: its incarnation, or the spawn order under which it holds it.
type speaker struct {
	r      *Reporter
	number uint64
}

// add walks the runs against the members that the session speaks for; it costs their number and the length of the runs, whatever
// ranks they name.
func (b *batch) add(p part) {
	for at, runs := range p.alive {
		b.addRuns(p.r, at, p.members[at], runs)
		b.addRuns(p.r, at.byHost(), p.members[at.byHost()], runs)
	}
	for _, report := range p.odd {
		b.addExplicit(report, p.r)
	}
}

func (b *batch) addRuns(r *Reporter, at place, members roster, runs []byte) {
	if len(members.ranks) == 0 {
		return
	}
	if b.alive[at] == nil {
		b.alive[at] = map[uint32]speaker{}
	}
	i := 0
	for from, to := range id.Intervals(runs) {
		for i < len(members.ranks) && members.ranks[i] < from {
			i++
		}
		for ; i < len(members.ranks) && members.ranks[i] < to; i++ {
			b.addAlive(at, members.ranks[i], speaker{r, members.numbers[i]})
		}
	}
}

// addAlive keeps the greatest number of a rank for the packed group. An older one that another session still speaks for goes by
// name, to hear that it is superseded.
func (b *batch) addAlive(p place, rank uint32, s speaker) {
	before, taken := b.alive[p][rank]
	if taken && before.number > s.number {
		before, s = s, before
	}
	b.alive[p][rank] = s
	if taken && before.number != s.number {
		b.addExplicit(before.report(p, rank), before.r)
	}
}

// report is what the speaker says by name.
func (s speaker) report(p place, rank uint32) *musterv1.ProcReport {
	return &musterv1.ProcReport{Proc: s.ref(p, rank), HeldOrder: s.heldOrder(p)}
}

// verdict is what the speaker hears.
func (s speaker) verdict(p place, rank uint32, v *musterv1.Verdict) *musterv1.Verdict {
	return &musterv1.Verdict{Proc: s.ref(p, rank), Kind: v.GetKind(), Status: v.GetStatus(), HeldOrder: s.heldOrder(p)}
}

// ref has no incarnation where a host speaks: it does not know it.
func (s speaker) ref(p place, rank uint32) *musterv1.ProcRef {
	ref := &musterv1.ProcRef{World: p.world, Role: p.role, Rank: rank}
	if !p.held {
		ref.Incarnation = s.number
	}
	return ref
}

func (s speaker) heldOrder(p place) uint64 {
	if p.held {
		return s.number
	}
	return 0
}

func (b *batch) addExplicit(report *musterv1.ProcReport, r *Reporter) {
	b.report.Reports = append(b.report.Reports, report)
	b.explicit[reportedBy(report)] = r
}

// pack compares numbers with the state. Ranks whose incarnation is the present one, or that are held under the present spawn order,
// travel packed, under the state's number that was read before the comparison; whatever is different goes by name, for Apply to
// judge.
func (b *batch) pack(s *fsm.State) {
	number := s.Number()
	places := slices.SortedFunc(maps.Keys(b.alive), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.world, b.world), cmp.Compare(a.role, b.role), compareHeld(a, b))
	})
	for _, p := range places {
		var present []uint32
		for rank, speaks := range b.alive[p] {
			ref := speaks.ref(p, rank)
			switch now := presentNumber(s, p, ref); {
			case !p.held && s.IsDetached(ref): // nothing depends on its being heard
			case now == speaks.number:
				present = append(present, rank)
			case now > speaks.number: // applied already, and for good: the log need not say it again
				if v := outlived(s, p, ref, speaks.number); v != nil {
					b.known = append(b.known, known{speaks.r, speaks.verdict(p, rank, v)})
				}
			case len(b.explicit) < maxExplicit:
				b.addExplicit(speaks.report(p, rank), speaks.r)
			} // else it reports again, and is not acknowledged as a member that it is not
		}
		if len(present) > 0 {
			slices.Sort(present)
			b.report.Groups = append(b.report.Groups, &musterv1.ReportGroup{
				Number: number, ByHost: p.held,
				Ranks: &musterv1.RankRuns{World: p.world, Role: p.role, Runs: id.AppendRuns(nil, present)},
			})
		}
	}
}

func compareHeld(a, b place) int {
	switch {
	case a.held == b.held:
		return 0
	case b.held:
		return -1
	}
	return 1
}

// presentNumber is what a rank has now of what its speaker's number is.
func presentNumber(s *fsm.State, p place, ref *musterv1.ProcRef) uint64 {
	if p.held {
		return s.HeldOrder(p.world, ref.Rank)
	}
	return s.Present(ref)
}

// outlived is what those hear whose number is not the present one any more.
func outlived(s *fsm.State, p place, ref *musterv1.ProcRef, number uint64) *musterv1.Verdict {
	if p.held {
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
			speaks := b.alive[who.place][who.rank]
			if r = speaks.r; r == nil {
				continue
			}
			v = speaks.verdict(who.place, who.rank, v)
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
