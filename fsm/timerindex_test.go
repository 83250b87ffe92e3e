package fsm_test

import (
	"fmt"

	"muster/fsm"
)

// timerIndex is what a leader keeps of timers: the clock at which it will look, which it learns when its term begins and from the effects
// of entries. A deadline that comes earlier than that would be missed.
type timerIndex map[timerKey]int64

type timerKey struct {
	kind fsm.TimerKind
	slot fsm.Slot
	id   uint64
}

func keyOf(t fsm.Timer) timerKey { return timerKey{t.Kind, t.Slot, t.ID} }

func (x *timerIndex) follow(s *fsm.State, a fsm.Applied, newTerm bool) error {
	if *x == nil || newTerm || a.Effects.Restored {
		*x = timerIndex{}
		for t := range s.Timers() {
			(*x)[keyOf(t)] = t.AtNs
		}
		return nil
	}
	for _, t := range a.Effects.Timers {
		if at, ok := (*x)[keyOf(t)]; !ok || t.AtNs < at {
			(*x)[keyOf(t)] = t.AtNs
		}
	}
	kept := timerIndex{}
	for t := range s.Timers() {
		at, ok := (*x)[keyOf(t)]
		if !ok || at > max(t.AtNs, s.ClockNs()) {
			return fmt.Errorf("nobody will look at timer %+v: known %t, at %d", t, ok, at)
		}
		if at <= s.ClockNs() {
			at = t.AtNs // it came, and the leader has looked
		}
		kept[keyOf(t)] = at
	}
	*x = kept
	return nil
}
