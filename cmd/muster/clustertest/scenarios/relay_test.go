package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// The whole system is gone while a proc posts a hundred messages. Each of them comes back to it within the delivery timeout, and the proc
// itself goes on as if nothing had been: when the system is there again it is the same member, and can post.
func TestScenario_ProcUndeliverableMessageReturn(t *testing.T) {
	tenfold(t, 2*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		got := make(chan string, 200)
		joinWith(t, c, "addressee", client.MemberConfig{World: "world", Rank: 1, Actors: map[string]client.MessageHandler{
			"pong": func(_ context.Context, m client.Message) { got <- string(m.Payload) },
		}})
		sender := joinWith(t, c, "sender", client.MemberConfig{World: "world", Rank: 0})
		incarnation := sender.Incarnation()
		for _, m := range c.Members {
			c.Kill(m)
		}
		began := time.Now()
		var posted []*client.Posted
		for i := range 100 {
			posted = append(posted, sender.Post(client.Post{From: "ping", To: "world[1].pong", Payload: fmt.Append(nil, i)}))
		}
		for _, p := range posted {
			<-p.Done()
			var back *client.Undeliverable
			require.ErrorAs(t, p.Err(), &back)
			require.Equal(t, "world[1].pong[0]", back.To)
		}
		require.Less(t, time.Since(began), 21*time.Second)
		require.Empty(t, got)
		require.NoError(t, sender.Err())
		for _, m := range c.Members {
			c.Start(m)
		}
		require.NoError(t, sender.Post(client.Post{To: "world[1].pong", Payload: []byte("again")}).Wait(soon(t)))
		require.Equal(t, "again", <-got)
		require.Equal(t, incarnation, sender.Incarnation())
		cl := c.Client()
		for rank := range uint32(2) {
			require.Equal(t, musterv1.Health_HEALTH_ALIVE, clustertest.HealthOf(c, cl, "world", rank), "nobody is condemned for it")
		}
	})
}

// Two players on a simulated network toss a ball ten times, each way with its own latency. The game takes as long as its ten ways do, and
// each player has been told once which way leads from it to the other.
func TestScenario_SimPingPong(t *testing.T) {
	tenfold(t, 2*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		over := make(chan time.Time, 1)
		told := make(chan string, 20)
		join := func(name string, latency time.Duration) *client.Member {
			return joinWith(t, c, name, client.MemberConfig{
				World: name, Address: "sim:unix:@" + name,
				Actors: map[string]client.MessageHandler{"player": func(_ context.Context, m client.Message) {
					time.Sleep(latency) // of the way that the ball has come
					if left := m.Payload[0] - 1; left > 0 {
						m.Reply([]byte{left})
						return
					}
					over <- time.Now()
				}},
				OnAddress: func(at client.Location) { told <- fmt.Sprintf("%s: %s", name, at.Address) },
			})
		}
		ping := join("ping", 500*time.Millisecond)
		join("pong", 200*time.Millisecond)
		began := time.Now()
		ping.Post(client.Post{From: "player", To: "pong[0].player", Payload: []byte{10}})
		took := (<-over).Sub(began)
		require.InDelta(t, 5*(500+200)*time.Millisecond, took, float64(100*time.Millisecond))
		time.Sleep(time.Second)
		close(told)
		var all []string
		for one := range told {
			all = append(all, one)
		}
		require.Equal(t, []string{"ping: sim:unix:@ping,unix:@pong", "pong: sim:unix:@pong,unix:@ping"}, all)
	})
}
