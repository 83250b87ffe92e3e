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

// A world with a label is found by no filter, by its name, by its label, and by none that says something else.
func TestScenario_T8_SnapshotFilter(t *testing.T) {
	tenfold(t, time.Second, time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		u := specOf("test_world", 1, 1)
		u.Labels = []*musterv1.Label{{Key: "foo", Value: "bar"}, {Key: "zone", Value: "1"}}
		_, err := cl.Cluster().UpsertWorld(soon(t), u)
		require.NoError(t, err)
		label := func(pairs ...string) (labels []*musterv1.Label) {
			for i := 0; i < len(pairs); i += 2 {
				labels = append(labels, &musterv1.Label{Key: pairs[i], Value: pairs[i+1]})
			}
			return labels
		}
		for _, filter := range []struct {
			worlds []string
			labels []*musterv1.Label
			found  bool
		}{
			{nil, nil, true},
			{[]string{"test_world"}, nil, true},
			{[]string{"other", "test_world"}, nil, true},
			{[]string{"unknown_world"}, nil, false},
			{nil, label("foo", "bar"), true},
			{nil, label("foo", "bar", "zone", "1"), true},
			{nil, label("foo", "baz"), false},
			{nil, label("foo", "bar", "zone", "2"), false},
			{nil, label("fo", "bar"), false},
			{[]string{"test_world"}, label("foo", "bar"), true},
			{[]string{"unknown_world"}, label("foo", "bar"), false},
		} {
			worlds := living(t, cl, &musterv1.ViewRequest{Worlds: filter.worlds, WorldLabels: filter.labels})
			require.Equal(t, filter.found, len(worlds) == 1, "%v %v", filter.worlds, filter.labels)
		}
	})
}

// A system fills up, and each view shows exactly what there is: nothing; a created world, unhealthy and empty; one proc of two with its
// label, still unhealthy, found by that label; a host, whose world waits for its creation; that world created, with the ranks of the one
// host that is there, which is host 1; with host 0 all ranks, both hosts, and Live.
func TestScenario_SystemSnapshot(t *testing.T) {
	tenfold(t, 10*time.Second, 10*time.Second, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		require.Empty(t, living(t, cl, &musterv1.ViewRequest{}))

		upsert(t, cl, "foo_world", 5, 2)
		w := onlyWorld(t, cl)
		require.Equal(t, "foo_world", w.World)
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, w.Condition.Status)
		require.Empty(t, w.Procs)

		joinWith(t, c, "foo", client.MemberConfig{World: "foo_world", Rank: 1, Labels: map[string]string{"kind": "foo"}})
		w = onlyWorld(t, cl)
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, w.Condition.Status)
		require.Equal(t, []uint32{1}, workers(w))
		require.Equal(t, "kind", w.Procs[0].Labels[0].Key)
		require.Equal(t, "foo", w.Procs[0].Labels[0].Value)
		require.Empty(t, living(t, cl, &musterv1.ViewRequest{Worlds: []string{"none"}}))
		found := living(t, cl, &musterv1.ViewRequest{ProcLabels: w.Procs[0].Labels})
		require.Len(t, found, 1)
		require.Equal(t, w.Procs[0].Proc.Incarnation, found[0].Procs[0].Proc.Incarnation)

		joinHost(t, c, "worker_world", 1)
		worlds := living(t, cl, &musterv1.ViewRequest{})
		require.Equal(t, []string{"foo_world", "worker_world"}, worldNames(worlds))
		require.Equal(t, musterv1.Status_STATUS_AWAITING_CREATION, worlds[1].Condition.Status)
		require.Equal(t, []uint32{1}, hosts(worlds[1]))
		require.Empty(t, workers(worlds[1]))

		upsert(t, cl, "worker_world", 8, 3, 4)
		time.Sleep(20 * time.Second)
		w = clustertest.WorldOf(c, cl, "worker_world")
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, w.Condition.Status)
		require.Equal(t, []uint32{8, 9, 10, 11}, workers(w))
		require.Equal(t, []uint32{1}, hosts(w))
		require.Equal(t, uint32(12), w.Wanted)
		require.Equal(t, uint32(4), w.Joined)

		joinHost(t, c, "worker_world", 0)
		time.Sleep(20 * time.Second)
		w = clustertest.WorldOf(c, cl, "worker_world")
		require.Equal(t, musterv1.Status_STATUS_LIVE, w.Condition.Status)
		require.Equal(t, []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, workers(w))
		require.Equal(t, []uint32{0, 1}, hosts(w))
		for _, p := range w.Procs {
			require.Equal(t, musterv1.Health_HEALTH_ALIVE, p.Health)
		}
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, clustertest.WorldOf(c, cl, "foo_world").Condition.Status)
	})
}

// Three worlds' procs are at their addresses; one world ends. Nobody finds its procs any more, and whoever had found one is told that it is
// gone; the procs of the others are found as before, also those of the world whose name begins with the ended one's.
func TestScenario_UnbindOfAWorld(t *testing.T) {
	tenfold(t, time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		for _, world := range []string{"mesh", "mesh1", "other"} {
			upsert(t, cl, world, 1, 2)
			for rank := range uint32(2) {
				joinWith(t, c, world+string(rune('a'+rank)), client.MemberConfig{World: world, Rank: rank, Address: "tcp:" + world})
			}
		}
		user := joinWith(t, c, "user", client.MemberConfig{World: "user", Mode: musterv1.Mode_MODE_DETACHED})
		found, err := user.Resolve(soon(t), "mesh[1]")
		require.NoError(t, err)
		require.Equal(t, "tcp:mesh", string(found.Location().Address))
		gone := found.Changed()
		_, err = cl.Cluster().WaitStop(soon(t), clustertest.StopWorld(t, cl, "mesh"))
		require.NoError(t, err)
		<-gone
		require.Empty(t, found.Location().Address)
		require.Zero(t, found.Location().Incarnation)
		for rank := range 2 {
			_, err := user.Resolve(clustertest.Within(t, time.Second), fmt.Sprintf("mesh[%d]", rank))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			for _, world := range []string{"mesh1", "other"} {
				route, err := user.Resolve(clustertest.Within(t, time.Second), fmt.Sprintf("%s[%d]", world, rank))
				require.NoError(t, err)
				require.Equal(t, "tcp:"+world, string(route.Location().Address))
			}
		}
	})
}
