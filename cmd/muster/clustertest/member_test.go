package clustertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/node"
	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// TestMember_CutOffComesBack: a process that is cut off for longer than its lease is expired, and when it is back it joins anew by
// itself; its program goes on all the while.
func TestMember_CutOffComesBack(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 1)
		far := c.ClientAt("far")
		rejoined := make(chan *musterv1.ProcRef, 1)
		m, err := far.Join(Within(t, Patience), client.MemberConfig{
			World: "w", Key: "far", Machine: "far", OnRejoin: func(p *musterv1.ProcRef) { rejoined <- p },
		})
		require.NoError(t, err)
		before := m.Incarnation()
		time.Sleep(5 * time.Second)
		c.Network.Isolate("far")
		c.Eventually("the expiry", func() bool { return Condition(c, cl, "w").Status == musterv1.Status_STATUS_UNHEALTHY })
		require.Contains(t, Condition(c, cl, "w").Reason, "rank 0 expired on far")
		require.Negative(t, time.Until(m.Lease()), "it knows that its lease is over")
		c.Network.Heal()
		p := <-rejoined
		require.Greater(t, p.Incarnation, before)
		require.NoError(t, m.Err())
		c.Eventually("Live", func() bool { return Condition(c, cl, "w").Status == musterv1.Status_STATUS_LIVE })
	})
}

// TestMember_CutOffIsReplaced: if somebody else has taken the rank meanwhile, the old process learns that it is superseded and ends;
// it does not push its successor out.
func TestMember_CutOffIsReplaced(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 1)
		far := c.ClientAt("far")
		old, err := far.Join(Within(t, Patience), client.MemberConfig{World: "w", Key: "far", Machine: "far"})
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		c.Network.Isolate("far")
		c.Eventually("the expiry", func() bool { return Condition(c, cl, "w").Status == musterv1.Status_STATUS_UNHEALTHY })
		fresh := Join(t, cl, "w", 0)
		c.Network.Heal()
		<-old.Done()
		var ended *client.Ended
		require.True(t, errors.As(old.Err(), &ended), "%v", old.Err())
		require.Equal(t, musterv1.Verdict_KIND_SUPERSEDED, ended.Kind)
		time.Sleep(20 * time.Second)
		require.NoError(t, fresh.Err())
		require.Equal(t, musterv1.Status_STATUS_LIVE, Condition(c, cl, "w").Status)
	})
}

// TestMember_StopIsToldOnce: a stopped world's members are told once each, answer, and the world ends at once with the last of them,
// though the leader dies on the way.
func TestMember_StopIsToldOnce(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 3)
		told := make(chan uint32, 16)
		var members []*client.Member
		for rank := range uint32(3) {
			m, err := cl.Join(Within(t, Patience), client.MemberConfig{World: "w", Rank: rank, Key: "k", Machine: "m", Handler: StopTold{rank, told}})
			require.NoError(t, err)
			members = append(members, m)
		}
		r, err := cl.Cluster().Stop(Within(t, Patience), &musterv1.StopRequest{Worlds: []string{"w"}, Reason: "enough"})
		require.NoError(t, err)
		require.Equal(t, musterv1.WorldStop_RESULT_STOPPING, r.Worlds[0].Result)
		c.Kill(c.Leader())
		c.Eventually("the end", func() bool { return Condition(c, cl, "w").Status == musterv1.Status_STATUS_STOPPED })
		for _, m := range members {
			<-m.Done()
		}
		require.Len(t, told, 3, "each rank was told once")
		require.Equal(t, "enough", Condition(c, cl, "w").Reason)
	})
}

// TestMember_LeaveIsNotAFailure: who leaves is missing, not unhealthy, and nobody waits for it.
func TestMember_LeaveIsNotAFailure(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 2)
		a, _ := Join(t, cl, "w", 0), Join(t, cl, "w", 1)
		c.Eventually("Live", func() bool { return Condition(c, cl, "w").Status == musterv1.Status_STATUS_LIVE })
		require.NoError(t, a.Leave(Within(t, Patience)))
		require.NoError(t, a.Err())
		require.Equal(t, "rank 0 left", Condition(c, cl, "w").Reason)
		require.Len(t, c.View(cl).Worlds[0].Procs, 1)
	})
}

// TestMember_Orphans: a member that reaches no leader goes on for ever; where the settings say so, only until the orphan timeout after it
// was last heard, and its program is asked to end first.
func TestMember_Orphans(t *testing.T) {
	for _, stops := range []bool{false, true} {
		t.Run(fmt.Sprint("orphan-stop ", stops), func(t *testing.T) {
			settings := fsm.DefaultSettings()
			settings.OrphanStop, settings.OrphanNs = stops, int64(time.Minute)
			Bubble(t, func(cfg *node.Config) { cfg.Settings = settings }, func(t *testing.T, c *Cluster) {
				cl := c.Client()
				CreateWorld(t, cl, "w", 2)
				plain := Join(t, cl, "w", 0)
				told := make(chan uint32, 1)
				handled, err := cl.Join(Within(t, Patience), client.MemberConfig{World: "w", Rank: 1, Key: "k", Machine: "m", Handler: StopTold{1, told}})
				require.NoError(t, err)
				time.Sleep(5 * time.Second)
				for _, m := range c.Members {
					c.Kill(m)
				}
				time.Sleep(55 * time.Second)
				require.NoError(t, errors.Join(plain.Err(), handled.Err()))
				time.Sleep(10 * time.Minute)
				if !stops {
					require.NoError(t, errors.Join(plain.Err(), handled.Err()))
					require.Empty(t, told)
					return
				}
				var orphaned *client.Orphaned
				for _, m := range []*client.Member{plain, handled} {
					<-m.Done()
					require.ErrorAs(t, m.Err(), &orphaned)
					require.InDelta(t, time.Minute.Seconds(), orphaned.Silent.Seconds(), 1)
				}
				require.Equal(t, uint32(1), <-told)
			})
		})
	}
}

// slow takes all the time that it is given to stop.
type slow struct{ told chan time.Duration }

func (s slow) Stop(ctx context.Context, order *musterv1.StopOrder) client.StopOutcome {
	s.told <- time.Duration(order.GetProcTimeoutNs())
	<-ctx.Done()
	return client.StopOutcome{}
}

// TestStop_ShorterIsToldAgain: a stop without a timeout gives procs their world's own; a shorter one that meets it is told to who has been
// told already, and cuts its time.
func TestStop_ShorterIsToldAgain(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		_, err := cl.Cluster().UpsertWorld(t.Context(), &musterv1.UpsertWorldRequest{Spec: &musterv1.WorldSpec{
			World: "w", Shape: &musterv1.Shape{Dims: []uint32{1}}, ProcsPerHost: 8, Timeouts: &musterv1.Timeouts{ProcTimeoutNs: int64(5 * time.Minute)},
		}})
		require.NoError(t, err)
		told := make(chan time.Duration, 2)
		m, err := cl.Join(Within(t, Patience), client.MemberConfig{World: "w", Key: "k", Machine: "m", Handler: slow{told}})
		require.NoError(t, err)
		began := time.Now()
		stop := func(timeout time.Duration) {
			_, err := cl.Cluster().Stop(t.Context(), &musterv1.StopRequest{Worlds: []string{"w"}, ProcTimeoutNs: int64(timeout)})
			require.NoError(t, err)
		}
		stop(0)
		require.Equal(t, 5*time.Minute, <-told)
		time.Sleep(10 * time.Second)
		stop(2 * time.Second)
		<-m.Done()
		require.InDelta(t, 12, time.Since(began).Seconds(), 1)
		require.Empty(t, told, "the program is asked once")
	})
}
