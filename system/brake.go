package system

import (
	"slices"
	"time"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/system/health"
)

const (
	// countFor is how long a count of silent agents is good for: they are counted when somebody's deadline comes, and that may be often.
	countFor = 250 * time.Millisecond
	// rearmEvery is how often a released brake is looked at.
	rearmEvery = time.Second
)

// brakeWatch proposes what the mass-expiry brake does. The leader's watch owns it.
type brakeWatch struct {
	counted         time.Time
	agents, silent  uint32
	massive, quiet  bool
	proposed        time.Time
	proposedToState musterv1.Brake_State
	held            map[silence]struct{} // counted already
}

// hold tells whether expiries are to be held back that would be observed now, and proposes the brake where they are too many at once.
func (b *brakeWatch) hold(l *leadership, nowNs int64) bool {
	var brake *musterv1.Brake
	var has bool
	l.state.Read(func(s *fsm.State) { brake, has = s.Brake(), s.HasBrake() })
	switch {
	case !has:
		return false
	case brake.GetState() == musterv1.Brake_STATE_ON:
		return true
	case brake.GetState() == musterv1.Brake_STATE_UNSPECIFIED:
		if b.count(l, nowNs); b.massive {
			b.propose(l, musterv1.Brake_STATE_ON)
			return true
		}
	}
	b.held = nil
	return false
}

// holdBack takes out what is held back, and counts the silences among it that it has not held back before.
func (b *brakeWatch) holdBack(l *leadership, s *fsm.State, passed []fsm.Timer) []fsm.Timer {
	if b.held == nil {
		b.held = map[silence]struct{}{}
	}
	before := len(b.held)
	rest := slices.DeleteFunc(passed, func(t fsm.Timer) bool {
		if t.Kind == fsm.TimerMember {
			at, _ := s.Deadline(t)
			b.held[silence{t.Slot, t.ID, at}] = struct{}{}
		}
		return heldByBrake(t)
	})
	l.counts.held.Add(uint64(len(b.held) - before))
	return rest
}

// look lets a brake go whose time is over, and arms one again.
func (b *brakeWatch) look(l *leadership, nowNs int64) {
	var brake *musterv1.Brake
	var ends int64
	l.state.Read(func(s *fsm.State) { brake, ends = s.Brake(), s.BrakeEnds() })
	switch brake.GetState() {
	case musterv1.Brake_STATE_ON:
		if nowNs > ends {
			b.propose(l, musterv1.Brake_STATE_RELEASED)
		}
	case musterv1.Brake_STATE_RELEASED:
		if l.now().Sub(b.counted) < rearmEvery {
			return
		}
		if b.count(l, nowNs); b.quiet {
			b.propose(l, musterv1.Brake_STATE_UNSPECIFIED)
		}
	}
}

// count counts silent agents, run by run, so that the state is not held for long.
func (b *brakeWatch) count(l *leadership, nowNs int64) {
	if l.now().Sub(b.counted) < countFor {
		return
	}
	b.counted, b.agents, b.silent = l.now(), 0, 0
	for from, more := fsm.Slot(0), true; more; from += health.MaxRound {
		l.state.Read(func(s *fsm.State) {
			agents, silent := s.Agents(from, from+health.MaxRound, nowNs)
			b.agents, b.silent = b.agents+agents, b.silent+silent
			b.massive, b.quiet = s.IsMassSilence(b.agents, b.silent), s.IsQuiet(b.agents, b.silent)
			more = from+health.MaxRound < s.Slots()
		})
	}
}

// propose queues a change, again after a while where it had no effect.
func (b *brakeWatch) propose(l *leadership, to musterv1.Brake_State) {
	if b.proposedToState == to && l.now().Sub(b.proposed) < countFor {
		return
	}
	b.proposed, b.proposedToState = l.now(), to
	l.propose([]*musterv1.Command{{Body: &musterv1.Command_Brake{Brake: &musterv1.BrakeChange{To: to, Agents: b.agents, Silent: b.silent}}}})
}
