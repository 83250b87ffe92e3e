package node

import (
	"context"
	"errors"
	"io"

	"github.com/hashicorp/go-hclog"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/system"
)

// machine is the state as the log drives it. raftnode holds its lock around every method, so that it needs none of its own.
type machine struct {
	state    *fsm.State
	applied  func(fsm.Effects)
	restored func()
	log      hclog.Logger
	broke    func(rules int)
}

func (m *machine) Apply(index, term uint64, e *musterv1.Entry) ([]*musterv1.Outcome, bool, error) {
	a, err := m.state.Apply(index, term, e)
	if err != nil {
		return nil, false, err
	}
	for _, what := range a.Broken {
		m.log.Error("a rule broke; please report it", "what", what, "index", index)
	}
	m.broke(len(a.Broken))
	m.applied(a.Effects)
	if a.Effects.Restored {
		m.restored()
	}
	return a.Outcomes, a.Dropped, nil
}

func (m *machine) Digest() [32]byte { return m.state.Digest() }

func (m *machine) Freeze() (raftnode.Frozen, error) {
	f, err := m.state.Freeze()
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (m *machine) Decode(r io.Reader) (func(), error) {
	s, err := fsm.Decode(r)
	if err != nil {
		return nil, err
	}
	return func() { m.state = s }, nil
}

// reader gives the state to those who only read.
type reader struct{ n *Node }

func (r reader) Read(f func(*fsm.State)) {
	r.n.raft.Read(func() { f(r.n.machine.state) })
}

// term is a raftnode.Term with the errors that system tells apart.
type term struct {
	*raftnode.Term
	refused func(musterv1.Reason)
	noRoom  func(*musterv1.Command) *musterv1.Refusal
}

func (t term) Begin(s system.Sealer) { t.Term.Begin(s) }

func (t term) Propose(ctx context.Context, c *musterv1.Command) (*musterv1.Outcome, error) {
	return t.Submit(ctx, c)()
}

func (t term) Submit(ctx context.Context, c *musterv1.Command) (wait func() (*musterv1.Outcome, error)) {
	if r := t.noRoom(c); r != nil {
		t.refused(r.GetReason())
		return func() (*musterv1.Outcome, error) {
			return &musterv1.Outcome{Body: &musterv1.Outcome_Refusal{Refusal: r}}, nil
		}
	}
	await := t.Term.Submit(ctx, c)
	return func() (*musterv1.Outcome, error) {
		out, err := await()
		err = mapError(err)
		if reason := refusal(out, err); reason != musterv1.Reason_REASON_UNSPECIFIED {
			t.refused(reason)
		}
		return out, err
	}
}

// refusal is why a proposal had no effect, or may have had none.
func refusal(out *musterv1.Outcome, err error) musterv1.Reason {
	switch {
	case err == nil:
		return out.GetRefusal().GetReason()
	case errors.Is(err, system.ErrFull):
		return musterv1.Reason_REASON_FULL
	case errors.Is(err, system.ErrOutcomeUnknown):
		return musterv1.Reason_REASON_OUTCOME_UNKNOWN
	}
	return musterv1.Reason_REASON_DROPPED
}

func (t term) ReadBarrier(ctx context.Context) error { return mapError(t.Term.ReadBarrier(ctx)) }

// sentinels maps raftnode's errors to system's, most specific first.
var sentinels = []struct{ from, to error }{
	{raftnode.ErrFull, system.ErrFull},
	{raftnode.ErrOutcomeUnknown, system.ErrOutcomeUnknown},
	{raftnode.ErrNotApplied, system.ErrNotApplied},
	{raftnode.ErrNotLeader, system.ErrNotApplied},
	{raftnode.ErrNotServing, system.ErrNotApplied},
}

// mapped says what raftnode says, and is one of system's sentinels.
type mapped struct {
	error
	sentinel error
}

func (m mapped) Unwrap() []error { return []error{m.error, m.sentinel} }

func mapError(err error) error {
	for _, s := range sentinels {
		if errors.Is(err, s.from) {
			return mapped{err, s.to}
		}
	}
	return err
}
