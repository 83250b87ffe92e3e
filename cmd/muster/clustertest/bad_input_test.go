package clustertest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/rpcstatus"
)

// badCall is a call that must be refused, and with what.
type badCall struct {
	name   string
	call   func(ctx context.Context, conn grpc.ClientConnInterface) error
	code   codes.Code
	reason musterv1.Reason
	field  string
	says   string // part of the message: the limit, or what differs
}

func malformed(name string, call func(context.Context, grpc.ClientConnInterface) error, field, says string) badCall {
	return badCall{name, call, codes.InvalidArgument, musterv1.Reason_REASON_INVALID, field, says}
}

// check makes the call and holds the error against what is expected.
func (b badCall) check(t *testing.T, conn grpc.ClientConnInterface) {
	t.Helper()
	err := b.call(Within(t, Patience), conn)
	require.Error(t, err, b.name)
	require.Equal(t, b.code, status.Code(err), "%s: %v", b.name, err)
	refusal := rpcstatus.Refusal(err)
	require.Equal(t, b.reason, refusal.GetReason(), "%s: %v", b.name, err)
	require.Equal(t, b.field, refusal.GetField(), "%s: %v", b.name, err)
	require.Contains(t, status.Convert(err).Message(), b.says, b.name)
	require.LessOrEqual(t, len(status.Convert(err).Message()), 1024, b.name)
}

var requests byte

// newMeta is that of a new request.
func newMeta() *musterv1.RequestMeta {
	requests++
	return &musterv1.RequestMeta{Id: append(make([]byte, 15), requests)}
}

// upsertCall is a good request, made bad by change.
func upsertCall(change func(*musterv1.UpsertWorldRequest)) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		q := &musterv1.UpsertWorldRequest{
			Meta: newMeta(), Spec: &musterv1.WorldSpec{World: "new", Shape: &musterv1.Shape{Dims: []uint32{2}}, ProcsPerHost: 8},
		}
		change(q)
		_, err := musterv1grpc.NewSystemServiceClient(conn).UpsertWorld(ctx, q)
		return err
	}
}

func stopCall(change func(*musterv1.StopRequest)) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		q := &musterv1.StopRequest{Meta: newMeta(), Worlds: []string{"old"}}
		change(q)
		_, err := musterv1grpc.NewSystemServiceClient(conn).Stop(ctx, q)
		return err
	}
}

func viewCall(q *musterv1.ViewRequest) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		_, err := musterv1grpc.NewSystemServiceClient(conn).View(ctx, q)
		return err
	}
}

func joinCall(change func(*musterv1.JoinRequest)) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		q := &musterv1.JoinRequest{World: "old", Rank: 1, Key: "k", Machine: "m", Nonce: newMeta().Id}
		change(q)
		_, err := musterv1grpc.NewMemberServiceClient(conn).Join(ctx, q)
		return err
	}
}

func leaveCall(p *musterv1.ProcRef) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		_, err := musterv1grpc.NewMemberServiceClient(conn).Leave(ctx, &musterv1.LeaveRequest{Proc: p})
		return err
	}
}

func supervisionCall(world string) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		_, err := musterv1grpc.NewSystemServiceClient(conn).WorldSupervision(ctx, &musterv1.WorldSupervisionRequest{World: world})
		return err
	}
}

func explainCall(world string) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		_, err := musterv1grpc.NewSystemServiceClient(conn).Explain(ctx, &musterv1.ExplainRequest{World: world})
		return err
	}
}

func viewStopCall(operation uint64) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		_, err := musterv1grpc.NewSystemServiceClient(conn).ViewStop(ctx, &musterv1.ViewStopRequest{Operation: operation})
		return err
	}
}

func rejoinCall(node string) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		_, err := musterv1grpc.NewClusterServiceClient(conn).RejoinNode(ctx, &musterv1.RejoinNodeRequest{Node: node})
		return err
	}
}

func registerCall(name, serverID string) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		_, err := musterv1grpc.NewClusterServiceClient(conn).RegisterNode(ctx, &musterv1.RegisterNodeRequest{
			Node: &musterv1.NodeRecord{Name: name, ServerId: serverID},
		})
		return err
	}
}

// restoreCall sends these messages and waits for the answer.
func restoreCall(messages ...*musterv1.RestoreStateRequest) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		stream, err := musterv1grpc.NewClusterServiceClient(conn).RestoreState(ctx)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := stream.Send(m); err != nil {
				break // answered already
			}
		}
		_, err = stream.CloseAndRecv()
		return err
	}
}

// manyLabels are n labels whose keys and values have so many bytes together.
func manyLabels(n, size int) []*musterv1.Label {
	out := make([]*musterv1.Label, n)
	for i := range out {
		key := fmt.Sprintf("key%03d", i)
		out[i] = &musterv1.Label{Key: key, Value: strings.Repeat("v", size/n-len(key))}
	}
	return out
}

func manyWorlds(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strings.Repeat("𐐀", 60) + fmt.Sprintf("%03d", i%1000)
	}
	return out
}

// badNames are world ids that break each rule, with what is said of them.
var badNames = map[string]string{
	"":                      "takes 1 to 63 runes",
	"9lives":                `begins with '9'`,
	"-a":                    `begins with '-'`,
	"a b":                   `holds ' '`,
	"a/b":                   `holds '/'`,
	"a[0]":                  `holds '['`,
	"host:a":                `holds ':'`,
	"a\x00b":                `holds '\x00'`,
	strings.Repeat("a", 64): "longer than 63 runes",
	strings.Repeat("é", 64): "longer than 63 runes",
}

// TestBadInput_IsRefusedByForm: what is malformed is refused by whatever node is asked, in words that name the field and the
// limit; not even the state's number moves, and no node stops.
func TestBadInput_IsRefusedByForm(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "old", 2)
		c.RequireConverged()
		before := numbers(c)
		for _, m := range c.Members {
			conn := c.Conn(m)
			for _, b := range malformedCalls() {
				b.check(t, conn)
			}
			// gRPC itself refuses what is too large to be read; the message has the limit.
			err := upsertCall(func(q *musterv1.UpsertWorldRequest) {
				q.Labels = []*musterv1.Label{{Key: "k", Value: strings.Repeat("v", 5<<20)}}
			})(Within(t, Patience), conn)
			require.Equal(t, codes.ResourceExhausted, status.Code(err))
			require.Contains(t, err.Error(), "4194304")
		}
		require.Equal(t, before, numbers(c))
		c.RequireConverged()
	})
}

// numbers are the state's numbers on all nodes; every node must answer.
func numbers(c *Cluster) []uint64 {
	var out []uint64
	for _, m := range c.Members {
		s, _, _ := m.Node.Status()
		out = append(out, s.GetNumber())
	}
	return out
}

// TestBadInput_IsRefusedByRule: what only the state can tell is refused by a rule, the same on every node, and changes no world.
func TestBadInput_IsRefusedByRule(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "old", 2)
		CreateWorld(t, cl, "gone", 2)
		require.NoError(t, stopCall(func(q *musterv1.StopRequest) { q.Worlds = []string{"gone"} })(Within(t, Patience), c.Conn(c.Leader())))
		require.NoError(t, upsertCall(func(q *musterv1.UpsertWorldRequest) {
			q.Spec.World, q.Labels = "labelled", []*musterv1.Label{{Key: "team", Value: "vision"}}
		})(Within(t, Patience), c.Conn(c.Leader())))
		waiting := Join(t, cl, "waiting", 5)
		reused := newMeta()
		require.NoError(t, upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.World, q.Meta = "first", reused })(Within(t, Patience), c.Conn(c.Leader())))

		before := c.View(cl)
		for _, m := range c.Members {
			conn := c.Conn(m)
			for _, b := range refusedCalls(reused) {
				b.check(t, conn)
			}
			// Nobody of that name is an answer, not an error.
			ctx := Within(t, Patience)
			stopped, err := musterv1grpc.NewSystemServiceClient(conn).Stop(ctx, &musterv1.StopRequest{Meta: newMeta(), Worlds: []string{"nowhere"}})
			require.NoError(t, err)
			require.Equal(t, musterv1.WorldStop_RESULT_UNKNOWN, stopped.GetWorlds()[0].GetResult())
			supervision, err := musterv1grpc.NewSystemServiceClient(conn).WorldSupervision(ctx, &musterv1.WorldSupervisionRequest{World: "nowhere"})
			require.NoError(t, err)
			require.Equal(t, musterv1.WorldSupervisionResponse_KNOWN_UNKNOWN, supervision.GetKnown())
			left, err := musterv1grpc.NewMemberServiceClient(conn).Leave(ctx, &musterv1.LeaveRequest{Proc: &musterv1.ProcRef{World: "waiting", Rank: 5, Incarnation: 1}})
			require.NoError(t, err)
			require.False(t, left.GetRemoved())
		}
		after := c.View(cl)
		require.Len(t, after.Worlds, len(before.Worlds))
		for i, w := range after.Worlds {
			for j := range w.Procs { // they go on reporting
				w.Procs[j].ReportAgeNs, before.Worlds[i].Procs[j].ReportAgeNs = 0, 0
			}
			require.True(t, proto.Equal(before.Worlds[i], w), "%v\nis now\n%v", before.Worlds[i], w)
		}
		require.NoError(t, waiting.Err())
		c.RequireConverged()
	})
}
