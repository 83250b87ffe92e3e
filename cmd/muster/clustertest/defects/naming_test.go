package defects

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// D42: a name that began with "host" was magic: a proc of "hostile" was taken for a host of "ile", and nobody in "hostess" was missed.
// Here a role is said and not guessed, and such worlds are worlds.
func TestDefect_D42_HostileIsAnOrdinaryWorld(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		clustertest.CreateWorld(t, cl, "hostile", 2)
		clustertest.Join(t, cl, "hostile", 0)
		_, die := mortal(t, c, "hostile", 1, asIs)
		require.Equal(t, []string{"hostile"}, worldNames(c, cl))
		require.Equal(t, live, clustertest.StatusOf(c, cl, "hostile"))
		die()
		awaitExpiry(c, cl, "hostile", worker, 1)
		require.Equal(t, unhealthy, clustertest.StatusOf(c, cl, "hostile"))
	})
}

func worldNames(c *clustertest.Cluster, cl *client.Client) []string {
	var names []string
	for _, w := range c.View(cl).Worlds {
		names = append(names, w.World)
	}
	return names
}

// D43: the world "host" had an empty name for its real one, "hosthostx" could not be created, and hosts named "host_world" made a world
// "_world". Here a world has the name it was given.
func TestDefect_D43_NoNameIsCut(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		names := []string{"host", "host_world", "hosthostx"}
		for _, name := range names {
			clustertest.CreateWorld(t, cl, name, 1)
			clustertest.NewAgent().Join(t, c, name, name)
		}
		require.Equal(t, names, worldNames(c, cl))
		for _, name := range names {
			require.Equal(t, name, clustertest.ProcOf(c, cl, name, host, 0).Machine)
			c.AwaitStatus(cl, name, live)
		}
	})
}

// D47: a proc named by its address, without world and rank, ended the system when it joined, reported or answered. Here an address is no
// name: the request is refused by its form.
func TestDefect_D47_AddressIsNoName(t *testing.T) {
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		const direct = "tcp:10.0.0.1:4000"
		_, err := cl.Join(soon(t), client.MemberConfig{World: direct, Key: "key", Machine: "machine"})
		require.Equal(t, musterv1.Reason_REASON_INVALID, reasonOf(err))
		_, err = cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Worlds: []string{direct}})
		require.Equal(t, musterv1.Reason_REASON_INVALID, reasonOf(err))
		_, err = session(t, c, &musterv1.ProcRef{World: direct, Incarnation: 1}).Recv()
		require.Equal(t, musterv1.Reason_REASON_INVALID, clustertest.Reason(err))
		require.Len(t, c.Running(), 3)
		c.RequireConverged()
	})
}

// D48: a name could be anything, none at all, too, and what was printed of "mesh-1[0]" could not be read again. Here a name with a dash
// is one, what is printed is read back, and anything else is refused where it is said.
func TestDefect_D48_NamesAreChecked(t *testing.T) {
	for _, text := range []string{"mesh-1", "mesh-1[0]", "host:mesh-1[3]", "mesh-1[0].loader[7]", "mesh-1[0].loader[7][1024]"} {
		ref, err := id.ParseRef(text)
		require.NoError(t, err)
		require.Equal(t, text, ref.String())
	}
	clustertest.Bubble(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		for _, name := range []string{"", "-a", "a b", "a/b", "a[0]", "9lives", strings.Repeat("a", 64)} {
			_, err := upsert(t, cl, name, 1, func(*musterv1.UpsertWorldRequest) {})
			require.Equal(t, musterv1.Reason_REASON_INVALID, reasonOf(err), "%q", name)
			require.Equal(t, "spec.world", client.RefusalOf(err).Field)
		}
		require.Empty(t, worldNames(c, cl))
	})
}
