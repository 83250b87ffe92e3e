package clustertest

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/node"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
	"muster/transport/rpcstatus"
)

// Bubble runs a test of a cluster in virtual time.
func Bubble(t *testing.T, configure func(*node.Config), test func(t *testing.T, c *Cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, configure)
		defer c.Close()
		test(t, c)
	})
}

// Within is a context that ends after d, and with the test.
func Within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// Reason is why a bare call was refused.
func Reason(err error) musterv1.Reason { return rpcstatus.Refusal(err).GetReason() }

// Sixteen makes a request id or a nonce of a name.
func Sixteen(name string) []byte { return []byte(fmt.Sprintf("%16s", name)) }

// CreateWorld creates a world whose procs join by themselves.
func CreateWorld(t *testing.T, cl *client.Client, name string, n uint32) *musterv1.UpsertWorldResponse {
	t.Helper()
	r, err := cl.Cluster().UpsertWorld(Within(t, Patience), &musterv1.UpsertWorldRequest{
		Spec: &musterv1.WorldSpec{World: name, Shape: &musterv1.Shape{Dims: []uint32{n}}, ProcsPerHost: 8},
	})
	require.NoError(t, err)
	return r
}

// CreateGang creates a world of programs; change, if not nil, changes what is asked for. It returns the generation.
func CreateGang(t *testing.T, cl *client.Client, world string, procs, perHost uint32, change func(*musterv1.UpsertWorldRequest)) uint64 {
	t.Helper()
	u := &musterv1.UpsertWorldRequest{Spec: &musterv1.WorldSpec{
		World: world, Shape: &musterv1.Shape{Dims: []uint32{procs}}, ProcsPerHost: perHost, Exec: &musterv1.Exec{Program: "train"},
	}}
	if change != nil {
		change(u)
	}
	r, err := cl.Cluster().UpsertWorld(Within(t, Patience), u)
	require.NoError(t, err)
	return r.Generation
}

// Join makes a member that reports by itself and ends when it is asked to.
func Join(t *testing.T, cl *client.Client, world string, rank uint32) *client.Member {
	t.Helper()
	m, err := cl.Join(Within(t, Patience), client.MemberConfig{World: world, Rank: rank, Key: fmt.Sprint("key-", rank), Machine: "machine"})
	require.NoError(t, err)
	return m
}

// StopWorld begins to stop a world. It returns the operation.
func StopWorld(t *testing.T, cl *client.Client, world string) uint64 {
	t.Helper()
	r, err := cl.Cluster().Stop(Within(t, Patience), &musterv1.StopRequest{Worlds: []string{world}, Reason: "enough"})
	require.NoError(t, err)
	return r.Operation
}

// StopTold is a Handler that says which rank was told to stop, and takes three seconds for it.
type StopTold struct {
	Rank uint32
	Told chan uint32
}

// Stop does that.
func (h StopTold) Stop(ctx context.Context, _ *musterv1.StopOrder) client.StopOutcome {
	h.Told <- h.Rank
	select {
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
	}
	return client.StopOutcome{ActorsStopped: 1}
}
