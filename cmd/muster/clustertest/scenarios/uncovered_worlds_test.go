package scenarios

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/client"
)

// Who creates a world again as it is, is told that it is so, and nothing changes; who asks for something else is told what differs, and
// nothing changes either. A label may be added at the revision that one has read; it is never overwritten.
func TestScenario_Uncovered_SecondUpsert(t *testing.T) {
	tenfold(t, time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		first := upsert(t, cl, "world", 2, 4)
		require.True(t, first.Changed)
		m := joinWith(t, c, "proc", client.MemberConfig{World: "world"})
		before := clustertest.WorldOf(c, cl, "world")

		again := upsert(t, cl, "world", 2, 4)
		require.False(t, again.Changed)
		require.Equal(t, first.Generation, again.Generation)
		for field, other := range map[string]*musterv1.UpsertWorldRequest{
			"spec.shape": specOf("world", 2, 5), "spec.procs_per_host": specOf("world", 3, 4),
		} {
			_, err := cl.Cluster().UpsertWorld(soon(t), other)
			require.Equal(t, field, refusedFor(t, musterv1.Reason_REASON_CONTRADICTS, err).Field)
		}
		labelled := specOf("world", 2, 4)
		labelled.Labels, labelled.LabelRevision = []*musterv1.Label{{Key: "owner", Value: "ann"}}, first.LabelRevision
		added, err := cl.Cluster().UpsertWorld(soon(t), labelled)
		require.NoError(t, err)
		require.True(t, added.Changed)
		labelled.Labels = []*musterv1.Label{{Key: "owner", Value: "bob"}}
		_, err = cl.Cluster().UpsertWorld(soon(t), labelled)
		require.Equal(t, "label_revision", refusedFor(t, musterv1.Reason_REASON_CONTRADICTS, err).Field)
		labelled.LabelRevision = added.LabelRevision
		_, err = cl.Cluster().UpsertWorld(soon(t), labelled)
		require.Equal(t, "labels", refusedFor(t, musterv1.Reason_REASON_CONTRADICTS, err).Field)

		after := clustertest.WorldOf(c, cl, "world")
		require.Equal(t, "ann", after.Labels[0].Value)
		require.Equal(t, before.Spec.String(), after.Spec.String())
		require.Equal(t, before.Condition.String(), after.Condition.String())
		require.Equal(t, m.Incarnation(), after.Procs[0].Proc.Incarnation)
		require.NoError(t, m.Err())
	})
}

// Names that begin with the four letters that made a host of whoever had them are names like others: their procs are procs, are counted,
// supervised and stopped. A world may even be called host. A host is who says so, and may have a world called anything.
func TestScenario_Uncovered_HostNames(t *testing.T) {
	tenfold(t, time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		for _, name := range []string{"host", "hostile", "hosthostx", "hostess"} {
			upsert(t, cl, name, 1, 1)
			joinMute(t, c, &musterv1.JoinRequest{World: name})
			w := clustertest.WorldOf(c, cl, name)
			require.Equal(t, musterv1.Status_STATUS_LIVE, w.Condition.Status)
			require.Equal(t, []uint32{0}, workers(w))
			require.Empty(t, hosts(w))
		}
		a := joinHost(t, c, "hosted_by_host", 0)
		upsert(t, cl, "hosted_by_host", 2, 2)
		c.AwaitStatus(cl, "hosted_by_host", musterv1.Status_STATUS_LIVE)
		require.Equal(t, "hosted_by_host", a.Run(1).Order.Proc.World)
		require.Equal(t, []string{"host", "hosted_by_host", "hostess", "hosthostx", "hostile"},
			worldNames(living(t, cl, &musterv1.ViewRequest{})), "and no world that nobody has named")

		time.Sleep(12 * time.Second)
		require.Equal(t, musterv1.Health_HEALTH_EXPIRED, clustertest.HealthOf(c, cl, "hostile", 0))
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, clustertest.StatusOf(c, cl, "hostile"))
		r, err := cl.Cluster().Stop(soon(t), &musterv1.StopRequest{Worlds: []string{"hostess", "host"}})
		require.NoError(t, err)
		require.Equal(t, musterv1.WorldStop_RESULT_ENDED, r.Worlds[0].Result)
		require.Equal(t, musterv1.Status_STATUS_STOPPED, clustertest.StatusOf(c, cl, "host"))
		require.Equal(t, musterv1.Status_STATUS_LIVE, clustertest.StatusOf(c, cl, "hosted_by_host"))
	})
}

// Sizes that broke the original are refused with the field that is wrong, or mean what they say; the nodes go on. A world of the greatest
// size there may be is created and takes its first and last rank, and nobody beyond.
func TestScenario_Uncovered_Sizes(t *testing.T) {
	tenfold(t, 10*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		for _, bad := range []struct {
			perHost uint32
			dims    []uint32
			field   string
		}{
			{0, []uint32{4}, "spec.procs_per_host"},
			{1, []uint32{0}, "spec.shape"},
			{1, []uint32{2, 0, 4}, "spec.shape"},
			{1, []uint32{1<<24 + 1}, "spec.shape"},
			{1, []uint32{1 << 31, 1 << 31, 4}, "spec.shape"}, // the product overflows to 0
		} {
			_, err := cl.Cluster().UpsertWorld(soon(t), specOf("bad", bad.perHost, bad.dims...))
			require.Contains(t, refusedFor(t, musterv1.Reason_REASON_INVALID, err).Field, bad.field, "%v", bad.dims)
		}
		_, err := cl.Cluster().UpsertWorld(soon(t), &musterv1.UpsertWorldRequest{Spec: &musterv1.WorldSpec{World: "bad"}})
		require.Contains(t, refusedFor(t, musterv1.Reason_REASON_INVALID, err).Field, "spec.shape")

		upsert(t, cl, "one", 1)
		require.Equal(t, uint32(1), clustertest.WorldOf(c, cl, "one").Wanted, "no dimension is one proc")
		upsert(t, cl, "huge", 8, 1<<12, 1<<12)
		require.Equal(t, uint32(1<<24), clustertest.WorldOf(c, cl, "huge").Wanted)
		members := musterv1grpc.NewMemberServiceClient(c.Conn(c.Leader()))
		for rank, fits := range map[uint32]bool{0: true, 1<<24 - 1: true, 1 << 24: false, 1<<32 - 1: false} {
			_, err := members.Join(soon(t), &musterv1.JoinRequest{
				World: "huge", Rank: rank, Key: "k", Machine: "m", Nonce: clustertest.Sixteen(fmt.Sprint(rank)),
			})
			require.Equal(t, fits, err == nil, "rank %d: %v", rank, err)
		}
		a := joinHost(t, c, "huge", 3)
		c.Eventually("its ranks", func() bool { spawned, _, _ := a.Counts(); return len(spawned) == 8 })
		spawned, _, _ := a.Counts()
		require.Equal(t, 1, spawned[31])
		require.Equal(t, uint32(1<<24), a.Run(31).Order.WorldSize)
		c.RequireConverged()
	})
}

// The label filter lists each proc that has all the labels asked for, and only those, in order of their ranks, however many there are and
// wherever the others stand; hosts and worlds by the same rule.
func TestScenario_Uncovered_LabelFilterManyProcs(t *testing.T) {
	tenfold(t, 100*time.Second, 0, func(t *testing.T, c *clustertest.Cluster) {
		cl := c.Client()
		upsert(t, cl, "big", 1, 40)
		upsert(t, cl, "plain", 1, 1)
		joinMute(t, c, &musterv1.JoinRequest{World: "plain"})
		members := musterv1grpc.NewMemberServiceClient(c.Conn(c.Leader()))
		var odd, both []uint32
		for rank := range uint32(40) {
			j := &musterv1.JoinRequest{World: "big", Rank: rank, Key: "k", Machine: "m", Nonce: clustertest.Sixteen(fmt.Sprint(rank))}
			j.Labels = []*musterv1.Label{{Key: "kind", Value: []string{"even", "odd"}[rank%2]}}
			if rank%3 == 0 {
				j.Labels = append(j.Labels, &musterv1.Label{Key: "third", Value: "yes"})
			}
			if rank%2 == 1 {
				odd = append(odd, rank)
				if rank%3 == 0 {
					both = append(both, rank)
				}
			}
			_, err := members.Join(soon(t), j)
			require.NoError(t, err)
		}
		isOdd, isThird := &musterv1.Label{Key: "kind", Value: "odd"}, &musterv1.Label{Key: "third", Value: "yes"}
		for range 3 { // the original's answer was another one each time
			worlds := living(t, cl, &musterv1.ViewRequest{ProcLabels: []*musterv1.Label{isOdd}, PageSize: 7})
			require.Len(t, worlds, 2, "worlds without a matching proc are listed, too")
			require.Equal(t, odd, workers(worlds[0]))
			require.Empty(t, workers(worlds[1]))
			worlds = living(t, cl, &musterv1.ViewRequest{ProcLabels: []*musterv1.Label{isOdd, isThird}, OmitEmpty: true})
			require.Len(t, worlds, 1, "or not, if one asks so")
			require.Equal(t, both, workers(worlds[0]))
		}
		require.Empty(t, living(t, cl, &musterv1.ViewRequest{ProcLabels: []*musterv1.Label{{Key: "kind", Value: "o"}}, OmitEmpty: true}))
	})
}
