package system

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// System is the verbs of Muster on one node. Safe for concurrent use.
type System struct {
	state    State
	sessions Sessions
	log      hclog.Logger
	now      func() time.Time // time.Now, except in tests

	building  atomic.Pointer[leadership] // takes effects; set before published
	published atomic.Pointer[leadership] // admits requests
	unbuilt   atomic.Pointer[unbuilt]    // serves reads, where the term cannot be built
	onLeading func(bool)
	onBuild   func() error

	changes changes
	counts  counts
}

// New returns a System that leads nothing yet.
func New(state State, sessions Sessions, log hclog.Logger) *System {
	return &System{
		state: state, sessions: sessions, log: log, now: time.Now, onLeading: func(bool) {}, onBuild: func() error { return nil },
	}
}

// OnLeading has f called with true right after a term is published here, and with false right before it is taken back. Call it
// before Lead.
func (s *System) OnLeading(f func(leading bool)) { s.onLeading = f }

// Lead does what a leader does for as long as the term lasts: it builds what the term needs from the state, publishes it, and on
// the term's end takes it back and waits for everything that ran for it. What cannot be built it gives away, or, where nobody else could
// build it either, serves for reads alone until it can. One call at a time.
func (s *System) Lead(t Term) {
	defer s.building.Store(nil)
	defer s.unbuilt.Store(nil)
	l := s.prepare(t)
	if l == nil {
		return
	}
	s.counts.begin(l.clock)
	defer s.counts.end()
	t.Begin(l)
	if t.Context().Err() == nil {
		s.published.Store(l)
		s.unbuilt.Store(nil)
		s.onLeading(true)
		s.log.Info("leading", "raft_term", t.Number(), "epoch", l.epoch, "number", l.number, "timers", l.timers.Len())
		l.mark()
		l.run()
		s.onLeading(false)
		s.published.Store(nil)
		s.log.Info("leading no more", "raft_term", t.Number(), "why", context.Cause(t.Context()), "uncharged", l.clock.Uncharged())
	}
}

// Applied takes the effects of an entry that was applied here. It is called with the state's lock held and does not block.
func (s *System) Applied(e fsm.Effects) {
	if l := s.building.Load(); l != nil {
		l.applied(e)
	}
	s.changes.happened()
}

// Changed returns a channel that is closed when the next entry is applied here, whoever leads.
func (s *System) Changed() <-chan struct{} { return s.changes.wait() }

// Leading tells whether a term is published here, and its epoch and Raft term.
func (s *System) Leading() (epoch, raftTerm uint64, ok bool) {
	l := s.published.Load()
	if l == nil {
		return 0, 0, false
	}
	return l.epoch, l.term.Number(), true
}

// StandsStill tells whether this node leads and charges no time, since its log does not take entries.
func (s *System) StandsStill() bool {
	l := s.published.Load()
	return l != nil && l.clock.StandsStill()
}

// TermContext ends with the published term; without one it has ended.
func (s *System) TermContext() context.Context {
	if l := s.published.Load(); l != nil {
		return l.term.Context()
	}
	return ended
}

var ended = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(ErrNotLeading)
	return ctx
}()

// Propose has a command applied by the published term. Errors wrap ErrNotApplied (ErrUnbuilt, too, perhaps), ErrOutcomeUnknown or ErrFull.
func (s *System) Propose(ctx context.Context, c *musterv1.Command) (*musterv1.Outcome, error) {
	l, err := s.admitted()
	if err != nil {
		return nil, err
	}
	return l.term.Propose(ctx, c)
}

// Join makes the caller a member. The leader adds what only it has seen: that the holder's session ended.
func (s *System) Join(ctx context.Context, j *musterv1.JoinRequest) (*musterv1.Outcome, error) {
	l, err := s.admitted()
	if err != nil {
		return nil, err
	}
	j.HolderGone = l.holderGone(j)
	return l.term.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_Join{Join: j}})
}

// Leave ends a membership.
func (s *System) Leave(ctx context.Context, q *musterv1.LeaveRequest) (*musterv1.Outcome, error) {
	return s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_Leave{Leave: q}})
}

// UpsertWorld creates a world or confirms that it is as asked.
func (s *System) UpsertWorld(ctx context.Context, q *musterv1.UpsertWorldRequest) (*musterv1.Outcome, error) {
	return s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: q}})
}

// Stop begins to stop worlds or everything.
func (s *System) Stop(ctx context.Context, q *musterv1.StopRequest) (*musterv1.Outcome, error) {
	return s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_Stop{Stop: q}})
}

// Restart has hosts run ranks again.
func (s *System) Restart(ctx context.Context, q *musterv1.RestartRequest) (*musterv1.Outcome, error) {
	return s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_Restart{Restart: q}})
}

// DeleteWorld forgets an ended world.
func (s *System) DeleteWorld(ctx context.Context, q *musterv1.DeleteWorldRequest) (*musterv1.Outcome, error) {
	return s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_DeleteWorld{DeleteWorld: q}})
}

// Start makes a stopped system run again.
func (s *System) Start(ctx context.Context, q *musterv1.StartRequest) (*musterv1.Outcome, error) {
	return s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_Start{Start: q}})
}

// Set changes settings.
func (s *System) Set(ctx context.Context, q *musterv1.SetRequest) (*musterv1.Outcome, error) {
	return s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_Set{Set: q}})
}

// ReleaseAlarm has the mass-expiry brake let go.
func (s *System) ReleaseAlarm(ctx context.Context, q *musterv1.ReleaseAlarmRequest) (*musterv1.Outcome, error) {
	return s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_ReleaseAlarm{ReleaseAlarm: q}})
}

// RegisterNode puts a node's registration into the state.
func (s *System) RegisterNode(ctx context.Context, n *musterv1.NodeRecord) (*musterv1.Outcome, error) {
	return s.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_NodeStart{NodeStart: &musterv1.NodeStart{Node: n}}})
}

// Read calls f with the state. Linearizable: it holds every write acknowledged before the call, and this node must lead. Stale:
// whatever this node has applied.
func (s *System) Read(ctx context.Context, stale bool, f func(*fsm.State)) error {
	if !stale {
		t, err := s.readable()
		if err != nil {
			return err
		}
		if err := t.ReadBarrier(ctx); err != nil {
			return fmt.Errorf("linearizable read: %w", err)
		}
	}
	s.state.Read(f)
	return nil
}
