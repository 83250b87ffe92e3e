package client

import (
	"sync"

	musterv1 "muster/proto/muster/v1"
)

// leader remembers the greatest (epoch, raft term) that anybody has claimed, and where it serves.
type leader struct {
	// mu guards the rest.
	mu   sync.Mutex
	hint *musterv1.LeaderHint
	// newer is closed with the next greater pair; nil while nobody waits.
	newer chan struct{}
	// It did not answer, or said that it does not lead: asked last until it answers or a greater pair is heard of.
	doubted bool
}

// compareLeaders orders hints by (epoch, raft term). nil is the smallest.
func compareLeaders(a, b *musterv1.LeaderHint) int {
	switch {
	case a.GetEpoch() != b.GetEpoch():
		if a.GetEpoch() < b.GetEpoch() {
			return -1
		}
		return 1
	case a.GetRaftTerm() != b.GetRaftTerm():
		if a.GetRaftTerm() < b.GetRaftTerm() {
			return -1
		}
		return 1
	}
	return 0
}

// observe takes a hint unless a greater pair has been seen. It says whether the hint is news: a greater pair.
func (l *leader) observe(hint *musterv1.LeaderHint) bool {
	if hint.GetAddress() == "" {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hint != nil && compareLeaders(hint, l.hint) <= 0 {
		return false
	}
	l.hint, l.doubted = hint, false
	if l.newer != nil {
		close(l.newer)
		l.newer = nil
	}
	return true
}

// greatest is the greatest pair seen, doubted or not; nil before the first.
func (l *leader) greatest() *musterv1.LeaderHint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hint
}

// news is the greatest pair seen, and a channel that is closed when a greater one is.
func (l *leader) news() (*musterv1.LeaderHint, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.newer == nil {
		l.newer = make(chan struct{})
	}
	return l.hint, l.newer
}

// address is where the leader serves; empty if none is known or the known one is in doubt.
func (l *leader) address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doubted {
		return ""
	}
	return l.hint.GetAddress()
}

// doubt marks the leader as not answering, if it is the one at this address.
func (l *leader) doubt(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hint != nil && l.hint.GetAddress() == address {
		l.doubted = true
	}
}

// trust takes the doubt back after an answer from this address.
func (l *leader) trust(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hint != nil && l.hint.GetAddress() == address {
		l.doubted = false
	}
}
