package clustertest

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// TestScenario_SystemJoin_ClientsExchangeAMessage: two attached clients, which are members of no world, exchange a message through the
// leader, whatever kind of address they have.
func TestScenario_SystemJoin_ClientsExchangeAMessage(t *testing.T) {
	for _, scheme := range []string{"tcp:127.0.0.1:%d", "unix:@client-%d", "sim:unix:@client-%d"} {
		Bubble(t, nil, func(t *testing.T, c *Cluster) {
			cl := c.Client()
			first := joinPeer(t, cl, "user", 1, detached(fmt.Sprintf(scheme, 1)))
			second := joinPeer(t, cl, "user", 2, detached(fmt.Sprintf(scheme, 2)))
			first.say(t, "user[2].chat[0]", "123")
			c.Eventually("the message", func() bool { return len(second.allHeard()) == 1 })
			require.Equal(t, []string{"user[1].chat[0]: 123"}, second.allHeard())
			require.Empty(t, c.View(cl).Worlds)
		})
	}
}

// TestRelay_LeaderKilledInTheMiddle: members post to their neighbours in a ring, and leaders die while messages and receipts are on their
// way: what each posts arrives in order, nothing is lost and nothing comes twice.
func TestRelay_LeaderKilledInTheMiddle(t *testing.T) {
	const ring, rounds, each = 6, 3, 60
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		var peers []*peer
		for rank := range uint32(ring) {
			peers = append(peers, joinPeer(t, c.Client(), "w", rank, nil))
		}
		var posted []*client.Posted
		want := make([][]string, ring)
		for round := range rounds {
			leader := c.Leader()
			for i := range each {
				for from, p := range peers {
					to, text := (from+1)%ring, fmt.Sprintf("%d of round %d", i, round)
					posted = append(posted, p.post(fmt.Sprintf("w[%d].chat", to), text))
					want[to] = append(want[to], fmt.Sprintf("w[%d].chat[0]: %s", from, text))
				}
			}
			for len(peers[0].allHeard()) < round*each+each/2 {
				runtime.Gosched() // no time passes while messages travel
			}
			c.Kill(leader)
			c.Leader()
			c.Start(leader)
			for _, p := range posted {
				require.NoError(t, p.Wait(Within(t, Patience)))
			}
		}
		synctest.Wait() // for the handlers
		for rank, p := range peers {
			require.Equal(t, want[rank], p.allHeard(), "rank %d", rank)
		}
	})
}

// TestRelay_AddresseeBlinks: a message to somebody who is cut off for less than the delivery timeout arrives, once, when it is back.
func TestRelay_AddresseeBlinks(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		a := joinPeer(t, c.Client(), "w", 0, nil)
		b := joinPeer(t, c.ClientAt("far"), "w", 1, nil)
		a.say(t, "w[1].chat", "before")
		c.Network.Isolate("far")
		posted := a.post("w[1].chat", "during")
		time.Sleep(5 * time.Second)
		select {
		case <-posted.Done():
			t.Fatalf("settled: %v", posted.Err())
		default:
		}
		c.Network.Heal()
		require.NoError(t, posted.Wait(Within(t, Patience)))
		a.say(t, "w[1].chat", "after")
		c.Eventually("all", func() bool { return len(b.allHeard()) >= 3 })
		require.Equal(t, []string{"w[0].chat[0]: before", "w[0].chat[0]: during", "w[0].chat[0]: after"}, b.allHeard())
	})
}

// TestRelay_ComesBackInTime: what cannot be delivered comes back within the delivery timeout, whoever is gone: the addressee, or all
// servers. It condemns nobody.
func TestRelay_ComesBackInTime(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := joinPeer(t, cl, "w", 0, nil)
		joinPeer(t, c.ClientAt("far"), "w", 1, nil)
		a.say(t, "w[1].chat", "are you there?")
		delivery := time.Duration(a.Timeouts().DeliveryNs)
		c.Network.Isolate("far")
		began := time.Now()
		back := requireBack(t, a.post("w[1].chat", "hello"))
		require.LessOrEqual(t, time.Since(began), delivery+100*time.Millisecond)
		require.True(t, back.MayHaveArrived, "it was handed to a session of which nothing was heard")

		before := ProcOf(c, cl, "w", musterv1.Role_ROLE_WORKER, 1).Proc.Incarnation
		for _, m := range c.Members {
			c.Kill(m)
		}
		began = time.Now()
		var posted []*client.Posted
		for i := range 100 {
			posted = append(posted, a.post("w[1].chat", fmt.Sprint(i)))
		}
		for _, p := range posted {
			back := requireBack(t, p)
			require.Equal(t, musterv1.Delivery_DELIVERY_UNANSWERED, back.Reason)
		}
		require.LessOrEqual(t, time.Since(began), delivery+100*time.Millisecond)
		require.NoError(t, a.Err(), "the sender goes on")
		for _, m := range c.Members {
			c.Start(m)
		}
		require.Equal(t, before, ProcOf(c, cl, "w", musterv1.Role_ROLE_WORKER, 1).Proc.Incarnation)
		require.NotEqual(t, musterv1.Health_HEALTH_CONNECTION_FAILURE, HealthOf(c, cl, "w", 1))
	})
}

// TestRelay_FinalReasonsComeAtOnce: what can never be delivered comes back at once, and the reason says why.
func TestRelay_FinalReasonsComeAtOnce(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		agent := NewAgent()
		agent.Join(t, c, "gang", "a")
		CreateGang(t, cl, "gang", 1, 1, keep)
		c.Eventually("the program to run", func() bool { return agent.Run(0) != nil })
		a, b := joinPeer(t, cl, "w", 0, nil), joinPeer(t, cl, "w", 1, nil)
		CreateWorld(t, cl, "over", 1)
		StopWorld(t, cl, "over")
		c.AwaitStatus(cl, "over", musterv1.Status_STATUS_STOPPED)
		for _, test := range []struct {
			post   client.Post
			reason musterv1.Delivery
			text   string
		}{
			{client.Post{To: "nowhere[0].chat"}, musterv1.Delivery_DELIVERY_UNKNOWN_WORLD, "no world nowhere"},
			{client.Post{To: "w[5].chat"}, musterv1.Delivery_DELIVERY_UNKNOWN_PROC, "w[5] has not joined"},
			{client.Post{To: "over[0].chat"}, musterv1.Delivery_DELIVERY_ENDED, "has ended (Stopped)"},
			{client.Post{To: "gang[0].chat"}, musterv1.Delivery_DELIVERY_NOT_JOINED, "program has not joined"},
			{client.Post{To: "w[1].chat", Incarnation: b.Incarnation() - 1}, musterv1.Delivery_DELIVERY_SUPERSEDED, "by now"},
			{client.Post{To: "w[1].deaf[3]"}, musterv1.Delivery_DELIVERY_NO_HANDLER, "w[1].deaf[3]"},
			{client.Post{To: "w[1].chat", Payload: make([]byte, client.MaxPayload+1)}, musterv1.Delivery_DELIVERY_TOO_LARGE, "go to its address"},
		} {
			began := time.Now()
			back := requireBack(t, a.Post(test.post))
			require.Less(t, time.Since(began), 500*time.Millisecond, "%v", back)
			require.Equal(t, test.reason, back.Reason, "%v", back)
			require.Contains(t, back.Error(), test.text)
			require.False(t, back.MayHaveArrived, "%v", back)
		}
		require.NoError(t, a.Post(client.Post{To: "w[1].chat", Payload: bytes.Repeat([]byte("x"), client.MaxPayload)}).Wait(Within(t, Patience)))
		require.ErrorContains(t, a.Post(client.Post{To: "w[1]"}).Err(), "write an actor")
		require.ErrorContains(t, a.Post(client.Post{From: "no name", To: "w[1].chat"}).Err(), "from:")
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, HealthOf(c, cl, "w", 1))
	})
}

// TestRelay_SenderJoinsAgain: a message that is on its way while its sender is expired and joins anew is still delivered once.
func TestRelay_SenderJoinsAgain(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		createWorldWith(t, cl, &musterv1.WorldSpec{
			World: "w", Shape: &musterv1.Shape{Dims: []uint32{2}}, ProcsPerHost: 8,
			Timeouts: &musterv1.Timeouts{DeliveryNs: int64(time.Minute)},
		})
		a, b := joinPeer(t, c.ClientAt("far"), "w", 0, nil), joinPeer(t, cl, "w", 1, nil)
		before := a.Incarnation()
		c.Network.Isolate("far")
		posted := a.post("w[1].chat", "late")
		c.Eventually("the expiry", func() bool { return HealthOf(c, cl, "w", 0) == musterv1.Health_HEALTH_EXPIRED })
		c.Network.Heal()
		require.NoError(t, posted.Wait(Within(t, Patience)))
		require.Greater(t, a.Incarnation(), before)
		time.Sleep(5 * time.Second)
		require.Equal(t, []string{"w[0].chat[0]: late"}, b.allHeard())
	})
}

// TestRelay_RepliesGoBack: a handler answers whom it heard.
func TestRelay_RepliesGoBack(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := joinPeer(t, cl, "w", 0, nil)
		joinPeer(t, cl, "w", 1, func(cfg *client.MemberConfig) {
			cfg.Actors["echo"] = func(ctx context.Context, m client.Message) { _ = m.Reply(m.Payload).Wait(ctx) }
		})
		a.say(t, "w[1].echo", "hello")
		c.Eventually("the echo", func() bool { return len(a.allHeard()) == 1 })
		require.Equal(t, []string{"w[1].echo[0]: hello"}, a.allHeard())
	})
}

// TestRelay_StuckHandlerIsBusy: a handler that does not return has a bounded queue; what finds no room comes back in time, and the
// stuck member goes on reporting.
func TestRelay_StuckHandlerIsBusy(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := joinPeer(t, cl, "w", 0, nil)
		b := joinPeer(t, cl, "w", 1, func(cfg *client.MemberConfig) {
			cfg.Actors["stuck"] = func(ctx context.Context, _ client.Message) { <-ctx.Done() }
		})
		var posted []*client.Posted
		for range 300 {
			posted = append(posted, a.Post(client.Post{To: "w[1].stuck"}))
		}
		arrived := 0
		for _, p := range posted {
			if <-p.Done(); p.Err() == nil {
				arrived++
				continue
			}
			require.Equal(t, musterv1.Delivery_DELIVERY_BUSY, requireBack(t, p).Reason)
		}
		require.Equal(t, 257, arrived, "one is being handled, 256 wait")
		time.Sleep(30 * time.Second)
		require.NoError(t, b.Err())
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, HealthOf(c, cl, "w", 1))
	})
}

func createWorldWith(t *testing.T, cl *client.Client, spec *musterv1.WorldSpec) {
	t.Helper()
	_, err := cl.Cluster().UpsertWorld(Within(t, Patience), &musterv1.UpsertWorldRequest{Spec: spec})
	require.NoError(t, err)
}
