package system

import (
	"iter"
	"time"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

const (
	// detachedPatience is how long the session of a Detached member may be gone before its address is forgotten.
	detachedPatience = 60 * time.Second
	// detachedRound is how often that is looked at.
	detachedRound = time.Second
)

// detachedWatch notes since when Detached members have had no session, by this term's clock. It belongs to the health loop.
type detachedWatch struct {
	nextNs int64
	since  map[identity]int64
}

// look returns who has been gone for too long.
func (w *detachedWatch) look(l *leadership) []*musterv1.ProcRef {
	now := l.clock.NowNs()
	if now < w.nextNs {
		return nil
	}
	w.nextNs = now + int64(detachedRound)
	since := make(map[identity]int64, len(w.since))
	var gone []*musterv1.ProcRef
	for p := range l.detachedMembers() {
		if l.sessions.Attached(p) {
			continue
		}
		key := identityOf(p)
		from, known := w.since[key]
		if !known {
			from = now
		}
		since[key] = from
		if now-from > int64(detachedPatience) && len(gone) < maxJudged {
			gone = append(gone, p)
		}
	}
	w.since = since
	return gone
}

// detachedMembers reads the address book part by part, so that the state is not held for long: who comes or goes meanwhile may be left out.
func (l *leadership) detachedMembers() iter.Seq[*musterv1.ProcRef] {
	return func(yield func(*musterv1.ProcRef) bool) {
		var part []*musterv1.ProcRef
		for more := true; more; more = len(part) == fsm.MaxDetached {
			var behind *musterv1.ProcRef
			if len(part) > 0 {
				behind = part[len(part)-1]
			}
			l.state.Read(func(s *fsm.State) { part = s.DetachedMembers(behind) })
			for _, p := range part {
				if !yield(p) {
					return
				}
			}
		}
	}
}
