package defects

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// D2: the eviction of an unhealthy world was never done; the loop that should have done it ran without a pause from then on. Here the
// world is stopped once and keeps why, and then nothing moves any more; one that shall never be evicted stays.
func TestDefect_D2_EvictionHappensOnce(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		w := clustertest.Watch(t, cl, &musterv1.WatchRequest{})
		for name, eviction := range map[string]time.Duration{"w": 20 * time.Second, "never": -1} {
			_, err := upsert(t, cl, name, 1, func(u *musterv1.UpsertWorldRequest) { u.Spec.Timeouts.EvictionNs = int64(eviction) })
			require.NoError(t, err)
			_, die := mortal(t, c, name, 0, asIs)
			die()
		}
		time.Sleep(29 * time.Second) // a lease and the timeout
		c.AwaitStatus(cl, "w", failed)
		require.Contains(t, clustertest.Condition(c, cl, "w").Reason, "evicted: unhealthy for 20s: rank 0 expired")
		number := c.View(cl).Number
		time.Sleep(3 * time.Minute)
		require.Equal(t, number, c.View(cl).Number, "something goes on and on")
		require.Equal(t, unhealthy, clustertest.StatusOf(c, cl, "never"))
		events, _ := w.End()
		require.Len(t, eventsOf(events, musterv1.Event_KIND_STOP_BEGUN), 1)
	})
}

// D3: a world that never filled up stayed unhealthy for ever without a word. Here it fails when its start timeout is over, and says what
// was missing.
func TestDefect_D3_NeverFilledUp(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		_, err := upsert(t, cl, "w", 2, func(u *musterv1.UpsertWorldRequest) { u.Spec.Timeouts.StartNs = int64(20 * time.Second) })
		require.NoError(t, err)
		m := clustertest.Join(t, cl, "w", 1)
		time.Sleep(19 * time.Second)
		c.AwaitStatus(cl, "w", failed)
		require.Contains(t, clustertest.Condition(c, cl, "w").Reason, "evicted: not Live within 20s of its creation (1 of 2 ranks healthy)")
		<-m.Done()
	})
}

// D20: whether a world had been unhealthy for long enough was asked of the wall clock, so that a step of it evicted early or late. Here
// the wall clock is written down for people and decides nothing.
func TestDefect_D20_WallClockDecidesNothing(t *testing.T) {
	for _, step := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			m := fsmtest.NewMachine()
			m.Start(nil)
			at := func(clock time.Duration, wall time.Duration, cmd *musterv1.Command) *musterv1.Outcome {
				m.ClockNs = int64(clock)
				e := m.Seal(cmd)
				e.WallMs = (clock + wall).Milliseconds()
				return m.Append(e).Outcomes[0]
			}
			generation := at(0, 0, &musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldRequest{
				Meta: &musterv1.RequestMeta{Id: clustertest.Sixteen("w")},
				Spec: &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{1}}, Timeouts: &musterv1.Timeouts{EvictionNs: int64(20 * time.Second)}},
			}}}).GetUpsertWorld().Generation
			p := at(0, 0, &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
				World: "w", Nonce: clustertest.Sixteen("nonce"), Issued: m.State.Number(),
			}}}).GetJoin().Proc
			at(11*time.Second, 0, &musterv1.Command{Body: &musterv1.Command_Expire{Expire: &musterv1.Expire{Procs: []*musterv1.ProcRef{p}}}})
			evict := &musterv1.Command{Body: &musterv1.Command_Due{Due: &musterv1.Due{
				Evictions: []*musterv1.WorldSince{{Generation: generation, SinceNs: int64(11 * time.Second)}},
			}}}
			at(31*time.Second, step, evict)
			require.Equal(t, musterv1.WorldSupervisionResponse_KNOWN_SUPERVISED, m.State.Supervision("w", false).Answer().Known, "early")
			at(31*time.Second+1, step, evict)
			require.Equal(t, musterv1.WorldSupervisionResponse_KNOWN_ENDED, m.State.Supervision("w", false).Answer().Known, "late")
		})
	}
}

// D21: who was silent when the system was started again was never missed, since nothing was kept of when he was last heard. Here the
// next leader knows: the dead proc expires when its lease and one grace are over, not later for the change.
func TestDefect_D21_NextLeaderMissesTheDead(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		joined := c.View(cl).ClockNs
		_, die := mortal(t, c, "w", 0, asIs)
		die()
		time.Sleep(8 * time.Second)
		c.Kill(c.Leader())
		c.AwaitStatus(cl, "w", unhealthy)
		since := time.Duration(clustertest.Condition(c, cl, "w").SinceNs - joined)
		require.Greater(t, since, 10*time.Second)
		require.Less(t, since, 13*time.Second)
	})
}
