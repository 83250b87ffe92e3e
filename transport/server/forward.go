package server

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/codec"
	"muster/transport/rpcstatus"
)

// maxAnswer bounds what a leader may answer to a call that was passed on; the SDK takes as much.
const maxAnswer = 64 << 20

// forwardedKey marks a call that another node has passed on: it is not passed on again.
const forwardedKey = "muster-forwarded"

// replies has the calls that are forwarded, with what they answer.
var replies = map[string]func() proto.Message{
	musterv1grpc.SystemService_UpsertWorld_FullMethodName:      func() proto.Message { return &musterv1.UpsertWorldResponse{} },
	musterv1grpc.SystemService_Stop_FullMethodName:             func() proto.Message { return &musterv1.StopResponse{} },
	musterv1grpc.SystemService_View_FullMethodName:             func() proto.Message { return &musterv1.ViewResponse{} },
	musterv1grpc.SystemService_WorldSupervision_FullMethodName: func() proto.Message { return &musterv1.WorldSupervisionResponse{} },
	musterv1grpc.SystemService_Restart_FullMethodName:          func() proto.Message { return &musterv1.RestartResponse{} },
	musterv1grpc.SystemService_DeleteWorld_FullMethodName:      func() proto.Message { return &musterv1.DeleteWorldResponse{} },
	musterv1grpc.SystemService_Start_FullMethodName:            func() proto.Message { return &musterv1.StartResponse{} },
	musterv1grpc.SystemService_ViewStop_FullMethodName:         func() proto.Message { return &musterv1.ViewStopResponse{} },
	musterv1grpc.SystemService_History_FullMethodName:          func() proto.Message { return &musterv1.HistoryResponse{} },
	musterv1grpc.SystemService_Explain_FullMethodName:          func() proto.Message { return &musterv1.ExplainResponse{} },
	musterv1grpc.MemberService_Join_FullMethodName:             func() proto.Message { return &musterv1.JoinResponse{} },
	musterv1grpc.MemberService_Leave_FullMethodName:            func() proto.Message { return &musterv1.LeaveResponse{} },
	musterv1grpc.ClusterService_Set_FullMethodName:             func() proto.Message { return &musterv1.SetResponse{} },
	musterv1grpc.ClusterService_ReleaseAlarm_FullMethodName:    func() proto.Message { return &musterv1.ReleaseAlarmResponse{} },
	musterv1grpc.ClusterService_RejoinNode_FullMethodName:      func() proto.Message { return &musterv1.RejoinNodeResponse{} },
	musterv1grpc.ClusterService_TransferLeader_FullMethodName:  func() proto.Message { return &musterv1.TransferLeaderResponse{} },
	musterv1grpc.ClusterService_RegisterNode_FullMethodName:    func() proto.Message { return &musterv1.RegisterNodeResponse{} },
}

// forward passes a call on to the leader if this node does not lead: one hop, so that nodes with different beliefs cannot play
// ball with it. Once it is sent and no answer comes back, nobody can say what became of it.
func (s *Server) forward(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	resp, err := handle(ctx, req)
	reply := replies[info.FullMethod]
	if reply == nil || rpcstatus.Refusal(err).GetReason() != musterv1.Reason_REASON_NOT_LEADER {
		return resp, err
	}
	hint := s.cfg.Node.Leader()
	if hint == nil && s.cfg.Node.Elected() && s.becomesReady(ctx) {
		return handle(ctx, req) // nothing of it was done before
	}
	self, _, _ := s.cfg.Node.Status()
	if hint == nil {
		return nil, rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "node %s knows of no leader: ask again in a moment%s", self.GetName(), because(self.GetProblem()))
	}
	refusal := &musterv1.Refusal{Reason: musterv1.Reason_REASON_NOT_LEADER, Message: "node " + self.GetName() + " does not lead, " + hint.Node + " may", Leader: hint}
	if hint.Node == self.GetName() { // elected, and not ready yet
		refusal.Leader, refusal.Message = nil, "node "+self.GetName()+" has been elected and is not ready yet: ask again in a moment"
		return nil, rpcstatus.Error(refusal)
	}
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md.Get(forwardedKey)) > 0 {
		return nil, rpcstatus.Error(refusal)
	}
	conn, err := s.peers.get(hint.Address)
	if err != nil {
		return nil, rpcstatus.Error(refusal)
	}
	out := reply()
	err = conn.Invoke(metadata.AppendToOutgoingContext(ctx, forwardedKey, self.GetName()), info.FullMethod, req, out)
	if err != nil && rpcstatus.Refusal(err) == nil && !rpcstatus.Definite(err) {
		return nil, rpcstatus.New(musterv1.Reason_REASON_OUTCOME_UNKNOWN, "passed on to node %s, which gave no answer (%v): ask again with the same request id", hint.Node, err)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// readyPatience is how long a call waits on a node that has been elected: until its term is published, which takes a write on two disks.
const readyPatience = 100 * time.Millisecond

func (s *Server) becomesReady(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	return s.leading.wait(ctx)
}

func because(problem string) string {
	if problem == "" {
		return ""
	}
	return " (" + problem + ")"
}

// peers are connections to other nodes, made when they are needed first.
type peers struct {
	dial func(ctx context.Context, address string) (net.Conn, error)

	mu     sync.Mutex
	conns  map[string]*grpc.ClientConn
	closed bool
}

func newPeers(dial func(context.Context, string) (net.Conn, error)) *peers {
	return &peers{dial: dial, conns: map[string]*grpc.ClientConn{}}
}

func (p *peers) get(address string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, grpc.ErrServerStopped
	}
	if c := p.conns[address]; c != nil {
		return c, nil
	}
	c, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(p.dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.ForceCodecV2(codec.Codec())),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}))
	if err != nil {
		return nil, err
	}
	p.conns[address] = c
	return c, nil
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.conns {
		_ = c.Close()
	}
}
