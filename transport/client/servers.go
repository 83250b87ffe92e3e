package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"muster/transport/codec"
)

const (
	connectTimeout = time.Second
	// A page of 10,000 procs is a few MiB; gRPC's own limit of 4 MiB would refuse it.
	maxAnswer = 64 << 20
	// firstRedial is what is left alone a server that is not there, and longestRedial the most: a crowd that dials one that is dead has
	// that much less time for the next leader. One of which is heard that it leads, and any while none can be reached, is dialled at once.
	firstRedial, longestRedial = time.Second, 3 * time.Second
	// dialPatience is what such a dial is given before the attempt counts as failed.
	dialPatience = 100 * time.Millisecond
	// connBuffer is per connection and direction: thousands of clients may share a process.
	connBuffer = 8 << 10
	// Windows of a fixed size: for those that grow, gRPC sends a ping behind nearly every message of a connection that has little to say.
	streamWindow = 1 << 20
	connWindow   = 4 << 20
	// Learnt addresses are bounded, so that a confused server cannot make a client grow.
	maxServers = 32
)

// errNotConnected: nothing was sent, because there was no connection to send it on.
var errNotConnected = errors.New("cannot connect")

// servers is the known addresses with a connection each.
type servers struct {
	options []grpc.DialOption

	// mu guards the rest.
	mu sync.Mutex
	// In the order given, learnt ones behind.
	addresses []string
	conns     map[string]*grpc.ClientConn
	heard     map[string]*lastHeard
	// Dials that were begun because somebody said that the server is there.
	redials map[string]redial
	// Why the last attempt to reach an address failed, for people.
	trouble map[string]error
	// Where the rotation stands.
	turn int
}

func newServers(cfg Config) (*servers, error) {
	s := &servers{
		conns:   make(map[string]*grpc.ClientConn),
		heard:   make(map[string]*lastHeard),
		redials: make(map[string]redial),
		trouble: make(map[string]error),
	}
	s.options = []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := cfg.Dial(ctx, address)
			s.mu.Lock()
			s.trouble[address] = err
			if begun, ok := s.redials[address]; ok && err != nil {
				begun.failed()
			}
			s.mu.Unlock()
			return conn, err
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstRedial, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestRedial},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithReadBufferSize(connBuffer), grpc.WithWriteBufferSize(connBuffer),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithIdleTimeout(0),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.ForceCodecV2(codec.Codec())),
	}
	for _, address := range cfg.Servers {
		if err := s.add(address); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// add learns an address. Known ones, and more than can be kept, are no error.
func (s *servers) add(address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if address == "" || s.conns[address] != nil || len(s.addresses) >= maxServers {
		return nil
	}
	conn, err := grpc.NewClient("passthrough:///"+address, s.options...)
	if err != nil {
		return fmt.Errorf("client: server %q: %w", address, err)
	}
	s.conns[address] = conn
	s.heard[address] = newLastHeard()
	s.addresses = append(s.addresses, address)
	return nil
}

func (s *servers) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.addresses)
}

// next is the next address of the rotation, not avoid if there is another one.
func (s *servers) next(avoid string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	address := s.addresses[s.turn%len(s.addresses)]
	if address == avoid {
		s.turn++
		address = s.addresses[s.turn%len(s.addresses)]
	}
	s.turn++
	return address
}

func (s *servers) heardFrom(address string) *lastHeard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard[address]
}

// dialAtOnce ends the pause before an address is dialled again: somebody says that it serves. The next attempt to connect waits for that.
func (s *servers) dialAtOnce(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := s.conns[address]
	if conn != nil && conn.GetState() == connectivity.TransientFailure {
		conn.ResetConnectBackoff()
		ctx, failed := context.WithTimeout(context.Background(), dialPatience) // ended by a failed dial, or its time
		s.redials[address] = redial{ctx, failed}
	}
}

// redial is a dial that somebody waits for. Its context ends when it has failed: gRPC shows a failure until there is a connection.
type redial struct {
	ctx    context.Context
	failed context.CancelFunc
}

// redialled waits for the dial that dialAtOnce has begun, and tells whether it came to something; false if there was none.
func (s *servers) redialled(ctx context.Context, address string, conn *grpc.ClientConn) bool {
	s.mu.Lock()
	begun, ok := s.redials[address]
	s.mu.Unlock()
	if !ok {
		return false
	}
	defer context.AfterFunc(ctx, begun.failed)()
	if conn.WaitForStateChange(begun.ctx, connectivity.TransientFailure) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.redials[address].ctx == begun.ctx {
		delete(s.redials, address)
	}
	return false
}

// connect gives a connection that is ready. Without that wait a call that was never sent could not be told from one whose
// answer was lost.
func (s *servers) connect(ctx context.Context, address string) (*grpc.ClientConn, error) {
	s.mu.Lock()
	conn := s.conns[address]
	s.mu.Unlock()
	if conn == nil {
		return nil, fmt.Errorf("server %s: %w: unknown address", address, errNotConnected)
	}
	limited, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return conn, nil
		case connectivity.TransientFailure:
			if s.redialled(limited, address, conn) {
				continue
			}
			if !s.reached() {
				conn.ResetConnectBackoff()
			}
			return nil, s.notConnected(address)
		case connectivity.Shutdown:
			return nil, s.notConnected(address)
		case connectivity.Idle:
			conn.Connect()
		}
		if !conn.WaitForStateChange(limited, state) {
			return nil, s.notConnected(address)
		}
	}
}

// reached tells whether there is a connection, or may be one soon, to any server.
func (s *servers) reached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		if conn.GetState() != connectivity.TransientFailure {
			return true
		}
	}
	return false
}

func (s *servers) notConnected(address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.trouble[address]; err != nil {
		return fmt.Errorf("server %s: %w: %w", address, errNotConnected, err)
	}
	return fmt.Errorf("server %s: %w: it does not answer", address, errNotConnected)
}

func (s *servers) close() error {
	s.mu.Lock()
	conns := slices.Collect(maps.Values(s.conns))
	s.mu.Unlock()
	var errs []error
	for _, conn := range conns {
		// Canceled: it was closed before.
		if err := conn.Close(); err != nil && status.Code(err) != codes.Canceled {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
