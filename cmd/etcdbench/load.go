package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// loadGC has this process collect its garbage as seldom as muster bench does: it shares the processors with the nodes.
const loadGC = 800

// leaseSeconds is long, so that nothing expires while it is measured how much is taken.
const leaseSeconds = 600

// mostAtOnce are the leases of a caller that are asked for before their answers are read, and fit into what a stream buffers.
const mostAtOnce = 256

// load is of callers who each wait for an answer and ask again at once.
type load struct {
	callers, connections int
	duration             time.Duration
	leases               int // of each caller, where they are kept alive
	// Where it is watched: watchers on all nodes, and events a second.
	watchers, rate int
}

// ask makes what one caller does again and again, over a client.
type ask func(ctx context.Context, client *clientv3.Client, l load, caller int) (func(n int) error, error)

var asks = map[string]ask{
	"grant": func(ctx context.Context, client *clientv3.Client, _ load, _ int) (func(int) error, error) {
		return func(int) error {
			_, err := client.Grant(ctx, leaseSeconds)
			return err
		}, nil
	},
	"grant-put": func(ctx context.Context, client *clientv3.Client, _ load, caller int) (func(int) error, error) {
		return func(n int) error {
			lease, err := client.Grant(ctx, leaseSeconds)
			if err == nil {
				_, err = client.Put(ctx, fmt.Sprintf("/bench/%d/%d", caller, n), "tcp:bench:1", clientv3.WithLease(lease.ID))
			}
			return err
		}, nil
	},
	"put": func(ctx context.Context, client *clientv3.Client, _ load, caller int) (func(int) error, error) {
		return func(n int) error {
			_, err := client.Put(ctx, fmt.Sprintf("/bench/%d/%d", caller, n), "tcp:bench:1")
			return err
		}, nil
	},
	// The leases of a caller, renewed over one stream, as a client of etcd does it.
	"keepalive": func(ctx context.Context, client *clientv3.Client, l load, _ int) (func(int) error, error) {
		var leases []clientv3.LeaseID
		for range l.leases {
			lease, err := client.Grant(ctx, leaseSeconds)
			if err != nil {
				return nil, err
			}
			leases = append(leases, lease.ID)
		}
		stream, err := pb.NewLeaseClient(client.ActiveConnection()).LeaseKeepAlive(ctx)
		if err != nil {
			return nil, err
		}
		return func(int) error {
			for _, id := range leases {
				if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil {
					return err
				}
			}
			for range leases {
				if _, err := stream.Recv(); err != nil {
					return err
				}
			}
			return nil
		}, nil
	},
}

// loaded is what was measured of one of asks.
type loaded struct {
	Done      int     `json:"done"`
	PerSecond float64 `json:"per_second"`
	spread            // of what a caller asks for at once, in milliseconds
	cost              // of one
}

// run measures one of asks, or watchers, on three nodes of its own.
func (l load) run(ctx context.Context, what string) error {
	debug.SetGCPercent(loadGC)
	prepare, ok := asks[what]
	switch {
	case !ok && what != "watch":
		return fmt.Errorf("--what %q: give grant, grant-put, put, keepalive or watch", what)
	case l.callers < 1 || l.connections < 1 || l.leases < 1 || l.leases > mostAtOnce || l.duration <= 0:
		return fmt.Errorf("--callers %d, --connections %d, --leases %d, --duration %v: give 1 or more, %d leases at most, and a duration above 0",
			l.callers, l.connections, l.leases, l.duration, mostAtOnce)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*patience+l.duration, errors.New("the nodes do not answer in time"))
	defer cancel()
	return play(func(c *cluster) error {
		clients, err := c.dialLeader(ctx, l.connections)
		defer hangUp(clients)
		if err != nil {
			return err
		}
		var result any
		if what == "watch" {
			result, err = l.watch(ctx, c, clients)
		} else {
			each := 1
			if what == "keepalive" {
				each = l.leases
			}
			result, err = l.measure(ctx, c, prepare, each, clients)
		}
		if err != nil {
			return orCause(ctx, err)
		}
		return tellJSON(result)
	})
}

// measure has all callers ask, for each things at once.
func (l load) measure(ctx context.Context, c *cluster, prepare ask, each int, clients []*clientv3.Client) (result loaded, err error) {
	took := make([][]time.Duration, l.callers)
	errs := make([]error, l.callers)
	var ready, callers sync.WaitGroup
	begin := make(chan struct{})
	ready.Add(l.callers)
	for i := range l.callers {
		callers.Go(func() {
			once, err := prepare(ctx, clients[i%len(clients)], l, i)
			ready.Done()
			<-begin
			for until := time.Now().Add(l.duration); err == nil && time.Now().Before(until); {
				asked := time.Now()
				if err = once(len(took[i])); err == nil {
					took[i] = append(took[i], time.Since(asked))
				}
			}
			errs[i] = err
		})
	}
	ready.Wait()
	var lasted time.Duration
	use, err := c.during(ctx, func() error {
		began := time.Now()
		close(begin)
		callers.Wait()
		lasted = time.Since(began)
		return errors.Join(errs...)
	})
	if err != nil {
		return loaded{}, err
	}
	all := slices.Concat(took...)
	done := each * len(all)
	return loaded{done, perSecond(done, lasted), spreadOf(all), use.cost(done)}, nil
}
