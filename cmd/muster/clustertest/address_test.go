package clustertest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// TestScenario_T11_UpdateSimAddress: who posts to somebody on a simulated network is told the way from its own plain address to the other's.
func TestScenario_T11_UpdateSimAddress(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		src := joinPeer(t, cl, "proc", 0, address("sim:unix:@src"))
		dst := joinPeer(t, cl, "proc", 1, address("sim:unix:@dst"))
		src.say(t, "proc[1].chat", "hello")
		require.Equal(t, []string{"proc[1] at sim:unix:@src,unix:@dst"}, src.allTold())
		require.Empty(t, dst.allTold(), "the addressee has posted nothing")
	})
}

// TestScenario_ProcAddressUpdates: a game of ping and pong of ten messages costs exactly three address updates: ping learns pong, pong
// learns ping, and whoever has the last word learns the client.
func TestScenario_ProcAddressUpdates(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		var ping, pong *peer
		player := func(to string) func(*client.MemberConfig) {
			return func(cfg *client.MemberConfig) {
				cfg.Address = fmt.Sprintf("tcp:machine:%d", cfg.Rank)
				cfg.Actors["player"] = func(_ context.Context, m client.Message) {
					if ball := m.Payload[0] - 1; ball > 0 {
						me := map[id.WorldID]*peer{"ping": ping, "pong": pong}[m.To.(id.ActorID).Proc.World]
						me.Post(client.Post{From: "player", To: to, Payload: []byte{ball}})
					} else {
						pong.post("user[0].chat", "over")
					}
				}
			}
		}
		ping, pong = joinPeer(t, cl, "ping", 0, player("pong[0].player")), joinPeer(t, cl, "pong", 0, player("ping[0].player"))
		user := joinPeer(t, cl, "user", 0, detached("tcp:machine:9"))
		ping.Post(client.Post{From: "player", To: "pong[0].player", Payload: []byte{10}})
		c.Eventually("the end", func() bool { return len(user.allHeard()) == 1 })
		time.Sleep(5 * time.Second)
		require.Equal(t, []string{"pong[0] at tcp:machine:0"}, ping.allTold())
		require.Equal(t, []string{"ping[0] at tcp:machine:0", "user[0] at tcp:machine:9"}, pong.allTold())
		require.Empty(t, user.allTold())
	})
}

// TestScenario_ProcUpdateAddressBookCache: a peer dies and comes back under the same id at a new address; who has talked to it is told, and
// the two can talk again; across a change of the leader, too.
func TestScenario_ProcUpdateAddressBookCache(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		a := joinPeer(t, c.Client(), "w", 0, address("tcp:a:1"))
		dying := c.Client()
		joinPeer(t, dying, "w", 1, address("tcp:b:1"))
		a.say(t, "w[1].chat", "one")
		require.NoError(t, dying.Close())
		next := c.Client()
		again := joinPeer(t, next, "w", 1, address("tcp:b:2"))
		c.Eventually("the update", func() bool { return len(a.allTold()) == 2 })
		require.Equal(t, client.Location{Proc: id.ProcID{World: "w", Rank: 1}, Incarnation: again.Incarnation(), Address: "tcp:b:2"}, a.lastTold())
		a.say(t, "w[1].chat", "two")
		c.Eventually("the message", func() bool { return len(again.allHeard()) == 1 })

		c.Kill(c.Leader())
		c.Leader()
		a.say(t, "w[1].chat", "three")
		require.Len(t, a.allTold(), 2, "a new leader tells nobody what it knows already")
		require.NoError(t, next.Close())
		joinPeer(t, c.Client(), "w", 1, address("tcp:b:3"))
		c.Eventually("the update of the new leader", func() bool { return len(a.allTold()) == 3 })
		require.Equal(t, id.Address("tcp:b:3"), a.lastTold().Address)
	})
}

// TestAddress_ChangedWhileNobodyLed: what changes between the death of a leader and the member's session with the next one is told by that.
func TestAddress_ChangedWhileNobodyLed(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		a := joinPeer(t, c.ClientAt("far"), "w", 0, address("tcp:a:1"))
		cl := c.Client()
		b := joinPeer(t, cl, "w", 1, address("tcp:b:1"))
		a.say(t, "w[1].chat", "hello")
		c.Network.Isolate("far")
		c.Kill(c.Leader())
		require.NoError(t, b.Leave(Within(t, Patience)))
		joinPeer(t, cl, "w", 1, address("tcp:b:2"))
		c.Network.Heal()
		c.Eventually("the update", func() bool { return len(a.allTold()) >= 2 })
		require.Equal(t, []string{"w[1] at tcp:b:1", "w[1] at tcp:b:2"}, a.allTold())
	})
}

// TestResolve_FollowsAProc: Resolve waits for an address, follows it until it is closed, and tells when a proc is gone.
func TestResolve_FollowsAProc(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := joinPeer(t, cl, "w", 0, nil)
		_, err := a.Resolve(Within(t, 3*time.Second), "w[1]")
		require.ErrorContains(t, err, "has not joined with an address")
		_, err = a.Resolve(Within(t, 3*time.Second), "w")
		require.ErrorContains(t, err, "proc id")
		type answer struct {
			route *client.Route
			err   error
		}
		answers := make(chan answer)
		go func() {
			r, err := a.Resolve(Within(t, Patience), "w[1]")
			answers <- answer{r, err}
		}()
		time.Sleep(5 * time.Second)
		b := joinPeer(t, cl, "w", 1, address("tcp:b:1"))
		got := <-answers
		require.NoError(t, got.err)
		route := got.route
		require.Equal(t, client.Location{Proc: id.ProcID{World: "w", Rank: 1}, Incarnation: b.Incarnation(), Address: "tcp:b:1"}, route.Location())
		changed := route.Changed()
		require.NoError(t, b.Leave(Within(t, Patience)))
		<-changed
		require.Equal(t, client.Location{Proc: id.ProcID{World: "w", Rank: 1}}, route.Location())
		changed = route.Changed()
		c.Kill(c.Leader())
		joinPeer(t, cl, "w", 1, address("tcp:b:2"))
		<-changed
		require.Equal(t, id.Address("tcp:b:2"), route.Location().Address)
		route.Close()
		time.Sleep(time.Second) // the leader hears of it
		told := len(a.allTold())
		joinPeer(t, cl, "w", 1, func(cfg *client.MemberConfig) { cfg.Address, cfg.TakeOver = "tcp:b:3", true })
		time.Sleep(5 * time.Second)
		require.Len(t, a.allTold(), told, "it is interested no more")
	})
}

// TestDefect_D57_OneUpdatePerContact: every relayed message had the sender told the address once more. Ours is told once, and when it
// changes.
func TestDefect_D57_OneUpdatePerContact(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := joinPeer(t, cl, "w", 0, nil)
		b := joinPeer(t, cl, "w", 1, address("tcp:b:1"))
		for i := range 50 {
			a.say(t, "w[1].chat", fmt.Sprint(i))
		}
		require.Equal(t, []string{"w[1] at tcp:b:1"}, a.allTold())
		require.Len(t, b.allHeard(), 50)
		nowhere := joinPeer(t, cl, "w", 2, nil)
		a.say(t, "w[2].chat", "hello")
		require.Len(t, nowhere.allHeard(), 1)
		require.Len(t, a.allTold(), 1, "who has no address is nothing to tell")
	})
}

// TestDefect_D58_NothingIsToldThatDidNotChange: a rejoin told everybody who had ever asked, the dead among them, even if the address was
// the same. Ours tells whoever is there and interested, and only what is new to it.
func TestDefect_D58_NothingIsToldThatDidNotChange(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a, b := joinPeer(t, cl, "w", 0, nil), joinPeer(t, cl, "w", 1, address("tcp:b:1"))
		a.say(t, "w[1].chat", "hello")
		stranger := joinPeer(t, cl, "w", 2, nil)
		for range 3 { // each elects a leader that knows nothing of what was told
			require.NoError(t, c.Leader().Node.TransferLeadership(Within(t, 10*time.Second), ""))
			time.Sleep(5 * time.Second)
		}
		require.Len(t, a.allTold(), 1)
		require.NoError(t, b.Leave(Within(t, Patience)))
		joinPeer(t, cl, "w", 1, address("tcp:b:2"))
		c.Eventually("the change", func() bool { return a.lastTold().Address == "tcp:b:2" })
		require.Empty(t, stranger.allTold())
	})
}

// TestDefect_D59_RejoinRewritesSimAddresses: the first contact was told the way between two simulated addresses, the rejoin was not. Ours
// tells it both times.
func TestDefect_D59_RejoinRewritesSimAddresses(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := joinPeer(t, cl, "w", 0, address("sim:tcp:a:1,tcp:x:1"))
		b := joinPeer(t, cl, "w", 1, address("sim:tcp:y:1,tcp:b:1"))
		a.say(t, "w[1].chat", "hello")
		require.NoError(t, b.Leave(Within(t, Patience)))
		joinPeer(t, cl, "w", 1, address("sim:tcp:b:2"))
		c.Eventually("the change", func() bool { return strings.HasSuffix(string(a.lastTold().Address), "b:2") })
		told := a.allTold()
		require.Equal(t, "w[1] at sim:tcp:a:1,tcp:b:1", told[0])
		require.Equal(t, "w[1] at sim:tcp:a:1,tcp:b:2", told[len(told)-1])
	})
}

// TestDefect_D60_OddSimAddresses: a nested simulated address brought the router down. Ours tells it as it is, and goes on.
func TestDefect_D60_OddSimAddresses(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := joinPeer(t, cl, "w", 0, address("sim:tcp:a:1"))
		for i, odd := range []string{
			"sim:sim:tcp:b:1", "sim:tcp:a:1,sim:tcp:b:1", "sim:,", "sim:tcp:b:1,", "sim:,,,", "sim:nothing", "tcp:b:1",
			"sim:unix:" + strings.Repeat("x", 247),
		} {
			rank := uint32(i + 1)
			joinPeer(t, cl, "w", rank, address(odd))
			a.say(t, fmt.Sprintf("w[%d].chat", rank), "hello")
			require.Equal(t, id.Address(odd), a.lastTold().Address)
		}
		c.RequireConverged()
	})
}

// TestDefect_D61_BackAtTheSameAddress: who had been away for as long as a message is tried, and came back at the same address, was
// unreachable for ever. Ours is reached by its session, and who is interested is told the new incarnation.
func TestDefect_D61_BackAtTheSameAddress(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 2)
		a, b := joinPeer(t, cl, "w", 0, nil), joinPeer(t, c.ClientAt("far"), "w", 1, address("tcp:b:1"))
		a.say(t, "w[1].chat", "before")
		c.Network.Isolate("far")
		before := b.Incarnation()
		requireBack(t, a.post("w[1].chat", "lost"))
		c.Eventually("the expiry", func() bool { return HealthOf(c, cl, "w", 1) == musterv1.Health_HEALTH_EXPIRED })
		time.Sleep(time.Minute)
		c.Network.Heal()
		c.Eventually("the new incarnation", func() bool { return a.lastTold().Incarnation > before })
		require.Equal(t, id.Address("tcp:b:1"), a.lastTold().Address)
		a.say(t, "w[1].chat", "after")
		heard := b.allHeard()
		require.Equal(t, "w[0].chat[0]: after", heard[len(heard)-1])
	})
}

// TestDefect_D62_UnlikePeersAreNotOne: procs that were named by their address alone compared as equal, so that the second took the
// first one's place. Ours have each a place of their own, even behind one address.
func TestDefect_D62_UnlikePeersAreNotOne(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		one, two := joinPeer(t, cl, "user", 1, detached("tcp:nat:1")), joinPeer(t, cl, "user", 2, detached("tcp:nat:1"))
		three := joinPeer(t, cl, "user", 3, detached("tcp:c:1"))
		three.say(t, "user[1].chat", "to one")
		three.say(t, "user[2].chat", "to two")
		one.say(t, "user[3].chat", "to three")
		require.Equal(t, []string{"user[3].chat[0]: to one"}, one.allHeard())
		require.Equal(t, []string{"user[3].chat[0]: to two"}, two.allHeard())
		require.Equal(t, []string{"user[1] at tcp:nat:1", "user[2] at tcp:nat:1"}, three.allTold())
		require.Equal(t, []string{"user[3] at tcp:c:1"}, one.allTold())
	})
}

// TestDefect_D63_WorldBindingBehindProcBinding: an address for a whole world was hidden by that of any one proc which sorted before. Ours is
// found for every proc that has none of its own, also for those that have not joined.
func TestDefect_D63_WorldBindingBehindProcBinding(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		createWorldWith(t, cl, &musterv1.WorldSpec{
			World: "w", Shape: &musterv1.Shape{Dims: []uint32{3}}, ProcsPerHost: 8, Address: "tcp:gateway:1",
		})
		joinPeer(t, cl, "w", 0, address("tcp:own:1"))
		one := joinPeer(t, cl, "w", 1, nil)
		for proc, want := range map[string]client.Location{
			"w[0]": {Address: "tcp:own:1"}, "w[1]": {Address: "tcp:gateway:1", Incarnation: one.Incarnation()}, "w[2]": {Address: "tcp:gateway:1"},
		} {
			route, err := one.Resolve(Within(t, Patience), proc)
			require.NoError(t, err)
			require.Equal(t, want.Address, route.Location().Address, proc)
		}
		StopWorld(t, cl, "w")
		user := joinPeer(t, cl, "user", 0, detached(""))
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_STOPPED)
		_, err := user.Resolve(Within(t, 3*time.Second), "w[1]")
		require.Error(t, err, "it went with its world")
	})
}
