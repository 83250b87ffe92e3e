package client

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// note writes down what a member says about orders.
func note(heard *timeline, message *musterv1.SessionRequest) {
	switch {
	case message.GetHello() != nil:
		heard.add("hello highest=%d", message.GetHello().GetMembers()[0].GetHighestOrder())
	case message.GetConfirm() != nil:
		heard.add("confirm %d", message.GetConfirm().GetHighestOrder())
	case message.GetStopResult() != nil:
		r := message.GetStopResult()
		heard.add("result %d %d+%d", r.GetOperation(), r.GetActorsStopped(), r.GetActorsAborted())
	}
}

// An order comes twice, and again in the next session: it is confirmed each time and done once, and its result is told in each
// session until the cluster says that the world has ended.
func TestMember_OrdersAreDoneOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		n1 := f.nodes["n1"]
		n1.admit(501)
		f.lead("n1", 100, 2, "n1")
		var heard timeline
		sessions, confirmed := 0, 0
		n1.session = func(s *fakeSession) error {
			sessions++
			second := sessions == 2
			return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
				note(&heard, message)
				switch {
				case message.GetHello() != nil:
					return errors.Join(s.stop(me(1), 690, 690), s.stop(me(501), 700, 699), s.stop(me(501), 700, 699))
				case message.GetStopResult() != nil && !second:
					return errors.New("this leader breaks")
				case message.GetConfirm() != nil:
					confirmed++
				}
				if confirmed == 4 {
					return s.verdict(me(501), musterv1.Verdict_KIND_ENDED, musterv1.Status_STATUS_STOPPED)
				}
				return nil
			})
		}
		handled := 0
		m := joinW(t, f.client(t, "n1"), MemberConfig{Handler: StopFunc(func(ctx context.Context, order *musterv1.StopOrder) StopOutcome {
			handled++
			deadline, _ := ctx.Deadline()
			require.Equal(t, 5*time.Second, time.Until(deadline))
			require.Equal(t, "enough", order.GetReason())
			time.Sleep(3 * time.Second)
			return StopOutcome{ActorsStopped: 4, ActorsAborted: 1}
		})})
		<-m.Done()
		require.Equal(t, 1, handled)
		require.Equal(t, []string{
			"hello highest=0", "confirm 700", "confirm 700", "result 699 4+1",
			"hello highest=700", "result 699 4+1", "confirm 700", "confirm 700",
		}, heard.all())
		var ended *Ended
		require.ErrorAs(t, m.Err(), &ended)
		require.Equal(t, musterv1.Status_STATUS_STOPPED, ended.Status)
	})
}

// While the program stops, the member goes on reporting; another operation is answered too, without stopping again.
func TestMember_StopDoesNotBlockReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.nodes["n1"].admit(501)
		f.lead("n1", 100, 2, "n1")
		var heard timeline
		var reports atomic.Int64
		f.nodes["n1"].session = func(s *fakeSession) error {
			return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
				note(&heard, message)
				switch seq := message.GetReport().GetSeq(); {
				case seq == 1:
					return s.stop(me(501), 700, 699)
				case seq == 2:
					return s.stop(me(501), 711, 710)
				case seq > 2:
					reports.Add(1)
				}
				return nil
			})
		}
		m := joinW(t, f.client(t, "n1"), MemberConfig{Handler: StopFunc(func(ctx context.Context, _ *musterv1.StopOrder) StopOutcome {
			<-ctx.Done()
			return StopOutcome{ActorsAborted: 1}
		})})
		time.Sleep(9 * time.Second)
		require.Equal(t, []string{"hello highest=0", "confirm 700", "confirm 711", "result 699 0+1", "result 710 0+1"}, heard.all())
		require.GreaterOrEqual(t, reports.Load(), int64(2))
		require.NoError(t, m.Leave(t.Context()))
	})
}

// Without a handler the order is confirmed and answered, and the member ends when that has come through.
func TestMember_StopWithoutHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.nodes["n1"].admit(501)
		f.lead("n1", 100, 2, "n1")
		var heard timeline
		f.nodes["n1"].session = func(s *fakeSession) error {
			return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
				note(&heard, message)
				if message.GetReport().GetSeq() == 1 {
					return s.stop(me(501), 700, 699)
				}
				return nil
			})
		}
		began := time.Now()
		m := joinW(t, f.client(t, "n1"), MemberConfig{})
		<-m.Done()
		var stopped *Stopped
		require.ErrorAs(t, m.Err(), &stopped)
		require.Equal(t, Stopped{Operation: 699, Reason: "enough"}, *stopped)
		require.Equal(t, []string{"hello highest=0", "confirm 700", "result 699 0+0"}, heard.all())
		require.Equal(t, testInterval, time.Since(began))
	})
}

// … also where its world ends with its answer, and that is heard first.
func TestMember_StopWithoutHandlerEndsTheWorld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.nodes["n1"].admit(501)
		f.lead("n1", 100, 2, "n1")
		f.nodes["n1"].session = func(s *fakeSession) error {
			return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
				switch {
				case message.GetReport().GetSeq() == 2:
					return s.stop(me(501), 700, 699)
				case message.GetStopResult() != nil:
					return s.verdict(me(501), musterv1.Verdict_KIND_ENDED, musterv1.Status_STATUS_STOPPED)
				}
				return nil
			})
		}
		m := joinW(t, f.client(t, "n1"), MemberConfig{})
		<-m.Done()
		var stopped *Stopped
		require.ErrorAs(t, m.Err(), &stopped)
	})
}

// … and when nobody says that it has come through, at the end of the time it was given.
func TestMember_StopWithoutHandlerUnacknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.nodes["n1"].admit(501)
		f.lead("n1", 100, 2, "n1")
		f.nodes["n1"].session = func(s *fakeSession) error {
			<-s.received
			return errors.Join(s.welcome(100, 2, 500), s.stop(me(501), 700, 699))
		}
		began := time.Now()
		m := joinW(t, f.client(t, "n1"), MemberConfig{})
		<-m.Done()
		var stopped *Stopped
		require.ErrorAs(t, m.Err(), &stopped)
		require.Equal(t, 5*time.Second, time.Since(began))
	})
}
