package system

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/system/clock"
	"muster/system/deliver"
	"muster/system/health"
	"muster/system/route"
)

const (
	// round is how often deadlines are looked at; the clock steps as often.
	round = clock.Interval
	// quiet is how long a leader seals nothing before it seals a Tick, so that an heir loses at most that much time.
	quiet = 100 * time.Millisecond
)

// leadership is everything that lives as long as one leadership term on this node.
type leadership struct {
	term     Term
	state    State
	sessions Sessions
	counts   *counts
	now      func() time.Time
	epoch    uint64
	number   uint64 // the state's when the term began
	bare     uint32 // TermStarts since anything was done, this one among them
	graceNs  int64  // cluster clock at which the term's grace ends

	clock     *clock.Clock
	timers    *health.Index
	orders    *deliver.Queue
	routes    *route.Table
	collector *collector
	gone      *goneHolders
	brake     brakeWatch // watch's

	mu           sync.Mutex
	observations []observation
	lastSeal     time.Time
	tickDue      bool
}

// newLeadership reads what a term needs from the state. Effects of entries that are applied meanwhile go to it already: looking
// twice at the same deadline does no harm, missing one would.
func newLeadership(t Term, s *System) *leadership {
	l := &leadership{
		term: t, state: s.state, sessions: s.sessions, counts: &s.counts, now: s.now, timers: health.NewIndex(), orders: deliver.NewQueue(),
		gone: newGoneHolders(), lastSeal: s.now(),
	}
	l.collector = newCollector(s.state, t.Poke)
	l.routes = route.NewTable(l.locate, s.sessions.Locate)
	return l
}

// build fills the leadership from the state.
func (l *leadership) build() {
	var startNs int64
	l.state.Read(func(s *fsm.State) {
		l.epoch, l.number, startNs, l.graceNs = s.Epoch(), s.Number(), s.ClockNs(), s.GraceUntilNs()
		l.bare = s.BareTermStarts()
		l.collector.patience = time.Duration(s.ShortestLeaseNs() / gatherShare)
	})
	l.clock = clock.New(startNs, l.now, l.term.OldestInFlight)
	for from := fsm.Slot(0); ; from += health.MaxRound {
		var more bool
		l.state.Read(func(s *fsm.State) { more = l.load(s, from) })
		if !more {
			break
		}
	}
}

// load adds the timers of one run of slots, and with the first run those that are not of members.
func (l *leadership) load(s *fsm.State, from fsm.Slot) (more bool) {
	to := min(from+health.MaxRound, s.Slots())
	for slot := from; slot < to; slot++ {
		if t, ok := s.MemberTimer(slot); ok {
			l.timers.Add(t)
		}
		if t, ok := s.DeliveryTimer(slot); ok {
			l.timers.Add(t)
		}
	}
	if from == 0 {
		for t := range s.OtherTimers() {
			l.timers.Add(t)
		}
	}
	return to < s.Slots()
}

// run does what a leader does until the term ends.
func (l *leadership) run() {
	g, ctx := errgroup.WithContext(l.term.Context())
	g.Go(func() error { l.clock.Run(ctx); return nil })
	g.Go(func() error { l.watch(ctx); return nil })
	g.Go(func() error { l.orders.Run(ctx, l.deliver); return nil })
	g.Go(func() error { l.routes.Run(ctx); return nil })
	_ = g.Wait()
}

// watch looks at deadlines, round by round, and keeps the clock of a quiet cluster in the log.
func (l *leadership) watch(ctx context.Context) {
	t := time.NewTicker(round)
	defer t.Stop()
	detached := &detachedWatch{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for l.observe() == health.MaxRound && ctx.Err() == nil {
		}
		l.brake.look(l, l.clock.NowNs())
		if gone := detached.look(l); len(gone) > 0 {
			l.propose(judgement(nil, &musterv1.Due{Detached: gone}, nil))
		}
		l.tick()
	}
}

// observe takes one round of timers that are due and queues what has passed. It returns how many it took.
func (l *leadership) observe() int {
	now := l.clock.NowNs()
	due := l.timers.Passed(now)
	if len(due) == 0 {
		return 0
	}
	var passed []fsm.Timer
	restoring := false
	l.state.Read(func(s *fsm.State) {
		var back []fsm.Timer
		passed, back = health.Decide(now, due, s)
		l.timers.Add(back...)
		restoring = s.Restoring()
	})
	if restoring {
		return len(due)
	}
	hold := slices.ContainsFunc(passed, heldByBrake) && l.brake.hold(l, now)
	var seen []*musterv1.Command
	l.state.Read(func(s *fsm.State) {
		// Between the two reads the state may have gone on.
		passed = slices.DeleteFunc(passed, func(t fsm.Timer) bool { at, ok := s.Deadline(t); return !ok || at >= now })
		if hold {
			passed = l.brake.holdBack(l, s, passed)
		}
		seen = judge(s, passed)
	})
	l.propose(seen)
	return len(due)
}

// heldByBrake: what the mass-expiry brake holds back.
func heldByBrake(t fsm.Timer) bool {
	switch t.Kind {
	case fsm.TimerMember, fsm.TimerDelivery, fsm.TimerStart, fsm.TimerEviction:
		return true
	}
	return false
}

// maxJudged and maxJudgedBytes bound what one observation names, so that an entry has room for it.
const (
	maxJudged      = 100
	maxJudgedBytes = 30 << 10
)

// judge is the observations of a round. Its expiries are cut as seldom as can be, since each part is an event of its own.
func judge(s *fsm.State, passed []fsm.Timer) (out []*musterv1.Command) {
	var leases, others []fsm.Timer
	for _, t := range passed {
		if t.Kind == fsm.TimerMember {
			leases = append(leases, t)
		} else {
			others = append(others, t)
		}
	}
	expire, _, _ := s.Observe(leases)
	for from, size, i := 0, 0, 0; i < len(expire.Procs); i++ {
		size += proto.Size(expire.Procs[i]) + 4
		if i+1 == len(expire.Procs) || size > maxJudgedBytes {
			out = append(out, judgement(&musterv1.Expire{Procs: expire.Procs[from : i+1]}, nil, nil)...)
			from, size = i+1, 0
		}
	}
	for some := range slices.Chunk(others, maxJudged) {
		out = append(out, judgement(s.Observe(some))...)
	}
	return out
}

// judgement is the commands of an observation.
func judgement(expire *musterv1.Expire, due *musterv1.Due, overdue *musterv1.Undeliverable) []*musterv1.Command {
	var out []*musterv1.Command
	if len(expire.GetProcs()) > 0 {
		out = append(out, &musterv1.Command{Body: &musterv1.Command_Expire{Expire: expire}})
	}
	if proto.Size(due) > 0 {
		out = append(out, &musterv1.Command{Body: &musterv1.Command_Due{Due: due}})
	}
	if len(overdue.GetOrders()) > 0 {
		out = append(out, &musterv1.Command{Body: &musterv1.Command_Undeliverable{Undeliverable: overdue}})
	}
	return out
}

// propose queues observations; Seal puts them behind every report that was received before.
func (l *leadership) propose(seen []*musterv1.Command) {
	if len(seen) == 0 {
		return
	}
	mark := l.collector.mark()
	l.mu.Lock()
	for _, c := range seen {
		l.observations = append(l.observations, observation{c, proto.Size(c) + 8, mark})
	}
	l.mu.Unlock()
	l.term.Poke()
}

// tick asks for a Tick when nothing has been sealed for a while and some deadline depends on the clock.
func (l *leadership) tick() {
	if l.timers.Len() == 0 {
		return
	}
	l.mu.Lock()
	l.tickDue = l.now().Sub(l.lastSeal) >= quiet
	due := l.tickDue
	l.mu.Unlock()
	if due {
		l.term.Poke()
	}
}

// mark puts into the log that this term was built, if those before it came to nothing, so that leaders who failed are counted in a row only.
func (l *leadership) mark() {
	if l.bare < 2 {
		return
	}
	l.mu.Lock()
	l.tickDue = true
	l.mu.Unlock()
	l.term.Poke()
}

// deliver sends a member what it has still to be told.
func (l *leadership) deliver(p *musterv1.ProcRef) {
	var orders []*musterv1.Order
	l.state.Read(func(s *fsm.State) { orders = s.Orders(p) })
	for _, o := range orders {
		l.sessions.Deliver(o)
	}
}

// applied takes the effects of an entry. It is called with the state's lock held and does not block.
func (l *leadership) applied(e fsm.Effects) {
	l.timers.Add(e.Timers...)
	l.orders.Add(e.Orders...)
	l.counts.expired.Add(uint64(e.Expired))
	l.routes.Moved(e.Moved, e.MovedWorlds)
	for _, v := range e.Verdicts {
		l.sessions.Tell(v)
	}
}
