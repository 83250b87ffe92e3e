package clustertest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
)

// saying opens a session, says these messages, and gives the error that the session ends with.
func saying(messages ...*musterv1.SessionRequest) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := musterv1grpc.NewMemberServiceClient(conn).Session(ctx)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := stream.Send(m); err != nil {
				break // it has ended; Recv says why
			}
		}
		for {
			if _, err := stream.Recv(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
}

func helloOf(members ...*musterv1.ProcRef) *musterv1.SessionRequest {
	h := &musterv1.Hello{Owner: "test"}
	for _, p := range members {
		h.Members = append(h.Members, &musterv1.HelloMember{Proc: p})
	}
	return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Hello{Hello: h}}
}

func reportOf(r *musterv1.SessionReport) *musterv1.SessionRequest {
	return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Report{Report: r}}
}

func aliveOf(world string, runs ...byte) *musterv1.SessionRequest {
	return reportOf(&musterv1.SessionReport{Seq: 1, Alive: []*musterv1.RankRuns{{World: world, Runs: runs}}})
}

func failureOf(p *musterv1.ProcRef, actors ...*musterv1.FailedActor) *musterv1.SessionRequest {
	return reportOf(&musterv1.SessionReport{Seq: 1, Reports: []*musterv1.ProcReport{{Proc: p, FailedActors: actors}}})
}

func postOf(change func(*musterv1.Post)) *musterv1.SessionRequest {
	me := &musterv1.ProcRef{World: "old", Incarnation: 1}
	p := &musterv1.Post{
		Stream: 1, Seq: 1, From: &musterv1.Endpoint{Proc: me, Actor: "a"}, To: &musterv1.Endpoint{Proc: &musterv1.ProcRef{World: "old"}, Actor: "a"},
	}
	change(p)
	return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Post{Post: p}}
}

func receiptOf(r *musterv1.Receipt) *musterv1.SessionRequest {
	return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Receipt{Receipt: r}}
}

func interestOf(i *musterv1.Interest) *musterv1.SessionRequest {
	return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Interest{Interest: i}}
}

// badRelays are badSessions of what members say to each other.
func badRelays(me *musterv1.ProcRef) []badCall {
	hello, host := helloOf(me), &musterv1.ProcRef{World: "old", Role: musterv1.Role_ROLE_HOST, Incarnation: 1}
	return []badCall{
		malformed("a post first", saying(postOf(func(*musterv1.Post) {})), "hello", "first message"),
		malformed("a post without stream", saying(hello, postOf(func(p *musterv1.Post) { p.Stream = 0 })), "post.stream", "must be given"),
		malformed("a post without seq", saying(hello, postOf(func(p *musterv1.Post) { p.Seq = 0 })), "post.stream", "must be given"),
		malformed("a post from nobody", saying(hello, postOf(func(p *musterv1.Post) { p.From = nil })), "post.from.proc.world", "1 to 63 runes"),
		malformed("a post from a host", saying(hello, postOf(func(p *musterv1.Post) { p.From.Proc = host })), "post.from.proc.role", "only workers"),
		malformed("a post of no incarnation", saying(hello, postOf(func(p *musterv1.Post) { p.From.Proc.Incarnation = 0 })), "post.from.proc.incarnation", "missing"),
		malformed("a post from an odd actor", saying(hello, postOf(func(p *musterv1.Post) { p.From.Actor = "a b" })), "post.from.actor", "' '"),
		malformed("a post to nobody", saying(hello, postOf(func(p *musterv1.Post) { p.To = nil })), "post.to.proc.world", "1 to 63 runes"),
		malformed("a post to rank 2^24", saying(hello, postOf(func(p *musterv1.Post) { p.To.Proc.Rank = 1 << 24 })), "post.to.proc.rank", "below 16777216"),
		malformed("a post to no actor", saying(hello, postOf(func(p *musterv1.Post) { p.To.Actor = "" })), "post.to.actor", "empty"),
		malformed("a post to a long name", saying(hello, postOf(func(p *musterv1.Post) { p.To.Actor = strings.Repeat("a", 64) })), "post.to.actor", "longer than 63"),
		malformed("a post over 64 KiB", saying(hello, postOf(func(p *musterv1.Post) { p.Payload = make([]byte, 64<<10+1) })), "post.payload", "at most 65536"),
		malformed("a receipt for nobody", saying(hello, receiptOf(&musterv1.Receipt{By: me})), "receipt.from.world", "1 to 63 runes"),
		malformed("a receipt by nobody", saying(hello, receiptOf(&musterv1.Receipt{From: me})), "receipt.by.world", "1 to 63 runes"),
		malformed("a receipt of the leader's", saying(hello, receiptOf(&musterv1.Receipt{
			From: me, By: me, Delivery: musterv1.Delivery_DELIVERY_UNKNOWN_WORLD,
		})), "receipt.delivery", "an addressee says"),
		malformed("a receipt that talks", saying(hello, receiptOf(&musterv1.Receipt{
			From: me, By: me, Delivery: musterv1.Delivery_DELIVERY_BUSY, Why: strings.Repeat("w", 1025),
		})), "receipt.why", "at most 1024"),
		malformed("an interest of nobody", saying(hello, interestOf(&musterv1.Interest{})), "interest.who.world", "1 to 63 runes"),
		malformed("1,025 interests", saying(hello, interestOf(&musterv1.Interest{Who: me, Ask: make([]*musterv1.ProcRef, 1025)})), "interest", "at most 1024"),
		malformed("an interest in a host", saying(hello, interestOf(&musterv1.Interest{Who: me, Ask: []*musterv1.ProcRef{host}})), "interest.ask.role", "only workers"),
		malformed("no interest in nobody", saying(hello, interestOf(&musterv1.Interest{Who: me, Forget: []*musterv1.ProcRef{nil}})), "interest.forget.world", "1 to 63 runes"),
		malformed("a long address", saying(hello, interestOf(&musterv1.Interest{Who: me, Known: []*musterv1.Located{
			{Proc: me, Address: strings.Repeat("a", 257)},
		}})), "interest.known.address", "at most 256"),
	}
}

// badSessions end with these errors. me is a member.
func badSessions(me *musterv1.ProcRef) []badCall {
	hello := helloOf(me)
	longOwner := helloOf()
	longOwner.GetHello().Owner = strings.Repeat("o", 257)
	return []badCall{
		malformed("a report first", saying(aliveOf("old", 0, 1)), "hello", "first message of a session must be a hello"),
		malformed("a confirmation first", saying(&musterv1.SessionRequest{
			Body: &musterv1.SessionRequest_Confirm{Confirm: &musterv1.Confirm{Proc: me}},
		}), "hello", "first message"),
		malformed("nothing", saying(&musterv1.SessionRequest{}), "body", "nothing that this version knows"),
		malformed("a hello of nobody", saying(helloOf(&musterv1.ProcRef{World: "9lives", Incarnation: 1})), "hello.members.proc.world", "begins with '9'"),
		malformed("a hello with rank 2^24", saying(helloOf(&musterv1.ProcRef{World: "old", Rank: 1 << 24, Incarnation: 1})), "hello.members.proc.rank", "below 16777216"),
		malformed("a hello without incarnation", saying(helloOf(&musterv1.ProcRef{World: "old"})), "hello.members.proc.incarnation", "missing"),
		malformed("a hello of an empty member", saying(helloOf(nil)), "hello.members.proc.world", "1 to 63 runes"),
		malformed("a long owner", saying(longOwner), "hello.owner", "at most 256"),
		malformed("runs cut off", saying(hello, aliveOf("old", 0)), "report.alive.runs", "(gap, length)"),
		malformed("a run of nothing", saying(hello, aliveOf("old", 0, 0)), "report.alive.runs", "(gap, length)"),
		malformed("a varint without end", saying(hello, aliveOf("old", 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1)), "report.alive.runs", "2^24"),
		malformed("runs beyond 2^24", saying(hello, aliveOf("old", 1, 0x80, 0x80, 0x80, 8)), "report.alive.runs", "2^24"),
		malformed("runs over 256 KiB", saying(hello, aliveOf("old", make([]byte, 256<<10+1)...)), "report.alive.runs", "at most 262144"),
		malformed("alive in no world", saying(hello, aliveOf("", 0, 1)), "report.alive.world", "1 to 63 runes"),
		malformed("a report without incarnation", saying(hello, failureOf(&musterv1.ProcRef{World: "old"})), "report.reports.proc.incarnation", "missing"),
		malformed("65 failed actors", saying(hello, failureOf(me, make([]*musterv1.FailedActor, 65)...)), "report.reports.failed_actors", "at most 64"),
		malformed("a failed actor without name", saying(hello, failureOf(me, &musterv1.FailedActor{})), "report.reports.failed_actors.actor", "1 to 256"),
		malformed("a cause over 1 KiB", saying(hello, failureOf(me, &musterv1.FailedActor{
			Actor: "a", Cause: strings.Repeat("c", 1025),
		})), "report.reports.failed_actors.cause", "at most 1024"),
		malformed("a confirmation of nobody", saying(hello, &musterv1.SessionRequest{
			Body: &musterv1.SessionRequest_Confirm{Confirm: &musterv1.Confirm{Proc: &musterv1.ProcRef{World: "old"}}},
		}), "confirm.proc.incarnation", "missing"),
		malformed("a stop result of nobody", saying(hello, &musterv1.SessionRequest{
			Body: &musterv1.SessionRequest_StopResult{StopResult: &musterv1.StopResult{}},
		}), "stop_result.proc.world", "1 to 63 runes"),
	}
}

// TestBadInput_EndsOnlyItsSession: a session that says what is malformed ends with an error that names the field. The member it
// spoke for goes on over its own session.
func TestBadInput_EndsOnlyItsSession(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "old", 1)
		m := Join(t, cl, "old", 0)
		conn := c.Conn(c.Leader())
		for _, b := range slices.Concat(badSessions(m.Proc()), badRelays(m.Proc())) {
			b.check(t, conn)
		}
		err := saying(helloOf(m.Proc()), aliveOf("old", make([]byte, 5<<20)...))(Within(t, Patience), conn)
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		require.Contains(t, err.Error(), "4194304")

		// Who says nothing at all does not hold a stream for ever.
		malformed("silence", saying(), "hello", "within 5s").check(t, conn)

		// Whoever speaks for strangers is told so, and nothing else happens.
		stranger := &musterv1.ProcRef{World: "nowhere", Role: musterv1.Role_ROLE_WORKER, Rank: 3, Incarnation: 77}
		stream, err := musterv1grpc.NewMemberServiceClient(conn).Session(Within(t, Patience))
		require.NoError(t, err)
		require.NoError(t, stream.Send(helloOf(stranger)))
		var verdict *musterv1.Verdict
		for verdict == nil {
			r, err := stream.Recv()
			require.NoError(t, err)
			if v := r.GetVerdicts().GetVerdicts(); len(v) > 0 {
				verdict = v[0]
			}
		}
		require.Contains(t, []musterv1.Verdict_Kind{musterv1.Verdict_KIND_UNKNOWN, musterv1.Verdict_KIND_REJOIN}, verdict.Kind)
		require.NoError(t, stream.CloseSend())

		time.Sleep(30 * time.Second) // three leases
		require.NoError(t, m.Err())
		require.Equal(t, musterv1.Status_STATUS_LIVE, Condition(c, cl, "old").GetStatus())
		c.RequireConverged()
	})
}
