package server

import (
	"context"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/system"
	"muster/transport/codec"
	"muster/transport/rpcstatus"
)

// LeaderService is the name under which the health service shows whether a term is published here.
const LeaderService = "muster.v1.leader"

const (
	maxMessage     = 4 << 20 // of a request; larger ones are refused by gRPC with the limit in the message
	connectTimeout = 5 * time.Second
	minPing        = 5 * time.Second
	idlePing       = 10 * time.Second
	pingTimeout    = 3 * time.Second
	connBuffer     = 8 << 10 // per connection and direction; there may be tens of thousands
	maxStreams     = 1 << 12 // per connection
	// Windows of a fixed size: for those that grow, gRPC sends a ping behind nearly every message of a connection that has little to say.
	streamWindow    = 256 << 10
	connWindow      = 1 << 20
	defaultDeadline = 30 * time.Second
)

// Node is what the ClusterService needs to know of the node it runs on. Safe for concurrent use.
type Node interface {
	// Leader is who leads, as far as this node knows; nil if it does not.
	Leader() *musterv1.LeaderHint
	// Elected: Raft has this node lead; its term may not be published yet.
	Elected() bool
	// Status of this node, its state, and what is wrong with it.
	Status() (*musterv1.NodeStatus, *musterv1.StateStatus, []string)
	// Staleness is how old what this node has applied may be.
	Staleness() *musterv1.Staleness
	// Disk says in words what is wrong with the disk of this node; nothing, as a rule.
	Disk() []string
	// ClusterID; empty while the node has none.
	ClusterID() string
	// Peers are the nodes of the configuration, this one among them.
	Peers() []*musterv1.NodeStatus
	// Rejoin brings a wiped node back.
	Rejoin(ctx context.Context, name string) (removed, added string, err error)
	// TransferLeadership hands leadership to a node, any other one for "". With an error this node goes on leading.
	TransferLeadership(ctx context.Context, to string) error
}

// Sessions serves member streams.
type Sessions interface {
	Serve(grpc.BidiStreamingServer[musterv1.SessionRequest, musterv1.SessionResponse]) error
}

// Config of a Server. All fields are required.
type Config struct {
	System   *system.System
	Sessions Sessions
	Node     Node
	Dial     func(ctx context.Context, address string) (net.Conn, error) // to another node's one port
	Logger   hclog.Logger
	// Handled is told of every call that has ended, with its full method name and its gRPC code. It must not block.
	Handled func(method, code string)
}

// Server is gRPC on one node. Safe for concurrent use.
type Server struct {
	cfg    Config
	grpc   *grpc.Server
	health *health.Server
	peers  *peers

	leading *gate // open while a term is published here

	freezing sync.Mutex // held by whoever freezes the state for a file

	stopping context.Context // ends when the server begins to stop
	stop     context.CancelFunc
}

// New returns a Server that does not listen yet.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, health: health.NewServer(), peers: newPeers(cfg.Dial), leading: newGate()}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(
		grpc.ChainUnaryInterceptor(s.countUnary, s.recoverUnary, s.forward),
		grpc.ChainStreamInterceptor(s.countStream, s.recoverStream),
		grpc.ForceServerCodecV2(codec.Codec()),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: idlePing, Timeout: pingTimeout}),
		grpc.ReadBufferSize(connBuffer), grpc.WriteBufferSize(connBuffer),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connWindow),
		grpc.MaxConcurrentStreams(maxStreams),
	)
	musterv1grpc.RegisterSystemServiceServer(roomy{s.grpc}, &systemService{s: s})
	musterv1grpc.RegisterMemberServiceServer(roomy{s.grpc}, &memberService{s: s})
	musterv1grpc.RegisterClusterServiceServer(roomy{s.grpc}, &clusterService{s: s})
	healthgrpc.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.SetLeading(false)
	s.SetReady(false)
	return s
}

// Serve serves a listener until Stop.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// SetLeading shows whether a term is published here.
func (s *Server) SetLeading(yes bool) {
	s.leading.set(yes)
	s.show(LeaderService, yes)
}

// SetReady shows whether the node takes part in its cluster.
func (s *Server) SetReady(yes bool) { s.show("", yes) }

func (s *Server) show(service string, yes bool) {
	status := healthgrpc.HealthCheckResponse_NOT_SERVING
	if yes {
		status = healthgrpc.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(service, status)
}

// Stop lets calls finish until ctx ends, then cuts them off. End the sessions first: they never finish by themselves.
func (s *Server) Stop(ctx context.Context) {
	s.health.Shutdown()
	s.stop()
	defer context.AfterFunc(ctx, s.grpc.Stop)()
	s.grpc.GracefulStop()
	s.peers.close()
}

// untilStopped is ctx, and ends when the server begins to stop: for calls that never finish by themselves.
func (s *Server) untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	release := context.AfterFunc(s.stopping, cancel)
	return ctx, func() {
		release()
		cancel()
	}
}

func (s *Server) countUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	resp, err := handle(ctx, req)
	s.cfg.Handled(info.FullMethod, code(err))
	return resp, err
}

func (s *Server) countStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	err := handle(srv, stream)
	s.cfg.Handled(info.FullMethod, code(err))
	return err
}

// code is the one that gRPC sends for a handler's error.
func code(err error) string {
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	return st.Code().String()
}

// recoverUnary keeps a handler's panic from ending the node.
func (s *Server) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.panicked(info.FullMethod, r)
		}
	}()
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultDeadline)
		defer cancel()
	}
	return handle(ctx, req)
}

func (s *Server) recoverStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.panicked(info.FullMethod, r)
		}
	}()
	return handle(srv, stream)
}

func (s *Server) panicked(method string, r any) error {
	s.cfg.Logger.Error("a handler broke; please report it", "method", method, "panic", r, "stack", string(debug.Stack()))
	return rpcstatus.New(musterv1.Reason_REASON_INTERNAL, "%s broke on this node: see its log, and please report it", method)
}

// read calls f with the state, as the caller asked for it. It tells how old that may be where the leader was not asked, else nil.
func (s *Server) read(ctx context.Context, stale bool, f func(*fsm.State)) (*musterv1.Staleness, error) {
	var age *musterv1.Staleness
	if stale {
		age = s.cfg.Node.Staleness() // read before the state, which is no older
	}
	if err := s.cfg.System.Read(ctx, stale, f); err != nil {
		return nil, s.failed(err)
	}
	return age, nil
}
