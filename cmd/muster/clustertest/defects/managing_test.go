package defects

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

const (
	running       = musterv1.Phase_PHASE_RUNNING
	systemStopped = musterv1.Phase_PHASE_STOPPED
)

func managing(m *client.MemberConfig) { m.Mode = musterv1.Mode_MODE_MANAGING_SYSTEM }

// D13: a proc that manages the system had an effect only if somebody had created a world of its name, too. Here its death stops the system
// by itself.
func TestDefect_D13_ManagingWithoutACreatedWorld(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		_, die := mortal(t, c, "boss", 0, managing)
		require.Equal(t, running, phase(t, c, cl))
		die()
		time.Sleep(9 * time.Second)
		c.Eventually("the end of the system", func() bool { return phase(t, c, cl) == systemStopped })
	})
}

// D14: a proc that manages the system sent no heartbeats, so that it was taken for dead and ended the system. Here it reports as others do.
func TestDefect_D14_ManagingReports(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		boss := joinAs(t, cl, "boss", 0, managing)
		incarnation := boss.Incarnation()
		time.Sleep(time.Minute)
		require.Equal(t, running, phase(t, c, cl))
		require.Equal(t, incarnation, boss.Incarnation())
		require.Less(t, time.Duration(clustertest.ProcOf(c, cl, "boss", worker, 0).ReportAgeNs), 3*time.Second)
	})
}

// D15: as long as a dead proc that managed the system was known, each look at it stopped everything anew. Here its death stops the
// system once.
func TestDefect_D15_ManagingStopsOnce(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		w := clustertest.Watch(t, cl, &musterv1.WatchRequest{
			Kinds: []musterv1.Event_Kind{musterv1.Event_KIND_STOP_BEGUN, musterv1.Event_KIND_PHASE},
		})
		told := make(chan struct{}, 8)
		joinAs(t, cl, "w", 0, func(m *client.MemberConfig) { m.Handler = slow(told, 20*time.Second) })
		_, die := mortal(t, c, "boss", 0, managing)
		die()
		time.Sleep(35 * time.Second)
		c.Eventually("the end of the system", func() bool { return phase(t, c, cl) == systemStopped })
		events, _ := w.End()
		require.Len(t, events, 3, "a stop, and two changes of the phase: %v", events)
		require.Len(t, told, 1)
	})
}

// D24: nothing said whether a proc that manages the system and lives, with failed actors, ends it. Here it does not: its world is
// unhealthy, and only the proc's own death stops the system.
func TestDefect_D24_FailedActorsOfManagingStopNothing(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "boss", 1)
		boss := joinAs(t, cl, "boss", 0, managing)
		fails(t, boss, "loader", "disk gone")
		c.AwaitStatus(cl, "boss", unhealthy)
		time.Sleep(20 * time.Second)
		require.Equal(t, running, phase(t, c, cl))
		require.NoError(t, boss.Err())
	})
}
