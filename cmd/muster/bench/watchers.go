package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

const (
	// watchersPerClient share connections, one to each server.
	watchersPerClient = 16
	// changesAtOnce are under way at once at most.
	changesAtOnce = 256
	// lastEvents is how long the last events may take to arrive before they are lost.
	lastEvents = 10 * time.Second
	// MaxChanges bounds the changes of one measurement: each is a member with a rank of its own.
	MaxChanges = 1 << 20
)

// WatchConfig is of a world in which events are made, and of those who watch it.
type WatchConfig struct {
	Target
	// Watchers are spread over all servers.
	Watchers int
	// Rate is how many events are made a second; each is a member that joins.
	Rate int
	// Duration is how long.
	Duration time.Duration
	// Keep leaves the members and their world in the cluster.
	Keep bool
}

// Watched is what was measured.
type Watched struct {
	Watchers int `json:"watchers"`
	Events   int `json:"events"` // that were made, each for every watcher
	Window
	// Delivered is how many arrived, PerSecond how many a second; Lost did not, Doubled came twice to the same watcher. The latter two
	// must be 0.
	Delivered int     `json:"delivered"`
	PerSecond float64 `json:"per_second"`
	Lost      int     `json:"lost"`
	Doubled   int     `json:"doubled"`
	Spread            // from asking for a change until its event is there, in milliseconds
	// Histogram is of the same.
	Histogram Histogram `json:"-"`
	// Errors are the first few that watchers ended with.
	Errors []string `json:"errors,omitempty"`
}

// Broken is an error that names what was counted and must be 0, if anything was.
func (w Watched) Broken() error {
	return mustBeZero(counted{w.Lost, "events were lost"}, counted{w.Doubled, "events came twice"})
}

// eventWatcher is one of those who watch. Its fields are read when it has ended, arrived at any time.
type eventWatcher struct {
	begun   chan struct{} // closed when it is told something first
	arrived *atomic.Int64 // of all watchers
	sent    []atomic.Int64
	zero    time.Time // that sent is counted from

	seen    []bool // by rank
	took    []time.Duration
	doubled int
	err     error
}

// MeasureWatch has members join a world that is watched, and removes it unless it is to be kept. It is an error where something did not work, not where an event is
// lost: see Watched.Broken.
func MeasureWatch(ctx context.Context, cfg WatchConfig) (result Watched, err error) {
	t, err := cfg.aim(ctx)
	if err != nil {
		return Watched{}, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	world, err := t.world(ctx, "bench-watch", quiet())
	if err != nil {
		return Watched{}, err
	}
	clients, err := t.clients(ctx, (cfg.Watchers+watchersPerClient-1)/watchersPerClient)
	defer func() {
		for _, c := range clients {
			err = errors.Join(err, c.Close())
		}
	}()
	if err != nil {
		return Watched{}, err
	}
	changes := int(int64(cfg.Rate) * int64(cfg.Duration) / int64(time.Second))
	sent, zero := make([]atomic.Int64, changes), time.Now()
	var arrived atomic.Int64
	var running sync.WaitGroup
	watching, stop := context.WithCancel(ctx)
	defer running.Wait()
	defer stop()
	watchers := make([]*eventWatcher, cfg.Watchers)
	req := &musterv1.WatchRequest{From: t.client.Number(), Worlds: []string{world}, Kinds: []musterv1.Event_Kind{musterv1.Event_KIND_PROC_JOINED}}
	for i := range watchers {
		w := &eventWatcher{begun: make(chan struct{}), arrived: &arrived, sent: sent, zero: zero, seen: make([]bool, changes)}
		watchers[i] = w
		running.Go(func() { w.run(watching, clients[i/watchersPerClient].Cluster(), req) })
	}
	for _, w := range watchers {
		select {
		case <-w.begun:
		case <-ctx.Done():
			return Watched{}, context.Cause(ctx)
		}
	}
	began := time.Now()
	made, err := t.changes(ctx, cfg, world, sent, zero, &arrived)
	if err == nil {
		err = awaitCount(ctx, &arrived, int64(made)*int64(cfg.Watchers))
	}
	lasted := time.Since(began)
	stop()
	running.Wait()
	if cfg.Keep && err == nil {
		t.worlds = nil
	}
	return watched(cfg, watchers, made, t.window(began, lasted)), err
}

// watched sums up watchers that have ended.
func watched(cfg WatchConfig, watchers []*eventWatcher, made int, in Window) Watched {
	r := Watched{Watchers: cfg.Watchers, Events: made, Window: in}
	var took []time.Duration
	for _, w := range watchers {
		took = append(took, w.took...)
		r.Doubled += w.doubled
		if w.err != nil && len(r.Errors) < maxErrors {
			r.Errors = append(r.Errors, w.err.Error())
		}
	}
	r.Delivered = len(took)
	r.Lost = made*cfg.Watchers - r.Delivered
	r.PerSecond, r.Spread, r.Histogram = rate(int64(r.Delivered), time.Duration(in.Seconds*float64(time.Second))), spreadOf(took), histogramOf(took)
	return r
}

// clients are so many, each of which knows all servers. Those that were made are given also with an error.
func (t *target) clients(ctx context.Context, n int) (all []*client.Client, err error) {
	status, err := t.client.Cluster().Status(ctx, &musterv1.StatusRequest{})
	if err != nil {
		return nil, err
	}
	servers := slices.Clone(t.Servers)
	for _, node := range status.GetNodes() {
		if a := node.GetAddress(); a != "" && node.GetRole() != musterv1.NodeStatus_NODE_ROLE_UNSPECIFIED && !slices.Contains(servers, a) {
			servers = append(servers, a)
		}
	}
	for range n {
		c, err := client.New(client.Config{Servers: servers})
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	return all, nil
}

// changes has members join, evenly over the time, and tells how many have. sent has when each was asked for.
func (t *target) changes(ctx context.Context, cfg WatchConfig, world string, sent []atomic.Int64, zero time.Time, arrived *atomic.Int64) (made int, err error) {
	telling, told := context.WithCancel(ctx)
	var progress sync.WaitGroup
	progress.Go(func() {
		t.report(telling, "events delivered", arrived.Load, goal{count: int64(len(sent)) * int64(cfg.Watchers)})
	})
	defer progress.Wait()
	defer told()
	g, joining := errgroup.WithContext(ctx)
	g.SetLimit(changesAtOnce)
	for began := time.Now(); made < len(sent) && time.Since(began) < cfg.Duration; made++ {
		due := time.Duration(made) * time.Second / time.Duration(cfg.Rate)
		if rest(joining, due-time.Since(began)) != nil {
			break
		}
		rank := made
		g.Go(func() error {
			sent[rank].Store(int64(time.Since(zero)))
			if _, err := t.join(joining, rank, t.joinOf(world, uint32(rank))); err != nil {
				return fmt.Errorf("join of rank %d: %w", rank, err)
			}
			return nil
		})
	}
	return made, g.Wait()
}

// awaitCount waits until so many have arrived, for a while.
func awaitCount(ctx context.Context, arrived *atomic.Int64, all int64) error {
	for began := time.Now(); arrived.Load() < all && time.Since(began) < lastEvents; {
		if err := rest(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// run watches until ctx ends.
func (w *eventWatcher) run(ctx context.Context, cluster *client.Cluster, req *musterv1.WatchRequest) {
	begun := sync.OnceFunc(func() { close(w.begun) })
	defer begun()
	err := cluster.Watch(ctx, req, func(a *musterv1.WatchResponse) error {
		begun()
		for _, e := range a.GetEvents() {
			w.event(e)
		}
		return nil
	})
	if ctx.Err() == nil {
		w.err = fmt.Errorf("watching: %w", err)
	}
}

func (w *eventWatcher) event(e *musterv1.Event) {
	for rank := range id.Ranks(e.GetRanks()) {
		switch {
		case int(rank) >= len(w.seen):
		case w.seen[rank]:
			w.doubled++
		default:
			w.seen[rank] = true
			w.took = append(w.took, time.Since(w.zero)-time.Duration(w.sent[rank].Load()))
			w.arrived.Add(1)
		}
	}
}
