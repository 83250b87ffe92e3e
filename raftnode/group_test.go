package raftnode_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// gate is a Sealer that lets entries through one by one.
type gate struct {
	hold atomic.Bool
	at   chan struct{} // someone is being held
	pass chan struct{}
}

// gated gives each term a gate; the map has that of a member's first.
func gated() (map[string]*gate, raftnodetest.Config) {
	gates := map[string]*gate{}
	return gates, raftnodetest.Config{Nodes: 1, Sealer: func(m *raftnodetest.Member, _ *raftnode.Term) raftnode.Sealer {
		g := newGate()
		if gates[m.Name] == nil {
			gates[m.Name] = g
		}
		return g
	}}
}

func newGate() *gate { return &gate{at: make(chan struct{}, 1), pass: make(chan struct{})} }

func (g *gate) Seal(*musterv1.Entry, int) func([]*musterv1.Outcome, error) {
	if g.hold.Load() {
		g.at <- struct{}{}
		<-g.pass
	}
	return nil
}

func TestGroup_CallersGetTheirOwnOutcomesInOrder(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		term := leader.Term()
		const callers = 500
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				text := fmt.Sprintf("line %d", i)
				o, err := term.Propose(context.Background(), line(text))
				if err != nil || o.GetRefusal().GetMessage() != text {
					t.Errorf("%s: outcome %v, error %v", text, o, err)
				}
			})
		}
		wg.Wait()
		require.Len(t, lines(leader), callers)
		leader.Node.Read(func() {
			require.Less(t, len(leader.Machine.(*journal).entries), callers/2, "they travelled in groups")
		})
		c.RequireConverged()
	})
}

func TestGroup_KeepsTheOrderOfOneCaller(t *testing.T) {
	gates, cfg := gated()
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		g := gates[leader.Name]
		g.hold.Store(true)
		var want []string
		var wg sync.WaitGroup
		for i := range 50 {
			text := fmt.Sprint(i)
			want = append(want, text)
			wg.Go(func() {
				_, err := leader.Term().Propose(context.Background(), line(text))
				require.NoError(t, err)
			})
			synctest.Wait() // it is queued, or being sealed
		}
		g.hold.Store(false)
		<-g.at
		g.pass <- struct{}{}
		wg.Wait()
		require.Equal(t, want, lines(leader))
		leader.Node.Read(func() {
			require.Equal(t, []int{1, 49}, leader.Machine.(*journal).entries, "a lone one goes at once, the crowd behind it together")
		})
	})
}

// TestSubmit_InOrder: what one caller submits without waiting is applied in that order, whoever is waited for first, and if nobody waits.
func TestSubmit_InOrder(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		var want []string
		var waits []func() (*musterv1.Outcome, error)
		for i := range 100 {
			want = append(want, fmt.Sprint(i))
			waits = append(waits, leader.Term().Submit(context.Background(), line(want[i])))
		}
		for i := 99; i >= 0; i -= 3 {
			o, err := waits[i]()
			require.NoError(t, err)
			require.Equal(t, want[i], o.GetRefusal().GetMessage())
		}
		require.Equal(t, want, lines(leader))
	})
}

// TestGroup_WaitsForCompany: beside requests that travel go as many or none, and none wait when nobody travels.
func TestGroup_WaitsForCompany(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		leader.Node.Read(func() { leader.Machine.(*journal).entries = nil })
		c.Network.SetDelay(10 * time.Millisecond)
		var waits []func() (*musterv1.Outcome, error)
		submit := func(requests int) {
			for range requests {
				waits = append(waits, leader.Term().Submit(context.Background(), line("x")))
				synctest.Wait()
			}
		}
		submit(1) // goes alone
		submit(1) // as many as travel
		submit(2) // the first waits for the second
		submit(3) // four travel: they wait
		for _, wait := range waits {
			_, err := wait()
			require.NoError(t, err)
		}
		leader.Node.Read(func() { require.Equal(t, []int{1, 1, 2, 3}, leader.Machine.(*journal).entries) })

		submit(1)
		big := line(strings.Repeat("x", 200<<10))
		submit(1)
		full := leader.Term().Submit(context.Background(), big) // of two that travel it does not wait for another one
		synctest.Wait()
		submit(1)
		_, err := full()
		require.NoError(t, err)
		leader.Node.Read(func() { require.Equal(t, []int{1, 1, 1}, leader.Machine.(*journal).entries[4:7]) })
	})
}

func TestGroup_BoundsEntries(t *testing.T) {
	gates, cfg := gated()
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		g := gates[leader.Name]
		g.hold.Store(true)
		var wg sync.WaitGroup
		for range 9 {
			wg.Go(func() {
				_, err := leader.Term().Propose(context.Background(), line(strings.Repeat("x", 100<<10)))
				require.NoError(t, err)
			})
		}
		synctest.Wait()
		g.hold.Store(false)
		<-g.at
		g.pass <- struct{}{}
		wg.Wait()
		leader.Node.Read(func() {
			for _, n := range leader.Machine.(*journal).entries {
				require.LessOrEqual(t, n, 2, "three would be over 256 KiB")
			}
		})
		_, err := leader.Term().Propose(context.Background(), line(strings.Repeat("x", 513<<10)))
		require.ErrorIs(t, err, raftnode.ErrTooLarge)
		require.ErrorIs(t, err, raftnode.ErrNotApplied)
	})
}

func TestGroup_QueueIsBounded(t *testing.T) {
	gates, cfg := gated()
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		term := c.Leader().Term()
		g := gates["n1"]
		g.hold.Store(true)
		var full atomic.Int32
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				_, err := term.Propose(context.Background(), line(strings.Repeat("x", 128<<10)))
				if err != nil {
					require.ErrorIs(t, err, raftnode.ErrFull)
					require.ErrorIs(t, err, raftnode.ErrNotApplied)
					full.Add(1)
				}
			})
		}
		synctest.Wait()
		require.Greater(t, full.Load(), int32(100), "16 MiB wait, the rest is refused at once")
		g.hold.Store(false)
		<-g.at
		g.pass <- struct{}{}
		wg.Wait()
	})
}

func TestGroup_WithdrawnBeforeSealing(t *testing.T) {
	gates, cfg := gated()
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		g := gates[leader.Name]
		g.hold.Store(true)
		sealed, queued := make(chan error), make(chan error)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		go func() {
			_, err := leader.Term().Propose(ctx, line("being sealed"))
			sealed <- err
		}()
		<-g.at
		go func() {
			_, err := leader.Term().Propose(ctx, line("waiting"))
			queued <- err
		}()
		err := <-sealed
		require.ErrorIs(t, err, raftnode.ErrOutcomeUnknown)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		err = <-queued
		require.ErrorIs(t, err, raftnode.ErrNotApplied)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		g.hold.Store(false)
		g.pass <- struct{}{}
		write(t, c, "last")
		require.Equal(t, []string{"being sealed", "last"}, lines(leader))
	})
}

// adder seals lines of its own.
type adder struct {
	gate    *gate // may be nil
	mu      sync.Mutex
	own     []string
	settled []string
	calls   int
	rooms   []int
}

func (a *adder) Seal(e *musterv1.Entry, room int) func([]*musterv1.Outcome, error) {
	if a.gate != nil {
		a.gate.Seal(e, room)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	a.rooms = append(a.rooms, room)
	for _, text := range a.own {
		e.Commands = append(e.Commands, line(text))
	}
	a.own = nil
	return func(outcomes []*musterv1.Outcome, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.settled = append(a.settled, fmt.Sprint(err))
		for _, o := range outcomes {
			a.settled = append(a.settled, o.GetRefusal().GetMessage())
		}
	}
}

func TestGroup_SealerAddsItsOwn(t *testing.T) {
	a := &adder{}
	cfg := raftnodetest.Config{Sealer: func(*raftnodetest.Member, *raftnode.Term) raftnode.Sealer { return a }}
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		before := leader.Node.Status().LastIndex
		leader.Term().Poke()
		synctest.Wait()
		require.Equal(t, 1, a.calls)
		require.Equal(t, []string{"<nil>"}, a.settled, "nothing was added, nothing was sent")
		require.Equal(t, before, leader.Node.Status().LastIndex)

		a.own = []string{"tick"}
		leader.Term().Poke()
		c.Eventually("the sealer's own entry", func() bool { return len(lines(leader)) == 1 })
		a.own = []string{"verdict"}
		write(t, c, "report")
		synctest.Wait()
		require.Equal(t, []string{"tick", "report", "verdict"}, lines(leader), "what a Sealer adds comes last")
		require.Equal(t, []string{"<nil>", "<nil>", "tick", "<nil>", "verdict"}, a.settled)
		require.Equal(t, 256<<10, a.rooms[0])
		require.Less(t, a.rooms[2], 256<<10)
	})
}

// However many requests wait, and however great one is, a quarter of an entry is the Sealer's: liveness does not stand behind bulk.
func TestGroup_LeavesRoomForTheSealer(t *testing.T) {
	a := &adder{}
	cfg := raftnodetest.Config{Nodes: 1, Sealer: func(*raftnodetest.Member, *raftnode.Term) raftnode.Sealer {
		a.gate = newGate() // in the bubble
		return a
	}}
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		a.gate.hold.Store(true)
		leader.Term().Poke()
		<-a.gate.at
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := leader.Term().Propose(context.Background(), line(strings.Repeat("x", 10<<10)))
				require.NoError(t, err)
			})
		}
		synctest.Wait()
		a.mu.Lock()
		a.rooms = nil
		a.mu.Unlock()
		a.gate.hold.Store(false)
		a.gate.pass <- struct{}{}
		wg.Wait()
		write(t, c, strings.Repeat("y", 300<<10))
		require.Len(t, lines(leader), 101)
		a.mu.Lock()
		defer a.mu.Unlock()
		full := 0
		for _, room := range a.rooms {
			require.GreaterOrEqual(t, room, 64<<10)
			if room < 80<<10 {
				full++
			}
		}
		require.GreaterOrEqual(t, full, 5, "%v", a.rooms)
	})
}

// An entry sealed by a leadership that was lost reaches the log in another term: it is dropped, and its caller is told so.
func TestGroup_StaleSealIsDropped(t *testing.T) {
	gates, cfg := gated()
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		leader := c.Leader()
		old := leader.Term()
		g := gates[leader.Name]
		g.hold.Store(true)
		result := make(chan error)
		go func() {
			_, err := old.Propose(context.Background(), line("stale"))
			result <- err
		}()
		<-g.at // gathered and marked with the old term, not yet handed to Raft
		// A message of a later term makes it step down; alone, it is elected again in a term after that.
		stepDown(t, c, leader)
		c.Eventually("it leads in a later term", func() bool {
			s := leader.Node.Status()
			return s.Role == raftnode.RoleLeader && s.Term > old.Number()
		})
		g.hold.Store(false)
		g.pass <- struct{}{}
		err := <-result
		require.ErrorIs(t, err, raftnode.ErrNotApplied)
		require.ErrorContains(t, err, "sealed in another term")
		write(t, c, "fresh")
		require.Greater(t, leader.Term().Number(), old.Number())
		require.Equal(t, []string{"fresh"}, lines(leader))
		require.ErrorIs(t, context.Cause(old.Context()), raftnode.ErrNotLeader)
	})
}

func TestGroup_OutcomeUnknownWhenIsolated(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		old := c.Leader()
		term := old.Term()
		c.Isolate(old.Name)
		result := make(chan error)
		go func() {
			_, err := term.Propose(context.Background(), line("lost?"))
			result <- err
		}()
		synctest.Wait()
		since, flying := term.OldestInFlight()
		require.True(t, flying)
		require.WithinDuration(t, time.Now(), since, time.Second)
		require.ErrorIs(t, <-result, raftnode.ErrOutcomeUnknown)
		_, flying = term.OldestInFlight()
		require.False(t, flying)
		_, err := term.Propose(context.Background(), line("too late"))
		require.ErrorIs(t, err, raftnode.ErrNotApplied)
		require.ErrorIs(t, err, raftnode.ErrNotLeader)
		write(t, c, "by the next")
		c.Heal()
		c.RequireConverged()
		require.Equal(t, []string{"by the next"}, lines(old))
	})
}
