package system

import (
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
	var members []*musterv1.ProcRef
	l.state.Read(func(s *fsm.State) { members = s.DetachedMembers() })
	since := make(map[identity]int64, len(members))
	var gone []*musterv1.ProcRef
	for _, p := range members {
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
