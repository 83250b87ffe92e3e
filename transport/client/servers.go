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
)

const (
	connectTimeout = time.Second
	// A page of 10,000 procs is a few MiB; gRPC's own limit of 4 MiB would refuse it.
	maxAnswer = 64 << 20
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
	// Why the last attempt to reach an address failed, for people.
	trouble map[string]error
	// Where the rotation stands.
	turn int
}

func newServers(cfg Config) (*servers, error) {
	s := &servers{
		conns:   make(map[string]*grpc.ClientConn),
		trouble: make(map[string]error),
	}
	s.options = []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := cfg.Dial(ctx, address)
			s.mu.Lock()
			s.trouble[address] = err
			s.mu.Unlock()
			return conn, err
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithIdleTimeout(0),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
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
		case connectivity.TransientFailure, connectivity.Shutdown:
			return nil, s.notConnected(address)
		case connectivity.Idle:
			conn.Connect()
		}
		if !conn.WaitForStateChange(limited, state) {
			return nil, s.notConnected(address)
		}
	}
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
