package defects

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// D39: one request that made no sense ended the system: a second creation, a host that came back, a name, a number of procs. Here each
// is refused or done, and the same leader leads in the same term.
func TestDefect_D39_NoRequestEndsANode(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 2)
		leader := c.Leader()
		_, term, _ := leader.Node.System().Leading()
		for what, change := range map[string]func(*musterv1.UpsertWorldRequest){
			"another shape":        func(u *musterv1.UpsertWorldRequest) { u.Spec.Shape.Dims = []uint32{3} },
			"no shape":             func(u *musterv1.UpsertWorldRequest) { u.Spec.World, u.Spec.Shape = "x", nil },
			"no procs per host":    func(u *musterv1.UpsertWorldRequest) { u.Spec.World, u.Spec.ProcsPerHost = "x", 0 },
			"a world without name": func(u *musterv1.UpsertWorldRequest) { u.Spec.World = "" },
			"no procs":             func(u *musterv1.UpsertWorldRequest) { u.Spec.World, u.Spec.Shape.Dims = "x", []uint32{0} },
			"more than there are": func(u *musterv1.UpsertWorldRequest) {
				u.Spec.World, u.Spec.Shape.Dims = "x", []uint32{1 << 31, 1 << 31}
			},
		} {
			_, err := upsert(t, cl, "w", 2, change)
			require.NotNil(t, client.RefusalOf(err), what)
		}
		for _, world := range []string{"hostile", "host"} {
			clustertest.CreateWorld(t, cl, world, 1)
		}
		clustertest.CreateWorld(t, cl, "w", 2)
		clustertest.NewAgent().Join(t, c, "w", "a")
		clustertest.NewAgent().JoinFrom(t, c, "w", "a", "a again")
		clustertest.Join(t, cl, "user", 0)
		stop(t, cl, 0)
		c.Eventually("the end of the system", func() bool { return phase(t, c, cl) == systemStopped })
		_, now, leads := leader.Node.System().Leading()
		require.True(t, leads)
		require.Equal(t, term, now)
		require.Len(t, c.Running(), 3)
		c.RequireConverged()
	})
}

// D40: a creation that was asked for twice, as after a lost answer, ended the system. Here it is the same world; what differs is named,
// and labels may be added at the revision that one has read.
func TestDefect_D40_CreatedTwiceIsCreatedOnce(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		first, err := upsert(t, cl, "w", 2, func(*musterv1.UpsertWorldRequest) {})
		require.NoError(t, err)
		require.True(t, first.Changed)
		again, err := upsert(t, c.Client(), "w", 2, func(*musterv1.UpsertWorldRequest) {})
		require.NoError(t, err)
		require.False(t, again.Changed)
		require.Equal(t, first.Generation, again.Generation)
		_, err = upsert(t, cl, "w", 3, func(*musterv1.UpsertWorldRequest) {})
		require.Equal(t, musterv1.Reason_REASON_CONTRADICTS, reasonOf(err))
		require.Equal(t, "spec.shape", client.RefusalOf(err).Field)

		label := func(u *musterv1.UpsertWorldRequest) {
			u.Labels, u.LabelRevision = []*musterv1.Label{{Key: "team", Value: "vision"}}, first.LabelRevision
		}
		labelled, err := upsert(t, cl, "w", 2, label)
		require.NoError(t, err)
		require.Greater(t, labelled.LabelRevision, first.LabelRevision)
		_, err = upsert(t, cl, "w", 2, label)
		require.Equal(t, musterv1.Reason_REASON_CONTRADICTS, reasonOf(err), "that revision is not the present one")
	})
}

// D41: a host that was started again ended the system. Here it is a new incarnation with its old rank; the old one is told, and an order
// that it had not accepted goes to the new one.
func TestDefect_D41_HostComesBack(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		old := clustertest.NewAgent().Join(t, c, "w", "a")
		c.Network.Isolate("a")
		clustertest.CreateGang(t, cl, "w", 2, 2, nil)
		again := clustertest.NewAgent().JoinFrom(t, c, "w", "a", "a again")
		require.Equal(t, uint32(0), again.Member.Proc().Rank)
		require.Greater(t, again.Member.Incarnation(), old.Member.Incarnation())
		c.AwaitStatus(cl, "w", live)
		spawned, _, _ := again.Counts()
		require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
		c.Network.Heal()
		<-old.Member.Done()
		var ended *client.Ended
		require.ErrorAs(t, old.Member.Err(), &ended)
		require.Equal(t, musterv1.Verdict_KIND_SUPERSEDED, ended.Kind)
		spawned, _, _ = old.Counts()
		require.Empty(t, spawned)
	})
}

// D45: whoever joined under an id had it, the id of a living proc, too. Here a rank has one holder while its lease runs; another is told
// who that is, and takes it only if he says so.
func TestDefect_D45_ARankHasOneHolder(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		holder := clustertest.Join(t, cl, "w", 0)
		thief := client.MemberConfig{World: "w", Key: "thief", Machine: "elsewhere"}
		_, err := c.Client().Join(soon(t), thief)
		require.Equal(t, musterv1.Reason_REASON_ALREADY_EXISTS, reasonOf(err))
		require.ErrorContains(t, err, `machine "machine"`)
		time.Sleep(3 * time.Second)
		require.NoError(t, holder.Err())
		thief.TakeOver = true
		_, err = c.Client().Join(soon(t), thief)
		require.NoError(t, err)
		<-holder.Done()
	})
}

// D46: the address of a joiner was entered, and he was welcomed, before he was looked at: who was refused had the address and believed
// that he was in. Here a refused Join changes nothing.
func TestDefect_D46_RefusedJoinLeavesNoAddress(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "w", 1)
		joinAs(t, cl, "w", 0, func(m *client.MemberConfig) { m.Address = "tcp:holder:1" })
		for _, rank := range []uint32{0, 1} {
			_, err := cl.Join(soon(t), client.MemberConfig{World: "w", Rank: rank, Key: "thief", Machine: "m", Address: "tcp:thief:1"})
			require.NotNil(t, client.RefusalOf(err))
		}
		address, err := cl.Cluster().Address(soon(t), "w", 0)
		require.NoError(t, err)
		require.Equal(t, "tcp:holder:1", address)
		require.Len(t, clustertest.WorldOf(c, cl, "w").Procs, 1)
	})
}

// D49: a label that contradicted another refused a request of which half had been done, world labels could never be changed, and the
// labels of hosts were thrown away. Here such a request changes nothing, labels are added later, and each incarnation has its own.
func TestDefect_D49_Labels(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		labels := func(pairs ...string) func(*musterv1.UpsertWorldRequest) {
			return func(u *musterv1.UpsertWorldRequest) {
				for i := 0; i < len(pairs); i += 2 {
					u.Labels = append(u.Labels, &musterv1.Label{Key: pairs[i], Value: pairs[i+1]})
				}
			}
		}
		_, err := upsert(t, cl, "w", 1, labels("team", "vision"))
		require.NoError(t, err)
		_, err = upsert(t, cl, "w", 1, labels("area", "north", "team", "speech"))
		require.Equal(t, musterv1.Reason_REASON_CONTRADICTS, reasonOf(err))
		require.Len(t, clustertest.WorldOf(c, cl, "w").Labels, 1)
		_, err = upsert(t, cl, "w", 1, labels("area", "north"))
		require.NoError(t, err)
		require.Len(t, clustertest.WorldOf(c, cl, "w").Labels, 2)

		for _, color := range []string{"red", "blue"} {
			joinAs(t, cl, "w", 0, func(m *client.MemberConfig) { m.Labels = map[string]string{"color": color} })
			require.Equal(t, color, clustertest.ProcOf(c, cl, "w", worker, 0).Labels[0].Value)
		}
		joinAs(t, cl, "w", 0, func(m *client.MemberConfig) {
			m.Role, m.Host, m.Labels = host, clustertest.NewAgent(), map[string]string{"zone": "east"}
		})
		require.Equal(t, "east", clustertest.ProcOf(c, cl, "w", host, 0).Labels[0].Value)
	})
}
