package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// fleetStreams at most share the leases between them, over fleetConnections, as the sessions of muster bench fleet do.
	fleetStreams, fleetConnections = 100, 8
	// granting streams have their leases granted at once, grants of them at once each.
	granting, grants = 4, 64
	// leased is the prefix of the keys, one for each lease.
	leased = "/bench/leased/"
	// settling is how long nodes are looked at that have nothing to do.
	settling = 2 * time.Second
	// expiryPatience is what a node is given beyond a TTL to expire the leases that are not kept alive.
	expiryPatience = 15 * time.Second
	// mostLeases bounds a fleet: a key names one, and each takes memory here too.
	mostLeases = 1 << 22
)

// fleet is leases with a key each that are kept alive as clients do it: over streams, each for all of its own once an interval, the streams
// in turns.
type fleet struct {
	leases        int
	ttl, interval time.Duration
	// duration is how long all are kept alive, die the share of them that is not any more from the middle of it on.
	duration time.Duration
	die      float64
}

func (f *fleet) flags(flags *flag.FlagSet, leases int, ttl, interval, duration time.Duration) {
	flags.IntVar(&f.leases, "leases", leases, "how many there are, with a key each")
	flags.DurationVar(&f.ttl, "ttl", ttl, "of each, whole seconds; etcd takes less than 2s for 2s")
	flags.DurationVar(&f.interval, "interval", interval, "how often each is kept alive")
	flags.DurationVar(&f.duration, "duration", duration, "how long once all are granted")
}

func (f *fleet) check() error {
	switch {
	case f.leases < 1 || f.leases > mostLeases:
		return fmt.Errorf("--leases %d: give 1 to %d", f.leases, mostLeases)
	case f.ttl < 2*time.Second || f.ttl%time.Second != 0 || f.interval <= 0 || f.ttl < 2*f.interval:
		return fmt.Errorf("--ttl %v, --interval %v: give whole seconds from 2s on, and an interval of half of it or less", f.ttl, f.interval)
	case f.duration <= 0:
		return fmt.Errorf("--duration %v: give a duration above 0", f.duration)
	}
	return nil
}

// limit bounds a measurement: leases are granted at some hundreds a second at least.
func (f *fleet) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := 2*patience + f.duration + f.ttl + time.Duration(f.leases)*5*time.Millisecond
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %v", limit))
}

// lease is one of a fleet.
type lease struct {
	id  clientv3.LeaseID
	ttl time.Duration // that was granted
	// kept is when the latest keepalive was sent that was acknowledged, or the grant.
	kept time.Time
	dead bool // it is not kept alive any more
	gone bool // it has expired
}

// kept are the leases of a fleet under way, and what became of them. Safe for concurrent use.
type kept struct {
	keepalives atomic.Int64 // acknowledged

	mu      sync.Mutex
	leases  []lease
	left    int             // of the dead, who have not expired
	none    chan struct{}   // closed when nobody is left
	late    []time.Duration // from the end of the TTL of each that died and has expired until that was heard of
	falsely int             // expired and were kept alive
}

func newKept(n int) *kept { return &kept{leases: make([]lease, n), none: make(chan struct{})} }

// renew notes that a keepalive that was sent at sent is acknowledged.
func (k *kept) renew(number int, sent time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leases[number].kept = sent
	k.keepalives.Add(1)
}

// due is the id of a lease, if it is to be kept alive.
func (k *kept) due(number int) (clientv3.LeaseID, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.leases[number].id, !k.leases[number].dead
}

// kill has leases, each given once, not be kept alive any more.
func (k *kept) kill(numbers []int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, number := range numbers {
		k.leases[number].dead = true
	}
	if k.left += len(numbers); k.left == 0 {
		close(k.none)
	}
}

// expired notes that the key of a lease is gone, which is heard of now.
func (k *kept) expired(number int, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := &k.leases[number]
	switch {
	case l.gone:
		return
	case !l.dead:
		k.falsely++
	default:
		k.late = append(k.late, now.Sub(l.kept)-l.ttl)
		if k.left--; k.left == 0 {
			close(k.none)
		}
	}
	l.gone = true
}

// run has all leases granted and kept alive, does something meanwhile, and ends them with it.
func (f *fleet) run(ctx context.Context, c *cluster, k *kept, do func(ctx context.Context) error) error {
	clients, err := c.dialLeader(ctx, fleetConnections)
	defer hangUp(clients)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	events := clients[0].Watch(ctx, leased, clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	if first, ok := <-events; !ok || !first.Created {
		return errors.Join(errors.New("a watch did not begin"), first.Err())
	}
	running.Go(func() {
		if err := k.watch(events); err != nil {
			cancel(err)
		}
	})
	began, streams := time.Now(), min(fleetStreams, f.leases)
	err = each(ctx, streams, granting, func(i int) error {
		from, to := f.leases*i/streams, f.leases*(i+1)/streams
		client := clients[i%len(clients)]
		err := each(ctx, to-from, grants, func(n int) error { return k.grant(ctx, client, from+n, f.ttl) })
		if err != nil {
			return err
		}
		// Streams take turns in an interval, whenever they began.
		due := began.Add(f.interval*time.Duration(i)/time.Duration(streams) - f.interval)
		running.Go(func() {
			if err := k.keep(ctx, client, from, to, due, f.interval); err != nil {
				cancel(fmt.Errorf("keeping leases alive: %w", err))
			}
		})
		return nil
	})
	if err == nil {
		err = do(ctx)
	}
	return orCause(ctx, err)
}

// each does something for each number below n, so many at once, until one fails.
func each(ctx context.Context, n, atOnce int, do func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var workers sync.WaitGroup
	for range min(n, atOnce) {
		workers.Go(func() {
			for i := int(next.Add(1) - 1); i < n && failed.Load() == nil && ctx.Err() == nil; i = int(next.Add(1) - 1) {
				if err := do(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	workers.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return context.Cause(ctx)
}

// grant has a lease granted, and puts its key.
func (k *kept) grant(ctx context.Context, client *clientv3.Client, number int, ttl time.Duration) error {
	asked := time.Now()
	granted, err := client.Grant(ctx, int64(ttl/time.Second))
	if err != nil {
		return fmt.Errorf("grant of lease %d: %w", number, err)
	}
	k.mu.Lock()
	k.leases[number] = lease{id: granted.ID, ttl: time.Duration(granted.TTL) * time.Second, kept: asked}
	k.mu.Unlock()
	if _, err := client.Put(ctx, leased+strconv.Itoa(number), "tcp:bench:1", clientv3.WithLease(granted.ID)); err != nil {
		return fmt.Errorf("key of lease %d: %w", number, err)
	}
	return nil
}

// keep keeps the leases from a number on and below another alive, at once and then once an interval, counted from a moment that is over, until
// ctx ends.
func (k *kept) keep(ctx context.Context, client *clientv3.Client, from, to int, due time.Time, interval time.Duration) error {
	stream, err := pb.NewLeaseClient(client.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return orNothing(ctx, err)
	}
	type said struct {
		number int
		sent   time.Time
	}
	asked := make(chan said, 2*(to-from)) // and not acknowledged yet: a node answers in the order in which it is asked
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		for {
			if _, err := stream.Recv(); err != nil {
				return // sending fails then, too
			}
			s := <-asked
			k.renew(s.number, s.sent)
		}
	})
	for {
		for number := from; number < to; number++ {
			id, ok := k.due(number)
			if !ok {
				continue
			}
			select {
			case asked <- said{number, time.Now()}:
			case <-ctx.Done():
				return nil
			}
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil {
				return orNothing(ctx, err)
			}
		}
		due = due.Add((time.Since(due)/interval + 1) * interval)
		if rest(ctx, time.Until(due)) != nil {
			return nil
		}
	}
}

// orNothing is err, unless ctx has ended.
func orNothing(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// watch notes which keys go until the watch ends.
func (k *kept) watch(events clientv3.WatchChan) error {
	for answer := range events {
		if err := answer.Err(); err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		heard := time.Now()
		for _, e := range answer.Events {
			if number, err := strconv.Atoi(strings.TrimPrefix(string(e.Kv.Key), leased)); err == nil && number >= 0 && number < len(k.leases) {
				k.expired(number, heard)
			}
		}
	}
	return nil
}

// awaitExpiry waits for so long at most until all that died have expired.
func (k *kept) awaitExpiry(ctx context.Context, patience time.Duration) error {
	select {
	case <-k.none:
	case <-time.After(patience):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// lateness is what was measured of leases of which some were not kept alive any more.
type lateness struct {
	Leases  int     `json:"leases"`
	TTL     float64 `json:"ttl_s"`
	Seconds float64 `json:"seconds"` // in which all that live were kept alive
	// Keepalives of a lease were acknowledged in it, PerSecond a second.
	Keepalives int     `json:"keepalives"`
	PerSecond  float64 `json:"per_second"`
	// Died is how many were not kept alive any more, and Undetected how many of them had not expired a TTL and 15 s after the end;
	// FalseExpiries is how many expired though they were kept alive.
	Died          int `json:"died"`
	Undetected    int `json:"undetected"`
	FalseExpiries int `json:"false_expiries"`
	// Detection is, of each that died and expired, from the end of its TTL, which began when the last keepalive was sent that was acknowledged,
	// until a watcher, of the leader, had heard that its key is gone, in milliseconds: what muster bench fleet --die tells of procs.
	Detection spread `json:"detection_ms"`
	cost             // of a keepalive, the fixed cost of three nodes included
}

// expiry measures how late leases expire.
func (f *fleet) expiry(ctx context.Context) error {
	if err := f.check(); err != nil {
		return err
	}
	if !(f.die > 0 && f.die <= 1) { // so that NaN is none either
		return fmt.Errorf("--die %g: give a share above 0 to 1", f.die)
	}
	ctx, cancel := f.limit(ctx)
	defer cancel()
	return play(func(c *cluster) error {
		k := newKept(f.leases)
		r := lateness{Leases: f.leases, TTL: f.ttl.Seconds(), Died: max(1, int(math.Round(f.die*float64(f.leases))))}
		err := f.run(ctx, c, k, func(ctx context.Context) error {
			began, before := time.Now(), k.keepalives.Load()
			use, err := c.during(ctx, func() error {
				if err := rest(ctx, f.duration/2); err != nil {
					return err
				}
				k.kill(rand.Perm(f.leases)[:r.Died])
				return rest(ctx, f.duration-f.duration/2)
			})
			if err != nil {
				return err
			}
			lasted := time.Since(began)
			r.Keepalives = int(k.keepalives.Load() - before)
			r.Seconds, r.PerSecond, r.cost = decimals(lasted.Seconds(), 3), perSecond(r.Keepalives, lasted), use.cost(r.Keepalives)
			return k.awaitExpiry(ctx, f.ttl+expiryPatience)
		})
		if err != nil {
			return err
		}
		r.Detection, r.Undetected, r.FalseExpiries = spreadOf(k.late), k.left, k.falsely
		return tellJSON(r)
	})
}

// memory is what was measured of the memory for leases, in bytes of one node, the mean of three, for each: what it has while all are granted
// and kept alive, less what it had before, when it had nothing to do.
type memory struct {
	Leases int `json:"leases"`
	// Heap is what lives on the heap, behind a collection of garbage; Resident is the least resident memory that was seen before that, some
	// garbage included.
	Heap     float64 `json:"heap_per_lease"`
	Resident float64 `json:"resident_per_lease"`
	// ResidentBefore is of a node without leases, in MiB.
	ResidentBefore float64 `json:"rss_before_mib"`
	cost                   // of a keepalive
}

// memory measures what leases with a key cost.
func (f *fleet) memory(ctx context.Context) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx, cancel := f.limit(ctx)
	defer cancel()
	return play(func(c *cluster) error {
		clients, err := c.dialLeader(ctx, 1) // all serve
		hangUp(clients)
		if err != nil {
			return err
		}
		before, err := c.during(ctx, func() error { return rest(ctx, settling) })
		if err != nil {
			return err
		}
		lived, err := c.live(ctx)
		if err != nil {
			return err
		}
		k := newKept(f.leases)
		r := memory{Leases: f.leases, ResidentBefore: decimals(before.leastResident/mib, 1)}
		err = f.run(ctx, c, k, func(ctx context.Context) error {
			had := k.keepalives.Load()
			use, err := c.during(ctx, func() error { return rest(ctx, f.duration) })
			if err != nil {
				return err
			}
			r.Resident = math.Round((use.leastResident - before.leastResident) / float64(f.leases))
			r.cost = use.cost(int(k.keepalives.Load() - had))
			live, err := c.live(ctx)
			r.Heap = math.Round((live - lived) / float64(f.leases))
			return err
		})
		if err != nil {
			return err
		}
		if k.falsely > 0 {
			return fmt.Errorf("%d leases expired though they were kept alive: so many are not what was measured", k.falsely)
		}
		return tellJSON(r)
	})
}
