package clustertest

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/node"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/client"
	"muster/transport/rpcstatus"
)

// TestDiskShort_NewWaits: while the leader's disk is short of room, each verb that adds something is refused with the same reason; what
// keeps or ends what is there goes on, and so does a request that only asks for the answer it had. When there is room all is as before.
func TestDiskShort_NewWaits(t *testing.T) {
	var free atomic.Int64
	const plenty, little = 1 << 40, 1 << 20
	free.Store(plenty)
	configure := func(c *node.Config) { c.FreeBytes = func() (int64, error) { return free.Load(), nil } }
	Bubble(t, configure, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 2)
		CreateWorld(t, cl, "ended", 1)
		member, leaves := Join(t, cl, "w", 0), Join(t, cl, "w", 1)
		_, err := cl.Cluster().Stop(Within(t, Patience), &musterv1.StopRequest{Worlds: []string{"ended"}})
		require.NoError(t, err)

		api := musterv1grpc.NewSystemServiceClient(c.Conn(c.Leader()))
		answered := &musterv1.UpsertWorldRequest{Meta: &musterv1.RequestMeta{Id: bytes.Repeat([]byte{7}, 16)}, Spec: &musterv1.WorldSpec{
			World: "answered", Shape: &musterv1.Shape{Open: true},
		}}
		first, err := api.UpsertWorld(Within(t, Patience), answered)
		require.NoError(t, err)
		answered.Meta.Issued = first.GetNumber()

		var saved bytes.Buffer
		_, err = cl.Cluster().SaveState(Within(t, Patience), &saved)
		require.NoError(t, err)

		free.Store(little)
		c.Eventually("an alarm of each node", func() bool {
			status, err := cl.Cluster().Status(Within(t, Patience), &musterv1.StatusRequest{})
			return err == nil && len(status.GetAlarms()) == 3
		})
		meta := func(id byte) *musterv1.RequestMeta {
			return &musterv1.RequestMeta{Id: bytes.Repeat([]byte{id}, 16), Issued: first.GetNumber()}
		}
		ctx := Within(t, Patience)
		for what, ask := range map[string]func() error{
			"create": func() error {
				_, err := api.UpsertWorld(ctx, &musterv1.UpsertWorldRequest{Meta: meta(1), Spec: &musterv1.WorldSpec{World: "new", Shape: &musterv1.Shape{Open: true}}})
				return err
			},
			"restart": func() error {
				_, err := api.Restart(ctx, &musterv1.RestartRequest{Meta: meta(2), World: "w"})
				return err
			},
			"start": func() error {
				_, err := api.Start(ctx, &musterv1.StartRequest{Meta: meta(3), ExecutionId: "abcd"})
				return err
			},
			"set": func() error {
				_, err := musterv1grpc.NewClusterServiceClient(c.Conn(c.Leader())).Set(ctx, &musterv1.SetRequest{Meta: meta(4), Changes: []*musterv1.SettingChange{{Name: "events", Value: 20000}}})
				return err
			},
			"restore": func() error {
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				_, err := cl.Cluster().RestoreState(ctx, bytes.NewReader(saved.Bytes()), false)
				return err
			},
			"join": func() error {
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				_, err := cl.Join(ctx, client.MemberConfig{World: "another", Key: "k"})
				return err
			},
			"host": func() error {
				_, err := musterv1grpc.NewMemberServiceClient(c.Conn(c.Leader())).Join(ctx, &musterv1.JoinRequest{
					World: "w", Role: musterv1.Role_ROLE_HOST, AssignRank: true, Key: "host", Nonce: bytes.Repeat([]byte{8}, 16), Issued: first.GetNumber(),
				})
				return err
			},
		} {
			require.Equal(t, musterv1.Reason_REASON_DISK, rpcstatus.Refusal(ask()).GetReason(), what)
		}
		again, err := api.UpsertWorld(ctx, answered)
		require.NoError(t, err)
		require.Equal(t, first.GetGeneration(), again.GetGeneration())
		Join(t, cl, "w", 0) // supersedes the one that is there
		require.NoError(t, leaves.Leave(ctx))
		_, err = cl.Cluster().DeleteWorld(ctx, &musterv1.DeleteWorldRequest{World: "ended"})
		require.NoError(t, err)
		why, err := cl.Cluster().Explain(ctx, &musterv1.ExplainRequest{World: "w"})
		require.NoError(t, err)
		require.Contains(t, why.GetNotes()[len(why.GetNotes())-1], "is short of room: 1.0 MiB are free, --min-free is 256.0 MiB")
		_, err = cl.Cluster().Stop(ctx, &musterv1.StopRequest{Worlds: []string{"w"}})
		require.NoError(t, err)
		<-member.Done()

		free.Store(plenty)
		time.Sleep(2 * time.Second)
		CreateWorld(t, cl, "new", 2)
	})
}
