package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/rpcstatus"
)

// fakes is a network of fake nodes in this process. What a node answers is a function field; what is left nil is refused.
type fakes struct {
	mu    sync.Mutex
	nodes map[string]*fakeNode
	dials map[string]int
}

type fakeNode struct {
	musterv1grpc.UnimplementedSystemServiceServer
	musterv1grpc.UnimplementedMemberServiceServer
	musterv1grpc.UnimplementedClusterServiceServer
	fakeVerbs

	address  string
	listener *bufconn.Listener
	server   *grpc.Server

	// hangs: it takes a FindLeader and never answers.
	hangs atomic.Bool
	// asked counts the FindLeaders that came.
	asked atomic.Int64

	mu      sync.Mutex
	leader  *musterv1.LeaderHint
	upsert  func(*musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error)
	view    func(*musterv1.ViewRequest) (*musterv1.ViewResponse, error)
	join    func(*musterv1.JoinRequest) (*musterv1.JoinResponse, error)
	leave   func(*musterv1.LeaveRequest) (*musterv1.LeaveResponse, error)
	session func(*fakeSession) error
	save    func(grpc.ServerStreamingServer[musterv1.SaveStateResponse]) error
	restore func(grpc.ClientStreamingServer[musterv1.RestoreStateRequest, musterv1.RestoreStateResponse]) error

	rejoin func(*musterv1.RejoinNodeRequest) (*musterv1.RejoinNodeResponse, error)

	joins  []*musterv1.JoinRequest
	leaves []*musterv1.LeaveRequest
}

// newFakes starts nodes of these addresses and stops them with the test.
func newFakes(t *testing.T, addresses ...string) *fakes {
	f := &fakes{nodes: make(map[string]*fakeNode), dials: make(map[string]int)}
	for _, address := range addresses {
		node := &fakeNode{address: address, listener: bufconn.Listen(64 << 10), server: grpc.NewServer(grpc.WaitForHandlers(true))}
		musterv1grpc.RegisterSystemServiceServer(node.server, node)
		musterv1grpc.RegisterMemberServiceServer(node.server, node)
		musterv1grpc.RegisterClusterServiceServer(node.server, node)
		f.nodes[address] = node
		var serving sync.WaitGroup
		serving.Go(func() { _ = node.server.Serve(node.listener) })
		t.Cleanup(func() {
			node.server.Stop()
			serving.Wait()
		})
	}
	return f
}

func (f *fakes) dial(ctx context.Context, address string) (net.Conn, error) {
	f.mu.Lock()
	f.dials[address]++
	node := f.nodes[address]
	f.mu.Unlock()
	if node == nil {
		return nil, errors.New("connection refused")
	}
	return node.listener.DialContext(ctx)
}

// client makes a client that knows these servers and is closed with the test.
func (f *fakes) client(t *testing.T, servers ...string) *Client {
	c, err := New(Config{Servers: servers, Dial: f.dial})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// lead tells nodes who leads from now on.
func (f *fakes) lead(address string, epoch, term uint64, tell ...string) {
	for _, other := range tell {
		node := f.nodes[other]
		node.mu.Lock()
		node.leader = &musterv1.LeaderHint{Node: address, Address: address, Epoch: epoch, RaftTerm: term}
		node.mu.Unlock()
	}
}

func (n *fakeNode) known() *musterv1.LeaderHint {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leader
}

var errNotFaked = rpcstatus.New(musterv1.Reason_REASON_UNSUPPORTED, "not faked")

func (n *fakeNode) UpsertWorld(_ context.Context, req *musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
	if n.upsert == nil {
		return nil, errNotFaked
	}
	return n.upsert(req)
}

func (n *fakeNode) View(_ context.Context, req *musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
	if n.view == nil {
		return nil, errNotFaked
	}
	return n.view(req)
}

func (n *fakeNode) Join(_ context.Context, req *musterv1.JoinRequest) (*musterv1.JoinResponse, error) {
	n.mu.Lock()
	n.joins = append(n.joins, req)
	n.mu.Unlock()
	if n.join == nil {
		return nil, errNotFaked
	}
	return n.join(req)
}

func (n *fakeNode) Leave(_ context.Context, req *musterv1.LeaveRequest) (*musterv1.LeaveResponse, error) {
	n.mu.Lock()
	n.leaves = append(n.leaves, req)
	n.mu.Unlock()
	if n.leave == nil {
		return &musterv1.LeaveResponse{Removed: true, Number: 900}, nil
	}
	return n.leave(req)
}

func (n *fakeNode) FindLeader(ctx context.Context, _ *musterv1.FindLeaderRequest) (*musterv1.FindLeaderResponse, error) {
	n.asked.Add(1)
	if n.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &musterv1.FindLeaderResponse{Leader: n.known()}, nil
}

func (n *fakeNode) RejoinNode(_ context.Context, req *musterv1.RejoinNodeRequest) (*musterv1.RejoinNodeResponse, error) {
	if n.rejoin == nil {
		return nil, errNotFaked
	}
	return n.rejoin(req)
}

func (n *fakeNode) SaveState(_ *musterv1.SaveStateRequest, stream grpc.ServerStreamingServer[musterv1.SaveStateResponse]) error {
	if n.save == nil {
		return errNotFaked
	}
	return n.save(stream)
}

func (n *fakeNode) RestoreState(stream grpc.ClientStreamingServer[musterv1.RestoreStateRequest, musterv1.RestoreStateResponse]) error {
	if n.restore == nil {
		return errNotFaked
	}
	return n.restore(stream)
}

// fakeSession is the server side of one session: what came, with the time of its coming, and a way to answer.
type fakeSession struct {
	musterv1grpc.MemberService_SessionServer
	// received has all messages; closed at the end of the stream.
	received chan *musterv1.SessionRequest
}

func (n *fakeNode) Session(stream musterv1grpc.MemberService_SessionServer) error {
	if n.session == nil {
		return errNotFaked
	}
	s := &fakeSession{MemberService_SessionServer: stream, received: make(chan *musterv1.SessionRequest, 1000)}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(s.received)
		for {
			message, err := stream.Recv()
			if err != nil {
				return
			}
			s.received <- message
		}
	})
	return n.session(s)
}

func (s *fakeSession) welcome(epoch, term, number uint64) error {
	return s.Send(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Welcome{
		Welcome: &musterv1.Welcome{Epoch: epoch, RaftTerm: term, Number: number, Relays: true},
	}})
}

func (s *fakeSession) ack(seq uint64) error {
	return s.Send(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_AckedSeq{AckedSeq: seq}})
}

func (s *fakeSession) verdict(proc *musterv1.ProcRef, kind musterv1.Verdict_Kind, status musterv1.Status) error {
	return s.Send(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Verdicts{Verdicts: &musterv1.Verdicts{
		Verdicts: []*musterv1.Verdict{{Proc: proc, Kind: kind, Status: status}},
	}}})
}

func (s *fakeSession) stop(proc *musterv1.ProcRef, id, operation uint64) error {
	return s.Send(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Order{Order: &musterv1.Order{
		Id: id, Proc: proc, What: &musterv1.Order_Stop{Stop: &musterv1.StopOrder{
			Operation: operation, ProcTimeoutNs: int64(5 * time.Second), Reason: "enough",
		}},
	}}})
}

// serve welcomes with a pair, acknowledges every report at once, sends frames, and gives every message to each. It ends with
// the stream, or when each says so.
func (s *fakeSession) serve(epoch, term uint64, each func(*musterv1.SessionRequest) error) error {
	frames := time.NewTicker(250 * time.Millisecond)
	defer frames.Stop()
	answers := uint64(0)
	for {
		select {
		case message, open := <-s.received:
			if !open {
				return nil
			}
			if message.GetHello() != nil {
				if err := s.welcome(epoch, term, 500); err != nil {
					return err
				}
			}
			if each != nil {
				if err := each(message); err != nil {
					return err
				}
			}
			if report := message.GetReport(); report != nil {
				if err := s.ack(report.GetSeq()); err != nil {
					return err
				}
			} else if isAnswer(message) {
				answers++
				if err := s.Send(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_AppliedAnswers{AppliedAnswers: answers}}); err != nil {
					return err
				}
			}
		case <-frames.C:
			if err := s.Send(&musterv1.SessionResponse{}); err != nil {
				return err
			}
		}
	}
}

// isAnswer tells what is applied, and counted, from what is relayed.
func isAnswer(m *musterv1.SessionRequest) bool {
	return m.GetHello() == nil && m.GetPost() == nil && m.GetReceipt() == nil && m.GetInterest() == nil
}

const (
	testLease    = 10 * time.Second
	testInterval = 2 * time.Second
)

// joined answers a join with an incarnation.
func joined(req *musterv1.JoinRequest, incarnation uint64) *musterv1.JoinResponse {
	return &musterv1.JoinResponse{
		Proc:       &musterv1.ProcRef{World: req.GetWorld(), Role: req.GetRole(), Rank: req.GetRank(), Incarnation: incarnation},
		Timeouts:   &musterv1.Timeouts{LeaseNs: int64(testLease), ReportIntervalNs: int64(testInterval)},
		Generation: 1, Number: incarnation, Epoch: 100,
	}
}

// admit makes a node answer joins with ascending incarnations from first on.
func (n *fakeNode) admit(first uint64) {
	next := first
	n.join = func(req *musterv1.JoinRequest) (*musterv1.JoinResponse, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		next++
		return joined(req, next-1), nil
	}
}

func (n *fakeNode) joinsSeen() []*musterv1.JoinRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.joins)
}

// timeline collects what happened, in order.
type timeline struct {
	mu    sync.Mutex
	lines []string
}

func (l *timeline) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *timeline) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}
