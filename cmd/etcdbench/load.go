package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// leaseSeconds is long, so that nothing expires while it is measured how much is taken.
const leaseSeconds = 600

// load is of callers who each wait for an answer and ask again at once.
type load struct {
	callers, connections int
	duration             time.Duration
}

// ask makes what one caller does again and again, over a client.
type ask func(ctx context.Context, client *clientv3.Client, caller int) (func(n int) error, error)

var asks = map[string]ask{
	"grant": func(ctx context.Context, client *clientv3.Client, _ int) (func(int) error, error) {
		return func(int) error {
			_, err := client.Grant(ctx, leaseSeconds)
			return err
		}, nil
	},
	"grant-put": func(ctx context.Context, client *clientv3.Client, caller int) (func(int) error, error) {
		return func(n int) error {
			lease, err := client.Grant(ctx, leaseSeconds)
			if err == nil {
				_, err = client.Put(ctx, fmt.Sprintf("/bench/%d/%d", caller, n), "tcp:bench:1", clientv3.WithLease(lease.ID))
			}
			return err
		}, nil
	},
	"put": func(ctx context.Context, client *clientv3.Client, caller int) (func(int) error, error) {
		return func(n int) error {
			_, err := client.Put(ctx, fmt.Sprintf("/bench/%d/%d", caller, n), "tcp:bench:1")
			return err
		}, nil
	},
	// One lease a caller, renewed over a stream, as a client of etcd does it.
	"keepalive": func(ctx context.Context, client *clientv3.Client, _ int) (func(int) error, error) {
		lease, err := client.Grant(ctx, leaseSeconds)
		if err != nil {
			return nil, err
		}
		stream, err := pb.NewLeaseClient(client.ActiveConnection()).LeaseKeepAlive(ctx)
		if err != nil {
			return nil, err
		}
		return func(int) error {
			err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease.ID)})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}, nil
	},
}

// run measures one of asks on three nodes of its own.
func (l load) run(what string) (err error) {
	prepare, ok := asks[what]
	if !ok {
		return fmt.Errorf("%q: give grant, grant-put, put or keepalive", what)
	}
	dir, err := os.MkdirTemp("", "etcdbench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := startCluster(dir)
	if err != nil {
		return err
	}
	defer c.killAll()
	var clients []*clientv3.Client
	for range l.connections {
		client, err := clientv3.New(clientv3.Config{Endpoints: c.clients(), DialTimeout: time.Second, Logger: zap.NewNop()})
		if err != nil {
			return err
		}
		defer client.Close()
		clients = append(clients, client)
	}
	leader, err := c.settled(clients[0])
	if err != nil {
		return err
	}
	for _, client := range clients { // as muster's are: to the leader
		client.SetEndpoints(c.nodes[leader].client)
	}
	return l.measure(prepare, clients)
}

func (l load) measure(prepare ask, clients []*clientv3.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), l.duration+patience)
	defer cancel()
	took := slices.Repeat([][]time.Duration{nil}, l.callers)
	errs := slices.Repeat([]error{nil}, l.callers)
	var ready, callers sync.WaitGroup
	begin := make(chan struct{})
	ready.Add(l.callers)
	for i := range l.callers {
		callers.Go(func() {
			once, err := prepare(ctx, clients[i%len(clients)], i)
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
	began := time.Now()
	close(begin)
	callers.Wait()
	lasted := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	at := func(percent int) float64 {
		return math.Round(float64(all[max(0, (len(all)*percent+99)/100-1)].Microseconds())/10) / 100
	}
	return json.NewEncoder(os.Stdout).Encode(struct {
		Done      int     `json:"done"`
		PerSecond float64 `json:"per_second"`
		P50       float64 `json:"p50_ms"`
		P99       float64 `json:"p99_ms"`
	}{len(all), math.Round(float64(len(all)) / lasted.Seconds()), at(50), at(99)})
}
