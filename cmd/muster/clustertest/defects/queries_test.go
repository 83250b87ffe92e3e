package defects

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// D1: a filter by a label of procs ended at the first proc without it, in no order, and listed worlds in which nobody matched. Here
// it gives all that match, by rank, and leaves worlds without a match out when asked to.
func TestDefect_D1_LabelFilterFindsAll(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 6)
		clustertest.CreateWorld(t, cl, "empty", 1)
		for rank := range uint32(6) {
			joinAs(t, cl, "w", rank, func(m *client.MemberConfig) { m.Labels = map[string]string{"color": []string{"blue", "red"}[rank%2]} })
		}
		red := &musterv1.ViewRequest{ProcLabels: []*musterv1.Label{{Key: "color", Value: "red"}}, OmitEmpty: true}
		v, err := cl.Cluster().View(soon(t), red)
		require.NoError(t, err)
		require.Len(t, v.Worlds, 1)
		var ranks []uint32
		for _, p := range v.Worlds[0].Procs {
			ranks = append(ranks, p.Proc.Rank)
		}
		require.Equal(t, []uint32{1, 3, 5}, ranks)
		red.OmitEmpty = false
		v, err = cl.Cluster().View(soon(t), red)
		require.NoError(t, err)
		require.Len(t, v.Worlds, 2)
	})
}

// D4: what a query of the world said lagged behind what a query of its health said. Here both read one state: a world is Live exactly
// while nobody in it is unhealthy, whichever is asked.
func TestDefect_D4_StatusAndHealthAgree(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 2)
		clustertest.Join(t, cl, "w", 0)
		_, die := mortal(t, c, "w", 1, asIs)
		die()
		for seen := live; seen != unhealthy; time.Sleep(20 * time.Millisecond) {
			s, err := cl.Cluster().WorldSupervision(soon(t), &musterv1.WorldSupervisionRequest{World: "w"})
			require.NoError(t, err)
			require.Equal(t, s.Condition.Status == live, len(s.Procs) == 0, "%v", s)
			w := clustertest.WorldOf(c, cl, "w")
			require.Equal(t, w.Condition.Status == live, w.Procs[0].Health == alive && w.Procs[1].Health == alive, "%v", w)
			seen = w.Condition.Status
		}
	})
}

// D17: "unknown", "not supervised" and "gone" were one answer, and only failures were told. Here each has a name of its own, and who is
// healthy is told when asked for.
func TestDefect_D17_SupervisionSaysWhatIsKnown(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		for _, name := range []string{"w", "empty", "ended"} {
			clustertest.CreateWorld(t, cl, name, 1)
		}
		clustertest.Join(t, cl, "w", 0)
		clustertest.StopWorld(t, cl, "ended")
		for name, want := range map[string]musterv1.WorldSupervisionResponse_Known{
			"nothing": musterv1.WorldSupervisionResponse_KNOWN_UNKNOWN,
			"empty":   musterv1.WorldSupervisionResponse_KNOWN_NO_SUPERVISION,
			"ended":   musterv1.WorldSupervisionResponse_KNOWN_ENDED,
			"w":       musterv1.WorldSupervisionResponse_KNOWN_SUPERVISED,
		} {
			s, err := cl.Cluster().WorldSupervision(soon(t), &musterv1.WorldSupervisionRequest{World: name})
			require.NoError(t, err)
			require.Equal(t, want, s.Known, name)
			require.Empty(t, s.Procs)
		}
		s, err := cl.Cluster().WorldSupervision(soon(t), &musterv1.WorldSupervisionRequest{World: "w", All: true})
		require.NoError(t, err)
		require.Len(t, s.Procs, 1)
		require.NotZero(t, s.Number)
	})
}

// D22: each query of a world's health copied what was known of every proc in it. Here an answer costs what it tells.
func TestDefect_D22_AnswerCostsWhatItTells(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Start(nil)
	const procs = 5000
	m.Apply(&musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldRequest{
		Meta: &musterv1.RequestMeta{Id: clustertest.Sixteen("w")},
		Spec: &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{procs}}, ProcsPerHost: 8},
	}}})
	var joins []*musterv1.Command
	for rank := range uint32(procs) {
		joins = append(joins, &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
			World: "w", Rank: rank, Key: "k", Nonce: clustertest.Sixteen("nonce"), Issued: m.State.Number(),
		}}})
	}
	m.Apply(joins...)
	require.Equal(t, live, m.State.Supervision("w", false).Answer().Condition.Status)
	require.Less(t, testing.AllocsPerRun(10, func() { m.State.Supervision("w", false).Answer() }), 100.0)
}

// D23: whoever wanted to know had to ask again and again. Here a watch tells what happens when it happens, from a number on.
func TestDefect_D23_ExpiryIsTold(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		w := clustertest.Watch(t, cl, &musterv1.WatchRequest{Worlds: []string{"w"}})
		_, die := mortal(t, c, "w", 0, asIs)
		die()
		died := time.Now()
		c.Eventually("the expiry to be told", func() bool { return len(eventsOf(w.Events(), musterv1.Event_KIND_PROC_EXPIRED)) == 1 })
		require.Less(t, time.Since(died), 11*time.Second, "a lease is 10 s")
		statuses := eventsOf(w.Events(), musterv1.Event_KIND_WORLD_STATUS)
		require.Equal(t, []musterv1.Status{live, unhealthy}, []musterv1.Status{statuses[0].Status, statuses[1].Status})
		_, _ = w.End()
	})
}

// D78: all of it was one answer without pages, and every queue was without an end. Here an answer comes in pages, and a table that is
// full refuses what is new and says so.
func TestDefect_D78_PagesAndBounds(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 7)
		for rank := range uint32(7) {
			clustertest.Join(t, cl, "w", rank)
		}
		q := &musterv1.ViewRequest{PageSize: 3}
		var sizes []int
		for more := true; more; more = q.PageToken != "" {
			page, err := cl.Cluster().View(soon(t), q)
			require.NoError(t, err)
			for _, w := range page.Worlds {
				sizes = append(sizes, len(w.Procs))
			}
			q.PageToken = page.NextPageToken
		}
		require.Equal(t, []int{3, 3, 1}, sizes)

		_, err := cl.Cluster().Set(soon(t), &musterv1.SetRequest{Changes: []*musterv1.SettingChange{{Name: "request-table", Value: 2}}})
		require.NoError(t, err)
		system := systemAt(c, c.Leader())
		_, err = system.UpsertWorld(soon(t), &musterv1.UpsertWorldRequest{
			Meta: &musterv1.RequestMeta{Id: clustertest.Sixteen("one too many"), Issued: c.View(cl).Number},
			Spec: &musterv1.WorldSpec{World: "v", Shape: &musterv1.Shape{Open: true}},
		})
		require.Equal(t, musterv1.Reason_REASON_FULL, clustertest.Reason(err))
		require.Equal(t, live, clustertest.StatusOf(c, cl, "w"), "what is there goes on")
	})
}
