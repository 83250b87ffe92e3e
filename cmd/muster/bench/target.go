package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

const (
	// targetLease is long: what is measured is how much is taken, not who expires because nobody reports any more.
	targetLease    = 10 * time.Minute
	targetInterval = 2 * time.Second
	// targetStop is what members that nobody runs are given to end.
	targetStop = time.Second
	// cleanupPatience bounds removing what a measurement has made.
	cleanupPatience = time.Minute
	// progressEvery is between two lines of progress.
	progressEvery = time.Second
)

// Target is the cluster that a measurement of throughput loads, and how it is reached.
type Target struct {
	// Servers of the cluster, host:port.
	Servers []string
	// Connections to its leader.
	Connections int
	// Progress gets a line a second; nil = nobody.
	Progress io.Writer
}

// target is a Target under load: connections to the leader, and worlds that go again with it.
type target struct {
	Target
	client *client.Client
	conns  []*grpc.ClientConn
	worlds []string
}

// aim connects to the leader. The target is to be closed.
func (cfg Target) aim(ctx context.Context) (_ *target, err error) {
	t := &target{Target: cfg}
	if t.client, err = client.New(client.Config{Servers: cfg.Servers}); err != nil {
		return nil, err
	}
	leader, err := t.client.Cluster().FindLeader(ctx)
	for i := 0; err == nil && i < cfg.Connections; i++ {
		var conn *grpc.ClientConn
		conn, err = grpc.NewClient("passthrough:///"+leader.GetAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err == nil {
			t.conns = append(t.conns, conn)
		}
	}
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// world makes an open world with a name of its own.
func (t *target) world(ctx context.Context, prefix string) (string, error) {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	spec := &musterv1.WorldSpec{
		World: prefix + "-" + hex.EncodeToString(b[:]), Shape: &musterv1.Shape{Open: true}, OnFailure: musterv1.FailurePolicy_FAILURE_POLICY_KEEP,
		Timeouts: &musterv1.Timeouts{
			LeaseNs: int64(targetLease), ReportIntervalNs: int64(targetInterval), DeliveryNs: int64(2 * targetLease), EvictionNs: -1, ProcTimeoutNs: int64(targetStop),
		},
	}
	if _, err := t.client.Cluster().UpsertWorld(ctx, &musterv1.UpsertWorldRequest{Spec: spec}); err != nil {
		return "", err
	}
	t.worlds = append(t.worlds, spec.World)
	return spec.World, nil
}

// close removes the worlds and ends the connections.
func (t *target) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupPatience)
	defer cancel()
	var errs []error
	for _, conn := range t.conns {
		errs = append(errs, conn.Close())
	}
	for _, world := range t.worlds {
		errs = append(errs, t.remove(ctx, world))
	}
	return errors.Join(append(errs, t.client.Close())...)
}

func (t *target) remove(ctx context.Context, world string) error {
	cluster := t.client.Cluster()
	stop, err := cluster.Stop(ctx, &musterv1.StopRequest{Worlds: []string{world}, Reason: "the measurement is over"})
	if err == nil {
		_, err = cluster.WaitStop(ctx, stop.GetOperation())
	}
	if err == nil {
		_, err = cluster.DeleteWorld(ctx, &musterv1.DeleteWorldRequest{World: world})
	}
	if err != nil {
		return fmt.Errorf("remove world %s: %w", world, err)
	}
	return nil
}

// report tells how far a measurement is, each second until ctx ends.
func (t *target) report(ctx context.Context, what string, done func() int64) {
	if t.Progress == nil {
		return
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for before := done(); ; {
		select {
		case <-tick.C:
			now := done()
			fmt.Fprintf(t.Progress, "%d %s, %d in the last second\n", now, what, now-before)
			before = now
		case <-ctx.Done():
			return
		}
	}
}

// rate is how many of something were done in a time.
func rate(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(int64(float64(n) / d.Seconds()))
}
