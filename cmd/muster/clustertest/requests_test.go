package clustertest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/cmd/muster/node"
	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/client"
	"muster/transport/rpcstatus"
)

// TestJoin_DelayedCopyDoesNotSupersede: a copy of an old join, let go by the network when its process has long been replaced, does not
// push the replacement out; nor does it bring back who has left, or a world that is gone.
func TestJoin_DelayedCopyDoesNotSupersede(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		members := musterv1grpc.NewMemberServiceClient(c.Conn(c.Leader()))
		ctx := Within(t, Patience)
		ask := func(nonce string, issued uint64) (*musterv1.JoinResponse, error) {
			return members.Join(ctx, &musterv1.JoinRequest{World: "w", Rank: 0, Key: "m1", Machine: "m1", Nonce: Sixteen(nonce), Issued: issued})
		}
		first, err := ask("first", 0)
		require.NoError(t, err)
		second, err := ask("second", first.Number)
		require.NoError(t, err)
		require.Greater(t, second.Proc.Incarnation, first.Proc.Incarnation)

		again, err := ask("second", first.Number)
		require.NoError(t, err, "the present nonce again is the same join")
		require.Equal(t, second.Proc.Incarnation, again.Proc.Incarnation)

		_, err = ask("first", 0)
		require.Equal(t, musterv1.Reason_REASON_STALE, Reason(err), "a copy of the first join")
		require.Greater(t, rpcstatus.Refusal(err).Number, second.Proc.Incarnation)

		_, err = members.Leave(ctx, &musterv1.LeaveRequest{Proc: second.Proc})
		require.NoError(t, err)
		_, err = ask("second", first.Number)
		require.Equal(t, musterv1.Reason_REASON_STALE, Reason(err), "the world went with its last member")
	})
}

// TestReport_PackedBehindNewIncarnation: packed reports carry the number at which the leader compared incarnations; when a newer one
// comes into the log between the comparison and the report, the report renews nothing and says so.
func TestReport_PackedBehindNewIncarnation(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		leader := c.Leader()
		members := musterv1grpc.NewMemberServiceClient(c.Conn(leader))
		ctx := Within(t, Patience)
		ask := func(nonce string, issued uint64) *musterv1.JoinResponse {
			r, err := members.Join(ctx, &musterv1.JoinRequest{World: "w", Rank: 3, Key: "m1", Nonce: Sixteen(nonce), Issued: issued})
			require.NoError(t, err)
			return r
		}
		report := func(number uint64) *musterv1.Outcome {
			out, err := leader.Node.System().Propose(ctx, &musterv1.Command{Body: &musterv1.Command_Report{Report: &musterv1.ReportBatch{
				Groups: []*musterv1.ReportGroup{{Number: number, Ranks: &musterv1.RankRuns{
					World: "w", Role: musterv1.Role_ROLE_WORKER, Runs: id.AppendRuns(nil, []uint32{3}),
				}}},
			}}})
			require.NoError(t, err)
			return out
		}
		old := ask("old", 0)
		compared := old.Number
		require.Nil(t, report(compared).GetVerdicts(), "the present incarnation is renewed")
		fresh := ask("fresh", old.Number)
		verdicts := report(compared).GetVerdicts().GetVerdicts()
		require.Len(t, verdicts, 1)
		require.Equal(t, musterv1.Verdict_KIND_SUPERSEDED, verdicts[0].Kind)
		require.Nil(t, report(fresh.Number).GetVerdicts())
	})
}

// TestRequest_VeryLateStopIsRefused: a stop that arrives when its id may have been forgotten is refused: a world that was created
// meanwhile under that name is not hit by it.
func TestRequest_VeryLateStopIsRefused(t *testing.T) {
	const window = 30 * time.Second
	shortWindow := func(cfg *node.Config) {
		cfg.Settings = fsm.DefaultSettings()
		cfg.Settings.RequestWindowNs = int64(window)
	}
	Bubble(t, shortWindow, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		system := musterv1grpc.NewSystemServiceClient(c.Conn(c.Leader()))
		ctx := Within(t, time.Hour)
		first := CreateWorld(t, cl, "w", 1)
		stop := &musterv1.StopRequest{Meta: &musterv1.RequestMeta{Id: Sixteen("stop"), Issued: first.Number}, Worlds: []string{"w"}}
		answer, err := system.Stop(ctx, stop)
		require.NoError(t, err)
		repeated, err := system.Stop(ctx, stop)
		require.NoError(t, err)
		require.True(t, proto.Equal(answer, repeated), "soon after it is the same request")

		second, err := cl.Cluster().UpsertWorld(ctx, &musterv1.UpsertWorldRequest{
			Spec: &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{1}}, ProcsPerHost: 8}, ReplaceEnded: true,
		})
		require.NoError(t, err)
		require.Greater(t, second.Generation, first.Generation)
		member := Join(t, cl, "w", 0)
		time.Sleep(window + 5*time.Second)
		_, err = system.Stop(ctx, stop)
		require.Equal(t, musterv1.Reason_REASON_REQUEST_TOO_OLD, Reason(err))
		require.NoError(t, member.Err())
		require.Equal(t, musterv1.Status_STATUS_LIVE, Condition(c, cl, "w").Status)

		_, err = cl.Cluster().Stop(ctx, &musterv1.StopRequest{Worlds: []string{"w"}})
		require.NoError(t, err, "who means it asks anew")
		c.Eventually("the end", func() bool { return member.Err() != nil })
	})
}

// TestRequest_SameIdOtherBody: an id that is used for another request is refused, and the first answer stands, also on the next leader.
func TestRequest_SameIdOtherBody(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		ctx := Within(t, Patience)
		upsert := func(m *Member, world string) (*musterv1.UpsertWorldResponse, error) {
			return musterv1grpc.NewSystemServiceClient(c.Conn(m)).UpsertWorld(ctx, &musterv1.UpsertWorldRequest{
				Meta: &musterv1.RequestMeta{Id: Sixteen("id")},
				Spec: &musterv1.WorldSpec{World: world, Shape: &musterv1.Shape{Dims: []uint32{2}}, ProcsPerHost: 1},
			})
		}
		leader := c.Leader()
		first, err := upsert(leader, "a")
		require.NoError(t, err)
		_, err = upsert(leader, "b")
		require.Equal(t, musterv1.Reason_REASON_REQUEST_ID_REUSED, Reason(err))
		c.Kill(leader)
		next := c.Leader()
		again, err := upsert(next, "a")
		require.NoError(t, err)
		require.True(t, proto.Equal(first, again), "the answer outlives the leader that gave it")
		_, err = upsert(next, "b")
		require.Equal(t, musterv1.Reason_REASON_REQUEST_ID_REUSED, Reason(err))
	})
}

// TestRestore_LeaderDiesInIt_ReplicasEqual: a restore that its leader does not live to commit has not happened, on no node; one that is
// committed has happened on all.
func TestRestore_LeaderDiesInIt_ReplicasEqual(t *testing.T) {
	for _, commit := range []bool{false, true} {
		t.Run(fmt.Sprintf("commit sent %t", commit), func(t *testing.T) {
			Bubble(t, nil, func(t *testing.T, c *Cluster) { restoreAndDie(t, c, commit) })
		})
	}
}

func restoreAndDie(t *testing.T, c *Cluster, commit bool) {
	cl := c.Client()
	CreateWorld(t, cl, "old", 2)
	var file bytes.Buffer
	save(t, cl, &file)
	CreateWorld(t, cl, "new", 1)

	leader := c.Leader()
	system := leader.Node.System()
	reader, err := fsm.NewFileReader(bytes.NewReader(file.Bytes()))
	require.NoError(t, err)
	ctx := Within(t, Patience)
	propose := func(cmd *musterv1.Command) {
		out, err := system.Propose(ctx, cmd)
		require.NoError(t, err)
		require.Nil(t, out.GetRefusal())
	}
	rid := Sixteen("restore")
	propose(&musterv1.Command{Body: &musterv1.Command_RestoreBegin{RestoreBegin: &musterv1.RestoreBegin{
		Meta: &musterv1.RequestMeta{Id: Sixteen("req")}, RestoreId: rid, Header: reader.Header(), UnixMicros: 1,
	}}})
	var records [][]byte
	for {
		body, err := reader.Next()
		if err != nil {
			break
		}
		records = append(records, slices.Clone(body))
	}
	propose(&musterv1.Command{Body: &musterv1.Command_RestoreChunk{RestoreChunk: &musterv1.RestoreChunk{RestoreId: rid, Seq: 1, Records: records}}})
	if commit {
		c.Isolate(leader) // it is in the leader's log, and nobody else's
		sent, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		_, err := system.Propose(sent, &musterv1.Command{Body: &musterv1.Command_RestoreCommit{RestoreCommit: &musterv1.RestoreCommit{
			RestoreId: rid, Trailer: reader.Trailer(),
		}}})
		cancel()
		require.Error(t, err)
	}
	c.Kill(leader)
	c.Leader()
	CreateWorld(t, cl, "after", 1)
	c.Heal()
	c.Start(leader)
	c.RequireConverged()
	names := worldNames(c.View(cl))
	require.Equal(t, []string{"after", "new", "old"}, names, "the restore has not happened")

	require.NoError(t, restore(ctx, cl, file.Bytes()))
	c.RequireConverged()
	require.Equal(t, []string{"old"}, worldNames(c.View(cl)), "this one has")
}

func save(t *testing.T, cl *client.Client, to *bytes.Buffer) {
	t.Helper()
	_, err := cl.Cluster().SaveState(Within(t, Patience), to)
	require.NoError(t, err)
}

func worldNames(v *musterv1.ViewResponse) []string {
	var out []string
	for _, w := range v.Worlds {
		out = append(out, w.World)
	}
	return out
}

func restore(ctx context.Context, cl *client.Client, file []byte) error {
	_, err := cl.Cluster().RestoreState(ctx, bytes.NewReader(file), false)
	return err
}

// TestRestore_MembersJoinAgain: after a restore every session is told to join again; the programs go on.
func TestRestore_MembersJoinAgain(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 1)
		m := Join(t, cl, "w", 0)
		before := m.Incarnation()
		var file bytes.Buffer
		save(t, cl, &file)
		require.NoError(t, restore(Within(t, Patience), cl, file.Bytes()))
		c.Eventually("the new incarnation", func() bool { return m.Incarnation() != before })
		require.NoError(t, m.Err())
		time.Sleep(30 * time.Second)
		require.Equal(t, musterv1.Status_STATUS_LIVE, Condition(c, cl, "w").Status)
		c.RequireConverged()
	})
}
