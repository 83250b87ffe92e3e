package defects

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/cmd/muster/clustertest"
	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// D64: one process was the only one to ask who is there and where. Here each node answers, and any one of them may be gone.
func TestDefect_D64_AnyNodeAnswers(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		joinAs(t, cl, "w", 0, func(m *client.MemberConfig) { m.Address = "tcp:w:1" })
		c.RequireConverged()
		for _, gone := range c.Members {
			c.Kill(gone)
			c.Leader()
			for _, there := range c.Running() {
				c.Eventually("an answer of "+there.Name, func() bool {
					v, err := systemAt(c, there).View(soon(t), &musterv1.ViewRequest{})
					return err == nil && v.Worlds[0].Procs[0].Address == "tcp:w:1"
				})
			}
			c.Start(gone)
		}
	})
}

// D76: with its one process the whole of the system was gone, and with it all procs. Here a leader that dies takes nothing with it, and
// when all nodes were down the state is what it was.
func TestDefect_D76_NothingDiesWithANode(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		created := clustertest.CreateWorld(t, cl, "w", 1)
		m := clustertest.Join(t, cl, "w", 0)
		incarnation := m.Incarnation()
		unchanged := func() {
			t.Helper()
			w := clustertest.WorldOf(c, cl, "w")
			require.Equal(t, created.Generation, w.Generation)
			require.Equal(t, live, w.Condition.Status)
			require.Equal(t, incarnation, w.Procs[0].Proc.Incarnation)
			require.NoError(t, m.Err())
		}
		dead := c.Leader()
		c.Kill(dead)
		unchanged()
		for _, n := range c.Running() {
			c.Kill(n)
		}
		for _, n := range c.Members {
			c.Start(n)
		}
		unchanged()
		c.RequireConverged()
	})
}

// D79: nothing told a request that was sent again from another one. Here each has an id: sent again it has the answer that it had, and one
// that comes when that may be forgotten is refused and does nothing to what has been made since.
func TestDefect_D79_RequestsHaveIds(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		_, err := cl.Cluster().Set(soon(t), &musterv1.SetRequest{
			Changes: []*musterv1.SettingChange{{Name: "request-window", Value: int64(30 * time.Second)}},
		})
		require.NoError(t, err)
		clustertest.CreateWorld(t, cl, "w", 1)
		again := &musterv1.StopRequest{Meta: &musterv1.RequestMeta{Id: clustertest.Sixteen("stop"), Issued: c.View(cl).Number}, Worlds: []string{"w"}}
		first, err := systemAt(c, c.Leader()).Stop(soon(t), again)
		require.NoError(t, err)
		_, err = upsert(t, cl, "w", 1, func(u *musterv1.UpsertWorldRequest) { u.ReplaceEnded = true })
		require.NoError(t, err)
		c.Kill(c.Leader())
		second, err := systemAt(c, c.Leader()).Stop(soon(t), again)
		require.NoError(t, err)
		require.True(t, proto.Equal(first, second))
		time.Sleep(40 * time.Second)
		clustertest.CreateWorld(t, cl, "v", 1) // what is older than the window is forgotten
		_, err = systemAt(c, c.Leader()).Stop(soon(t), again)
		require.Equal(t, musterv1.Reason_REASON_REQUEST_TOO_OLD, clustertest.Reason(err))
		require.Equal(t, unhealthy, clustertest.StatusOf(c, cl, "w"), "the world of the second creation is there")
	})
}

// D83: much was as it was by chance: what an empty list of worlds stops, whether procs may join what nobody has created, whether a host
// is stopped with its world, which words are for programs. Here each is decided, and this is how.
func TestDefect_D83_AmbiguitiesAreDecided(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		_, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{})
		require.Equal(t, musterv1.Reason_REASON_INVALID, reasonOf(err), "an empty list is a mistake; everything is said")

		m := clustertest.Join(t, cl, "uncreated", 0)
		require.Equal(t, musterv1.Status_STATUS_AWAITING_CREATION, clustertest.StatusOf(c, cl, "uncreated"))
		require.NoError(t, m.Leave(soon(t)))
		require.Nil(t, clustertest.WorldOf(c, cl, "uncreated"), "it goes with its last member")

		a := clustertest.NewAgent().Join(t, c, "w", "a")
		clustertest.CreateGang(t, cl, "w", 1, 1, nil)
		c.AwaitStatus(cl, "w", live)
		clustertest.StopWorld(t, cl, "w")
		<-a.Member.Done()
		require.Equal(t, 1, a.Stops(), "a host is stopped with its world")

		var words []string
		for _, s := range []musterv1.Status{musterv1.Status_STATUS_AWAITING_CREATION, live, unhealthy} {
			words = append(words, fsm.StatusName(s))
		}
		require.Equal(t, []string{"Awaiting Creation", "Live", "Unhealthy"}, words)
	})
}
