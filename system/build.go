package system

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"muster/fsm"
)

const (
	// bareTermStarts is how often in a row, anywhere in the cluster, leadership may have come to nothing: whoever leads then stays, since
	// nobody else could do better, and a leader that changes all the time could not even be read from.
	bareTermStarts = 3

	// Pauses between attempts to build the term of a leader that stays.
	minBuildPause = 500 * time.Millisecond
	maxBuildPause = 5 * time.Second
)

// ErrUnbuilt says that this node leads, serves reads, and takes no changes, since it cannot build what its term needs. It goes on trying.
// Errors that wrap it wrap ErrNotApplied, too, and say in words what fails and what the operator can do.
var ErrUnbuilt = errors.New("the leader cannot build its term")

// unbuilt is a term of a leader that stays though it cannot build it.
type unbuilt struct {
	term  Term
	epoch uint64
	err   error // as requests are told
}

func unbuiltError(why error) error {
	return fmt.Errorf("%w: %w: %w. It serves reads; nothing changes, nobody expires, and what runs goes on. It tries again every %v, and its log "+
		"says more; hand leadership to another node with `muster cluster transfer-leader`, or run another version there",
		ErrNotApplied, ErrUnbuilt, why, maxBuildPause)
}

// OnBuild has f called at the beginning of each attempt to build a term here; its error fails the attempt. Call it before Lead. It is meant
// for tests: what is built comes out of memory, and fails by a fault of this program only.
func (s *System) OnBuild(f func() error) { s.onBuild = f }

// Unbuilt is why this node leads and takes no changes; nil if it takes them, or does not lead. It wraps ErrUnbuilt.
func (s *System) Unbuilt() error {
	if u := s.unbuilt.Load(); u != nil {
		return u.err
	}
	return nil
}

// Serving tells whether this node leads and serves at least reads, and the epoch and the Raft term; Leading whether it takes changes, too.
func (s *System) Serving() (epoch, raftTerm uint64, ok bool) {
	u := s.unbuilt.Load() // before published: see admitted
	if epoch, raftTerm, ok := s.Leading(); ok {
		return epoch, raftTerm, true
	}
	if u == nil {
		return 0, 0, false
	}
	return u.epoch, u.term.Number(), true
}

// readable is the term that linearizable reads go through.
func (s *System) readable() (Term, error) {
	u := s.unbuilt.Load() // before published: see admitted
	if l := s.published.Load(); l != nil {
		return l.term, nil
	}
	if u == nil {
		return nil, ErrNotLeading
	}
	return u.term, nil
}

// admitted is the published leadership, or why no request is admitted: ErrNotLeading, or one that wraps ErrUnbuilt.
func (s *System) admitted() (*leadership, error) {
	u := s.unbuilt.Load() // before published, which is set before this is taken back
	if l := s.published.Load(); l != nil {
		return l, nil
	}
	if u != nil {
		return nil, u.err
	}
	return nil, ErrNotLeading
}

// prepare builds what a term needs. If that fails it gives leadership away; a leader that stays tries until it succeeds. It returns nil if the
// term has ended, or is about to.
func (s *System) prepare(t Term) *leadership {
	pause := minBuildPause
	for {
		l, err := s.build(t)
		if err == nil {
			return l
		}
		s.building.Store(nil)
		var bare uint32
		var epoch uint64
		s.state.Read(func(st *fsm.State) { bare, epoch = st.BareTermStarts(), st.Epoch() })
		if bare < bareTermStarts {
			s.log.Error("the term cannot be built: giving leadership away", "raft_term", t.Number(), "error", err)
			t.Resign(fmt.Sprintf("its term cannot be built: %v", err))
			return nil
		}
		s.log.Error("the term cannot be built, nor could those before it: serving reads only, and trying again", "raft_term", t.Number(), "error", err, "in", pause)
		s.unbuilt.Store(&unbuilt{t, epoch, unbuiltError(err)})
		if !sleep(t.Context(), pause) {
			return nil
		}
		pause = min(2*pause, maxBuildPause)
	}
}

// build reads what a term needs from the state. A fault on the way is an error, so that another node gets its turn.
func (s *System) build(t Term) (l *leadership, err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("building a term broke; please report it", "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("%v: please report it with this node's log", r)
		}
	}()
	if err := s.onBuild(); err != nil {
		return nil, err
	}
	l = newLeadership(t, s)
	s.building.Store(l)
	l.build()
	return l, nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
