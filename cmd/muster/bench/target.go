package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/client"
	"muster/transport/codec"
)

const (
	// targetLease is long: what is measured is how much is taken, not who expires because nobody reports any more.
	targetLease    = 10 * time.Minute
	targetInterval = 2 * time.Second
	// targetStop is what members that nobody runs are given to end.
	targetStop = time.Second
	// cleanupPatience bounds removing what a measurement has made.
	cleanupPatience = time.Minute
	// removedAtOnce worlds are stopped at once: each takes as long as its members are given.
	removedAtOnce = 32
	// leftFirst is how many members leave one by one before their world is stopped.
	leftFirst = 2000
	// loadGC has this process collect its garbage seldom: it shares the processors with what is measured.
	loadGC = 800
	// progressEvery is between two lines of progress.
	progressEvery = time.Second
)

// Target is the cluster that a measurement loads, and how it is reached.
type Target struct {
	// Servers of the cluster, host:port.
	Servers []string
	// Connections to its leader.
	Connections int
	// Progress is told each second how far it is; nil = nobody.
	Progress io.Writer
}

// target is a Target under load: connections to whoever leads, and worlds that go again with it. Safe for concurrent use.
type target struct {
	Target
	aimed  time.Time // when it was made
	client *client.Client

	mu     sync.Mutex
	conns  map[string][]*grpc.ClientConn // by address
	leader string                        // its address
	worlds []string
}

// options are the SDK's, as far as they change what is measured. Windows of a fixed size: for those that grow, gRPC sends a ping behind nearly
// every message of a connection that has little to say, and the server answers each.
func options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(1 << 20), grpc.WithInitialConnWindowSize(4 << 20),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec.Codec())),
	}
}

// aim connects to the leader. The target is to be closed.
func (cfg Target) aim(ctx context.Context) (_ *target, err error) {
	debug.SetGCPercent(loadGC)
	t := &target{Target: cfg, aimed: time.Now(), conns: map[string][]*grpc.ClientConn{}}
	if t.client, err = client.New(client.Config{Servers: cfg.Servers}); err != nil {
		return nil, err
	}
	if err := t.follow(ctx); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// follow asks who leads, and aims there.
func (t *target) follow(ctx context.Context) error {
	leader, err := t.client.Cluster().FindLeader(ctx)
	if err != nil {
		return err
	}
	if _, err := t.at(leader.GetAddress()); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leader = leader.GetAddress()
	return nil
}

// at has connections to a server, made when they are needed first.
func (t *target) at(address string) ([]*grpc.ClientConn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.conns[address]) < t.Connections {
		conn, err := grpc.NewClient("passthrough:///"+address, options()...)
		if err != nil {
			return nil, fmt.Errorf("server %q: %w", address, err)
		}
		t.conns[address] = append(t.conns[address], conn)
	}
	return t.conns[address], nil
}

// conn is one of the connections to the leader, the same for the same number while that leads.
func (t *target) conn(i int) *grpc.ClientConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	conns := t.conns[t.leader]
	return conns[i%len(conns)]
}

// quiet are the timeouts of a world of which nobody reports.
func quiet() *musterv1.Timeouts {
	return &musterv1.Timeouts{
		LeaseNs: int64(targetLease), ReportIntervalNs: int64(targetInterval), DeliveryNs: int64(2 * targetLease), EvictionNs: -1, ProcTimeoutNs: int64(targetStop),
	}
}

// world makes an open world with a name of its own.
func (t *target) world(ctx context.Context, prefix string, timeouts *musterv1.Timeouts) (string, error) {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	spec := &musterv1.WorldSpec{
		World: prefix + "-" + hex.EncodeToString(b[:]), Shape: &musterv1.Shape{Open: true}, OnFailure: musterv1.FailurePolicy_FAILURE_POLICY_KEEP,
		Timeouts: timeouts,
	}
	t.mu.Lock()
	t.worlds = append(t.worlds, spec.World) // before it is made: an answer may be lost
	t.mu.Unlock()
	_, err := t.client.Cluster().UpsertWorld(ctx, &musterv1.UpsertWorldRequest{Spec: spec})
	return spec.World, err
}

// close removes the worlds and ends the connections.
func (t *target) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupPatience+time.Duration(len(t.worlds))*time.Second)
	defer cancel()
	var errs []error
	if len(t.worlds) > 0 {
		if t.Progress != nil {
			fmt.Fprintln(t.Progress, "removing the members that were made")
		}
		errs = append(errs, t.follow(ctx))
	}
	var g errgroup.Group
	g.SetLimit(removedAtOnce)
	for _, world := range t.worlds {
		g.Go(func() error {
			if err := t.remove(ctx, world); err != nil {
				return fmt.Errorf("remove world %s: %w", world, err)
			}
			return nil
		})
	}
	errs = append(errs, g.Wait())
	for _, conns := range t.conns {
		for _, conn := range conns {
			errs = append(errs, conn.Close())
		}
	}
	return errors.Join(append(errs, t.client.Close())...)
}

// remove has a world gone. Nobody runs its members, so a stop of it takes as long as they are given to answer; where they are few, it is quicker
// to have each leave first.
func (t *target) remove(ctx context.Context, world string) error {
	cluster := t.client.Cluster()
	view, err := cluster.View(ctx, &musterv1.ViewRequest{Worlds: []string{world}, PageSize: leftFirst})
	if err != nil || len(view.GetWorlds()) == 0 { // then it was not made
		return err
	}
	if view.GetNextPageToken() == "" {
		if err := t.leave(ctx, view.GetWorlds()[0].GetProcs()); err != nil {
			return err
		}
	}
	if _, err := cluster.Stop(ctx, &musterv1.StopRequest{Worlds: []string{world}, Reason: "the measurement is over"}); err != nil {
		return err
	}
	if _, err := cluster.WaitWorld(ctx, world, 0, client.UntilEnded); err != nil { // and not WaitStop: nobody wants to read its many targets
		return err
	}
	_, err = cluster.DeleteWorld(ctx, &musterv1.DeleteWorldRequest{World: world})
	return err
}

func (t *target) leave(ctx context.Context, procs []*musterv1.ProcView) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(joinsAtOnce)
	for i, p := range procs {
		g.Go(func() error {
			_, err := musterv1grpc.NewMemberServiceClient(t.conn(i)).Leave(ctx, &musterv1.LeaveRequest{Proc: p.GetProc(), Issued: t.client.Number()})
			return err
		})
	}
	return g.Wait()
}

// Window is when something was measured.
type Window struct {
	// Began is how long after the measurement was asked for, in milliseconds: whoever looked at the servers meanwhile knows by it what to take.
	Began   float64 `json:"began_ms"`
	Seconds float64 `json:"seconds"`
}

func (t *target) window(began time.Time, lasted time.Duration) Window {
	return Window{ms(began.Sub(t.aimed)), lasted.Seconds()}
}

// rate is how many of something were done in a time.
func rate(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(int64(float64(n) / d.Seconds()))
}
