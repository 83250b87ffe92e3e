package clustertest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/node"
	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// brakeEvents are the states that the brake is said to have come to, in order, each with its reason.
func brakeEvents(w *Watched) (out []string) {
	for _, e := range w.Events() {
		if e.Kind == musterv1.Event_KIND_BRAKE {
			out = append(out, e.Text)
		}
	}
	return out
}

// TestBrake_OneOfTwoHosts_NotHeld: with two hosts one that dies is half of all, and the other one then all that is left. Either is more than
// the brake's share here, and neither is what it is for: both expire when their lease is over.
func TestBrake_OneOfTwoHosts_NotHeld(t *testing.T) {
	configure := func(cfg *node.Config) {
		cfg.Settings = fsm.DefaultSettings()
		cfg.Settings.BrakePercent = 40
	}
	Bubble(t, configure, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		events := Watch(t, cl, &musterv1.WatchRequest{})
		hosts := map[string]*Agent{"a": NewAgent().Join(t, c, "w", "a"), "b": NewAgent().Join(t, c, "w", "b")}
		CreateGang(t, cl, "w", 4, 2, nil)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		time.Sleep(3 * time.Second) // the grace of the first term is over
		lease := time.Duration(fsm.DefaultSettings().Timeouts.LeaseNs)
		for _, key := range []string{"a", "b"} {
			is := func() *musterv1.ProcView {
				return ProcOf(c, cl, "w", musterv1.Role_ROLE_HOST, hosts[key].Member.Proc().Rank)
			}
			c.Network.Isolate(key)
			time.Sleep(time.Second) // what was under way has arrived
			silent := time.Duration(is().ReportAgeNs)
			time.Sleep(lease - silent - 250*time.Millisecond)
			require.Equal(t, musterv1.Health_HEALTH_ALIVE, is().Health, key)
			time.Sleep(500 * time.Millisecond)
			require.Equal(t, musterv1.Health_HEALTH_EXPIRED, is().Health, key)
		}
		require.Empty(t, brakeEvents(events))
		require.Zero(t, total(t, c, "muster_expiries_held_total"))
	})
}

// TestBrake_ReleaseSurvivesFailover: an operator lets the brake go and the leader dies before anybody has expired by that. Its heir knows what
// was decided: it does not hold the same silence back again, and whoever is silent expires.
func TestBrake_ReleaseSurvivesFailover(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		const silent, heard = 6, 2
		cl := c.Client()
		events := Watch(t, c.Client(), &musterv1.WatchRequest{})
		CreateWorld(t, cl, "w", silent+heard)
		far := c.ClientAt("far")
		for rank := range uint32(silent) {
			Join(t, far, "w", rank)
		}
		var near []*client.Member
		for rank := uint32(silent); rank < silent+heard; rank++ {
			near = append(near, Join(t, cl, "w", rank))
		}
		before := near[0].Incarnation()
		time.Sleep(5 * time.Second)
		c.Network.Isolate("far")
		c.Eventually("the brake", func() bool { return len(brakeEvents(events)) > 0 })
		time.Sleep(2500 * time.Millisecond) // all leases are over, and a grace too
		expired := func() (n int) {
			for _, p := range WorldOf(c, cl, "w").GetProcs() {
				if p.Health == musterv1.Health_HEALTH_EXPIRED {
					n++
				}
			}
			return n
		}
		require.Zero(t, expired(), "they are held back")

		leader := c.Leader()
		released, err := cl.Cluster().ReleaseAlarm(Within(t, Patience), &musterv1.ReleaseAlarmRequest{})
		c.Kill(leader)
		require.NoError(t, err)
		require.Equal(t, musterv1.Brake_STATE_RELEASED, released.GetBrake().GetState())
		heir := c.Leader()
		require.NotEqual(t, leader.Name, heir.Name)
		require.Zero(t, expired(), "the heir has to do it")
		_, state, _ := heir.Node.Status()
		require.Equal(t, musterv1.Brake_STATE_RELEASED, state.GetBrake().GetState())
		began := time.Now()
		c.Eventually("the silent to expire", func() bool { return expired() == silent })
		require.Less(t, time.Since(began), time.Duration(fsm.DefaultSettings().GraceNs)+2*time.Second, "they were held back again")

		c.Eventually("the brake to be armed", func() bool { return len(brakeEvents(events)) >= 3 })
		time.Sleep(12 * time.Second) // another lease
		var went []string
		for _, text := range brakeEvents(events) {
			to, _, _ := strings.Cut(text, ":")
			went = append(went, to)
		}
		require.Equal(t, []string{"on", "released", "armed"}, went, "%v", brakeEvents(events))
		require.Equal(t, silent, expired())
		require.NoError(t, near[0].Err())
		require.Equal(t, before, near[0].Incarnation())
		c.RequireConverged()
	})
}
