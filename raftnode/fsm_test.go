package raftnode_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// world is Muster's own state behind this package's interface.
type world struct{ state *fsm.State }

func (w *world) Apply(index, term uint64, e *musterv1.Entry) ([]*musterv1.Outcome, bool, error) {
	a, err := w.state.Apply(index, term, e)
	return a.Outcomes, a.Dropped, err
}

func (w *world) Digest() [32]byte { return w.state.Digest() }

func (w *world) Freeze() (raftnode.Frozen, error) { return w.state.Freeze() }

func (w *world) Decode(r io.Reader) (func(), error) {
	s, err := fsm.Decode(r)
	return func() { w.state = s }, err
}

// stamping seals entries with an epoch and a stamp.
type stamping struct{ epoch uint64 }

func (s stamping) Seal(e *musterv1.Entry, _ int) func([]*musterv1.Outcome, error) {
	e.Epoch, e.StampNs = s.epoch, int64(time.Second)
	return nil
}

// TestTerm_StaleSealIsDropped: what a leadership sealed has no effect when it reaches the log in a later one, though the node is the
// same and the entry is committed: no join, no stop, not even its stamp.
func TestTerm_StaleSealIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := raftnodetest.New(t, raftnodetest.Config{
			Machine: func(string) raftnode.StateMachine { return &world{fsm.New()} },
			Sealer: func(m *raftnodetest.Member, _ *raftnode.Term) raftnode.Sealer {
				var s stamping
				m.Node.Read(func() { s.epoch = m.Machine.(*world).state.Epoch() })
				return s
			},
			Digest: func(m raftnode.StateMachine) string { d := m.(*world).state.Digest(); return string(d[:]) },
		})
		defer c.Close()

		leader := c.Leader()
		old := leader.Term()
		var epoch uint64
		leader.Node.Read(func() { epoch = leader.Machine.(*world).state.Epoch() })
		stale, err := proto.Marshal(&musterv1.Entry{
			Format: fsm.EntryFormat, RaftTerm: old.Number(), Epoch: epoch, StampNs: int64(time.Hour),
			Commands: []*musterv1.Command{{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{World: "w", Role: musterv1.Role_ROLE_WORKER, Key: "k"}}}},
		})
		require.NoError(t, err)

		c.Isolate(leader.Name) // lose it
		c.Leader()
		c.Heal()
		c.Eventually("leadership back where it was", func() bool {
			l := c.Leader()
			if l == leader {
				return true
			}
			_ = l.Node.TransferLeadership(t.Context())
			time.Sleep(time.Second)
			return false
		})
		require.NotEqual(t, old.Number(), leader.Term().Number())

		require.NoError(t, leader.Node.ApplyRaw(stale), "it is committed")
		c.RequireConverged()
		for _, m := range c.Running() {
			m.Node.Read(func() {
				s := m.Machine.(*world).state
				require.Zero(t, s.Status().Procs, "%s let it join", m.Name)
				require.Less(t, s.ClockNs(), int64(time.Minute), "%s believed its stamp", m.Name)
			})
		}
	})
}
