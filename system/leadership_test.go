package system

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/system/clock"
)

// TestTick_OnlyWhileSomethingDependsOnTheClock: a leader with nothing to seal keeps the clock in the log while there are deadlines.
func TestTick_OnlyWhileSomethingDependsOnTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		l := f.lead()
		time.Sleep(time.Second)
		l.tick()
		e, _ := f.seal()
		require.Empty(t, e.Commands)
		f.member(t, 0)
		time.Sleep(quiet)
		l.clock.Step()
		l.tick()
		e, _ = f.seal()
		require.NotNil(t, e.Commands[0].GetTick())
		require.Equal(t, l.clock.NowNs(), f.machine.State.ClockNs())
		l.tick()
		e, _ = f.seal()
		require.Empty(t, e.Commands, "not again so soon")
	})
}

// TestHolderGone: another key may have the rank at once when the leader has seen the holder's session end, and not before.
func TestHolderGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, sessions, sys := newFake(t, nil)
		l := f.lead()
		holder := f.member(t, 0)
		ask := func() *musterv1.Outcome {
			out, err := sys.Join(t.Context(), &musterv1.JoinRequest{
				World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: 0, Key: "other", Machine: "o",
				Nonce: []byte(fmt.Sprintf("other-%010d", f.machine.State.Number())), Issued: f.machine.State.Number(),
				HolderGone: holder.Incarnation, // what a client claims does not count
			})
			require.NoError(t, err)
			return out
		}
		require.Equal(t, musterv1.Reason_REASON_ALREADY_EXISTS, ask().GetRefusal().GetReason(), "it has only just joined")
		for l.clock.NowNs() <= l.graceNs {
			time.Sleep(25 * time.Millisecond)
			l.clock.Step()
		}
		require.Equal(t, musterv1.Reason_REASON_ALREADY_EXISTS, ask().GetRefusal().GetReason(), "it may still say hello")
		s, _, _ := open(t, f, holder)
		sessions.attached[identityOf(holder)] = true
		require.Equal(t, musterv1.Reason_REASON_ALREADY_EXISTS, ask().GetRefusal().GetReason(), "its session is open")
		delete(sessions.attached, identityOf(holder))
		s.Close(s.members)
		require.NotNil(t, ask().GetJoin())
	})
}

// TestHolderGone_NeverCame: whoever is from before this term and has not come within its grace is gone, too.
func TestHolderGone_NeverCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		f.lead()
		holder := f.member(t, 0)
		f.machine.Start(nil)
		l := f.lead()
		j := &musterv1.JoinRequest{World: "w", Role: musterv1.Role_ROLE_WORKER}
		require.Zero(t, l.holderGone(j), "it has the grace to come")
		for l.clock.NowNs() <= l.graceNs {
			time.Sleep(25 * time.Millisecond)
			l.clock.Step()
		}
		require.Equal(t, holder.Incarnation, l.holderGone(j))
	})
}

// TestDeliver_DueOrders: a stop makes orders due, which go to the sessions; a session that comes later gets them with its hello.
func TestDeliver_DueOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, sessions, sys := newFake(t, nil)
		l := f.lead()
		p := f.member(t, 0)
		go l.orders.Run(f.ctx, l.deliver)
		_, err := sys.Stop(t.Context(), &musterv1.StopRequest{Meta: &musterv1.RequestMeta{Id: make([]byte, 16)}, Worlds: []string{"w"}})
		require.NoError(t, err)
		synctest.Wait()
		require.Len(t, sessions.orders, 1)
		s, _, _ := open(t, f, p)
		s.DeliverOrders()
		synctest.Wait()
		require.Len(t, sessions.orders, 2, "not confirmed yet: again")
		_, err = s.Answer(t.Context(), &musterv1.Answers{Answers: []*musterv1.Answer{{Body: &musterv1.Answer_Confirm{
			Confirm: &musterv1.Confirm{Proc: p, HighestOrder: sessions.orders[0].Id},
		}}}})
		require.NoError(t, err)
		again, _, _ := open(t, f, p)
		again.DeliverOrders()
		synctest.Wait()
		require.Len(t, sessions.orders, 2, "confirmed")
		f.cancel()
	})
}

// TestHello_LargeIsSplit: an agent with many members says hello in one message and in several entries.
func TestHello_LargeIsSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		f.lead()
		h := &musterv1.Hello{Owner: "agent", Epoch: f.machine.State.Epoch()}
		h.Members = append(h.Members, &musterv1.HelloMember{Proc: f.member(t, 0)})
		for rank := range uint32(20000) {
			h.Members = append(h.Members, &musterv1.HelloMember{Proc: &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank + 1, Incarnation: 7}})
		}
		s, err := f.sys.Attach(func(uint64) {}, func([]*musterv1.Verdict) {})
		require.NoError(t, err)
		before := len(f.machine.Log)
		verdicts, speaksFor, _, err := s.Hello(t.Context(), h)
		require.NoError(t, err)
		require.Len(t, verdicts, 20000)
		require.Len(t, speaksFor, 1)
		require.Greater(t, len(f.machine.Log)-before, 1)
		for _, l := range f.machine.Log {
			require.Less(t, len(l.Entry), 128<<10)
		}
	})
}

// TestHello_Ranks: ranks are said behind the members, each part tells who speaks, and the ranks that run are held, judged ones apart.
func TestHello_Ranks(t *testing.T) {
	h := &musterv1.Hello{Owner: "agent", Epoch: 5, Members: []*musterv1.HelloMember{
		{Proc: &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_HOST, Incarnation: 9}, Held: []byte{0, 40}},
	}}
	for rank := range uint32(40) {
		h.Ranks = append(h.Ranks, &musterv1.HeldRank{
			Proc: &musterv1.ProcRef{World: "w", Rank: rank}, Order: 10, Exit: &musterv1.Exit{LastLines: strings.Repeat("x", 4000)},
		})
	}
	parts := splitHello(h)
	require.Greater(t, len(parts), 2)
	var ranks []*musterv1.HeldRank
	for i, part := range parts {
		require.Equal(t, "agent", part.Owner)
		require.Equal(t, uint64(5), part.Epoch)
		require.Equal(t, i == 0, len(part.Members) == 1)
		require.LessOrEqual(t, proto.Size(part), maxHello+64)
		ranks = append(ranks, part.Ranks...)
	}
	require.Equal(t, h.Ranks, ranks)
}

// TestHello_HoldsRanksThatRun, and those that have expired, which are joined again: not those that ended or must not run.
func TestHello_HoldsRanksThatRun(t *testing.T) {
	rank := func(n uint32) *musterv1.ProcRef { return &musterv1.ProcRef{World: "w", Rank: n} }
	verdict := func(n uint32, kind musterv1.Verdict_Kind) *musterv1.Verdict {
		return &musterv1.Verdict{Proc: rank(n), HeldOrder: 10, Kind: kind}
	}
	h := &musterv1.Hello{Ranks: []*musterv1.HeldRank{
		{Proc: rank(0), Order: 10}, {Proc: rank(1), Order: 10, Exit: &musterv1.Exit{}}, {Proc: rank(2), Order: 10}, {Proc: rank(3), Order: 10},
		{Proc: rank(4), Order: 10}, {Proc: rank(4), Order: 12},
	}}
	verdicts := []*musterv1.Verdict{
		verdict(2, musterv1.Verdict_KIND_EXPIRED), verdict(3, musterv1.Verdict_KIND_UNKNOWN), verdict(4, musterv1.Verdict_KIND_SUPERSEDED),
		{Proc: rank(0), Kind: musterv1.Verdict_KIND_SUPERSEDED}, // a program that speaks for itself
	}
	_, held := accepted(h, verdicts)
	var orders []string
	for _, r := range held {
		orders = append(orders, fmt.Sprintf("%d by %d", r.Proc.Rank, r.Order))
	}
	require.Equal(t, []string{"0 by 10", "2 by 10", "4 by 12"}, orders)
}

// TestWatch_NoticesTheDeadInTime: whatever the moment of its last report, a member is expired at most maxDetection behind its lease: the
// report waited for company, the clock had its step to make, and deadlines their round.
func TestWatch_NoticesTheDeadInTime(t *testing.T) {
	const maxDetection = 30 * time.Millisecond
	for offset := time.Duration(0); offset < 30*time.Millisecond; offset += 3 * time.Millisecond {
		t.Run(offset.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, _, _ := newFake(t, nil)
				f.auto = true
				l := f.lead()
				p := f.member(t, 0)
				s, _, _ := open(t, f, p)
				ended := make(chan struct{})
				go func() { defer close(ended); l.run() }()
				time.Sleep(time.Second + offset)
				require.NoError(t, s.Report(alive(1, 0)))
				lease := time.Duration(fsm.DefaultSettings().Timeouts.LeaseNs)
				time.Sleep(lease - clock.Interval)
				health := func() (now musterv1.Health) {
					f.Read(func(s *fsm.State) { now = s.Supervision("w", true).Answer().Procs[0].Health })
					return now
				}
				require.Equal(t, musterv1.Health_HEALTH_ALIVE, health(), "not within its lease, but for the clock's last step")
				time.Sleep(clock.Interval + maxDetection)
				synctest.Wait()
				require.Equal(t, musterv1.Health_HEALTH_EXPIRED, health())
				f.cancel()
				<-ended
			})
		})
	}
}
