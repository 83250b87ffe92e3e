package fsm_test

import (
	"fmt"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// watching is two watchers: one looks after every entry, the other now and then. The second misses nothing that it is not told of.
type watching struct {
	from, lateFrom uint64
	since          []*musterv1.Event // what the first has seen since the second looked
	looks          int
}

func (w *watching) look(s *fsm.State) error {
	if w.from == 0 || !s.HasBrake() { // earlier rules do not know what the ring has dropped
		*w = watching{from: s.Number(), lateFrom: s.Number()}
		return nil
	}
	r := s.Watch(&musterv1.WatchRequest{From: w.from})
	if r.Restored != 0 {
		if r.Restored != s.Epoch() || w.from >= r.Restored {
			return fmt.Errorf("a watcher behind number %d hears of a restore at %d, the epoch is %d", w.from, r.Restored, s.Epoch())
		}
		*w = watching{from: r.Restored, lateFrom: r.Restored}
		r = s.Watch(&musterv1.WatchRequest{From: w.from})
	}
	if r.Compacted != 0 {
		return fmt.Errorf("one entry has washed away what it told itself: events up to %d", r.Compacted)
	}
	if err := ascend(w.from, r, s); err != nil {
		return err
	}
	w.since, w.from = append(w.since, r.Events...), r.Number
	if w.looks++; w.looks%20 != 0 {
		return nil
	}
	return w.lookLate(s)
}

func (w *watching) lookLate(s *fsm.State) error {
	r := s.Watch(&musterv1.WatchRequest{From: w.lateFrom})
	if r.Compacted == 0 {
		if err := ascend(w.lateFrom, r, s); err != nil {
			return err
		}
		if len(r.Events) != len(w.since) {
			return fmt.Errorf("a watcher behind number %d is told %d events of %d", w.lateFrom, len(r.Events), len(w.since))
		}
		for i, e := range r.Events {
			if e.Number != w.since[i].Number {
				return fmt.Errorf("a watcher behind number %d is told event %d in place of %d", w.lateFrom, e.Number, w.since[i].Number)
			}
		}
	} else if len(w.since) == 0 || w.since[0].Number > r.Compacted {
		return fmt.Errorf("a watcher behind number %d hears that events up to %d are gone, and has missed none", w.lateFrom, r.Compacted)
	}
	w.lateFrom, w.since = s.Number(), nil
	return nil
}

// ascend: what is told is behind what was told, in order, and up to the present.
func ascend(from uint64, r *musterv1.WatchResponse, s *fsm.State) error {
	last := from
	for _, e := range r.Events {
		if e.Number <= last || e.Number > s.Number() {
			return fmt.Errorf("event %d is told behind %d, the number is %d", e.Number, last, s.Number())
		}
		last = e.Number
	}
	if r.Number != s.Number() {
		return fmt.Errorf("a watcher is told everything up to %d, the number is %d", r.Number, s.Number())
	}
	return nil
}
