package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

const (
	membersWorld, hostedWorld, victimsWorld = "members", "hosted", "victims"

	memberClients, membersPerClient = 3, 8
	hostCount, ranksPerHost         = 2, 4
)

// load is what goes on all the time: a writer, members that only live, hosts with ranks, and somebody who watches.
type load struct {
	addresses []string
	writer    *writer
	observer  *observer
	orders    *orders
	crowd     *crowd
	disk      *disk
	cluster   *client.Cluster // for what the trials ask

	clients []*client.Client
	running sync.WaitGroup
	stop    context.CancelFunc
}

// startLoad starts it all and waits until everybody has joined. It is to be ended, also after an error.
func startLoad(ctx context.Context, addresses []string, dir string) (*load, error) {
	l := &load{addresses: addresses, observer: newObserver(), crowd: &crowd{}, orders: &orders{spawned: map[uint64]int{}}, disk: &disk{}}
	ctx, l.stop = context.WithCancel(ctx)
	writing, err := l.client()
	if err != nil {
		return l, err
	}
	watching, err := l.client()
	if err != nil {
		return l, err
	}
	l.cluster = watching.Cluster()
	l.writer = &writer{cluster: writing.Cluster(), name: "writes"}
	if err := errors.Join(l.shortenWindow(ctx), l.createWorlds(ctx), l.join(ctx)); err != nil {
		return l, err
	}
	l.running.Go(func() { l.observer.run(ctx, l.cluster) })
	l.running.Go(func() { l.writer.run(ctx) })
	l.running.Go(func() { l.disk.run(ctx, dir) })
	return l, nil
}

// requestWindow is how long the cluster is to remember requests, to answer each only once: with what it does by default its table of them
// would be full after a minute of a full load, and after some minutes of one writer.
const requestWindow = 20 * time.Second

func (l *load) shortenWindow(ctx context.Context) error {
	_, err := l.cluster.Set(ctx, &musterv1.SetRequest{Changes: []*musterv1.SettingChange{{Name: "request-window", Value: int64(requestWindow)}}})
	return err
}

// client is one that ends with the load.
func (l *load) client() (*client.Client, error) {
	c, err := client.New(client.Config{Servers: l.addresses})
	if err == nil {
		l.clients = append(l.clients, c)
	}
	return c, err
}

func (l *load) createWorlds(ctx context.Context) error {
	never := &musterv1.Timeouts{EvictionNs: -1}
	keep := musterv1.FailurePolicy_FAILURE_POLICY_KEEP
	for _, spec := range []*musterv1.WorldSpec{
		{World: membersWorld, Shape: &musterv1.Shape{Open: true}, OnFailure: keep, Timeouts: never},
		{World: victimsWorld, Shape: &musterv1.Shape{Open: true}, OnFailure: keep, Timeouts: never},
		{
			World: hostedWorld, Shape: &musterv1.Shape{Dims: []uint32{hostCount * ranksPerHost}}, ProcsPerHost: ranksPerHost,
			Exec: &musterv1.Exec{Program: "nothing"}, OnFailure: keep, Timeouts: never,
		},
	} {
		if _, err := l.cluster.UpsertWorld(ctx, &musterv1.UpsertWorldRequest{Spec: spec}); err != nil {
			return err
		}
	}
	return nil
}

// join has the hosts and the members join.
func (l *load) join(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	join := func(c *client.Client, cfg client.MemberConfig) {
		g.Go(func() error {
			_, err := c.Join(ctx, cfg)
			return err
		})
	}
	for i := range hostCount {
		c, err := l.client()
		if err != nil {
			return err
		}
		name := fmt.Sprintf("host-%d", i)
		join(c, client.MemberConfig{
			World: hostedWorld, Role: musterv1.Role_ROLE_HOST, Rank: uint32(i), Key: name, Machine: name, Address: "tcp:127.0.0.1:1", Host: host{l.orders},
		})
	}
	for i := range memberClients {
		c, err := l.client()
		if err != nil {
			return err
		}
		for j := range membersPerClient {
			rank := i*membersPerClient + j
			join(c, client.MemberConfig{World: membersWorld, Rank: uint32(rank), Key: fmt.Sprintf("member-%d", rank), Machine: "bench"})
		}
	}
	return g.Wait()
}

// victim joins as one that is to die with the leader: the returned function has it fall silent.
func (l *load) victim(ctx context.Context, rank uint32) (die func() error, err error) {
	c, err := client.New(client.Config{Servers: l.addresses})
	if err != nil {
		return nil, err
	}
	if _, err := c.Join(ctx, client.MemberConfig{World: victimsWorld, Rank: rank, Key: fmt.Sprintf("victim-%d", rank), Machine: "bench"}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return func() error {
		l.observer.died(rank)
		return c.Close()
	}, nil
}

// restart has all hosted ranks started again.
func (l *load) restart(ctx context.Context) error {
	_, err := l.cluster.Restart(ctx, &musterv1.RestartRequest{World: hostedWorld, All: true})
	return err
}

// ranksLost is how many hosted ranks do not run as they were ordered to.
func (l *load) ranksLost(ctx context.Context) (int, error) {
	view, err := l.cluster.ViewAll(ctx, &musterv1.ViewRequest{Worlds: []string{hostedWorld}})
	if err != nil {
		return 0, err
	}
	if len(view.GetWorlds()) != 1 {
		return 0, fmt.Errorf("world %s is gone", hostedWorld)
	}
	return l.orders.lost(view.Worlds[0], hostCount*ranksPerHost), nil
}

// end ends everything and waits for it.
func (l *load) end() error {
	l.stop()
	l.running.Wait()
	var errs []error
	for _, c := range l.clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
