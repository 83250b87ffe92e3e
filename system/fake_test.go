package system

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// fakeTerm is a leadership over a state in memory. Entries are sealed when the test says so, or, with auto, at once.
type fakeTerm struct {
	ctx    context.Context
	cancel context.CancelFunc
	auto   bool
	pokes  int

	submitted, waited, underWay int // commands, and the most that were not waited for at once

	resigned int

	duringRead   func()
	duringSubmit func(*musterv1.Command)

	mu      sync.Mutex
	machine *fsmtest.Machine
	sealer  Sealer
	sys     *System
}

func newFake(t testing.TB, settings *musterv1.Settings) (*fakeTerm, *fakeSessions, *System) {
	return newFakeBy(t, fsm.MachineVersion, settings)
}

// newFakeBy is newFake of a state that follows the rules of a version.
func newFakeBy(t testing.TB, rules uint32, settings *musterv1.Settings) (*fakeTerm, *fakeSessions, *System) {
	f := &fakeTerm{machine: fsmtest.NewMachine()}
	f.machine.MachineVersion = rules
	f.ctx, f.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() { f.cancel() })
	f.machine.Start(settings)
	sessions := &fakeSessions{attached: map[identity]bool{}}
	f.sys = New(f, sessions, hclog.NewNullLogger())
	return f, sessions, f.sys
}

// again is the next leadership of this node.
func (f *fakeTerm) again() {
	f.cancel()
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.machine.Start(nil)
}

func (f *fakeTerm) Context() context.Context          { return f.ctx }
func (f *fakeTerm) Number() uint64                    { return f.machine.Term }
func (f *fakeTerm) Begin(s Sealer)                    { f.sealer = s }
func (f *fakeTerm) Resign(string)                     { f.resigned++; f.cancel() }
func (f *fakeTerm) OldestInFlight() (time.Time, bool) { return time.Time{}, false }
func (f *fakeTerm) ReadBarrier(context.Context) error { return nil }
func (f *fakeTerm) Read(read func(*fsm.State)) {
	if f.duringRead != nil {
		f.duringRead()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	read(f.machine.State)
}

func (f *fakeTerm) Poke() {
	f.mu.Lock()
	f.pokes++
	f.mu.Unlock()
	if f.auto {
		f.seal()
	}
}

// poked is how often it was.
func (f *fakeTerm) poked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pokes
}

func (f *fakeTerm) Propose(ctx context.Context, c *musterv1.Command) (*musterv1.Outcome, error) {
	return f.Submit(ctx, c)()
}

func (f *fakeTerm) Submit(_ context.Context, c *musterv1.Command) (wait func() (*musterv1.Outcome, error)) {
	if f.duringSubmit != nil {
		f.duringSubmit(c)
	}
	_, outcomes := f.seal(c)
	f.underWay = max(f.underWay, f.submitted-f.waited+1)
	f.submitted++
	return func() (*musterv1.Outcome, error) { f.waited++; return outcomes[0], nil }
}

// seal has an entry completed and applied, and settles it.
func (f *fakeTerm) seal(commands ...*musterv1.Command) (*musterv1.Entry, []*musterv1.Outcome) {
	e := &musterv1.Entry{Format: fsm.EntryFormat, RaftTerm: f.machine.Term, Commands: commands}
	settle := f.sealer.Seal(e, 256<<10)
	if len(e.Commands) == 0 {
		return e, nil
	}
	f.mu.Lock()
	a := f.machine.Append(e)
	f.sys.Applied(a.Effects)
	f.mu.Unlock()
	if settle != nil {
		settle(a.Outcomes[len(commands):], nil)
	}
	return e, a.Outcomes
}

// fakeSessions keeps what is said.
type fakeSessions struct {
	mu       sync.Mutex
	orders   []*musterv1.Order
	verdicts []*musterv1.Verdict
	posts    []*musterv1.Post
	updates  []*musterv1.AddressUpdate
	attached map[identity]bool
}

func (s *fakeSessions) Deliver(o *musterv1.Order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orders = append(s.orders, o)
}

func (s *fakeSessions) Tell(v *musterv1.Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdicts = append(s.verdicts, v)
}

func (s *fakeSessions) Pass(p *musterv1.Post) musterv1.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.attached[identityOf(p.To.Proc)] {
		return musterv1.Delivery_DELIVERY_AWAY
	}
	s.posts = append(s.posts, p)
	return musterv1.Delivery_DELIVERY_UNSPECIFIED
}

func (s *fakeSessions) Settle(*musterv1.Receipt) {}

func (s *fakeSessions) Locate(u *musterv1.AddressUpdate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updates = append(s.updates, u)
}

func (s *fakeSessions) Attached(p *musterv1.ProcRef) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attached[identityOf(p)]
}

// member joins a member of a world of one.
func (f *fakeTerm) member(t testing.TB, rank uint32) *musterv1.ProcRef {
	t.Helper()
	out, err := f.Propose(f.ctx, &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
		World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Key: "k", Machine: "m",
		Nonce: []byte(fmt.Sprintf("nonce-%010d", f.machine.State.Number())), Issued: f.machine.State.Number(),
	}}})
	require.NoError(t, err)
	require.NotNil(t, out.GetJoin(), "%v", out)
	return out.GetJoin().Proc
}

// lead publishes a leadership as System.Lead does, without its goroutines: the test is the clock and the health loop.
func (f *fakeTerm) lead() *leadership {
	l := newLeadership(f, f.sys)
	f.sys.building.Store(l)
	l.build()
	f.Begin(l)
	f.sys.published.Store(l)
	return l
}
