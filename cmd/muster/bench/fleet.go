package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

const (
	// MaxSessionProcs is how many procs one session may speak for: its hello must fit into a message.
	MaxSessionProcs = 64 << 10
	// fleetJoining sessions have their procs join at once, fleetJoins of them at once each: while some wait for their last, others go on.
	fleetJoining, fleetJoins = 4, 64
	// returnPause is left before a session that was lost is opened again.
	returnPause = 200 * time.Millisecond
)

// FleetConfig is of a load as a large fleet is one: very many procs that report seldom, each session for all of its own at once.
type FleetConfig struct {
	Target
	// Procs are spread over the sessions as evenly as may be. Each session has a world of its own.
	Procs, Sessions int
	// Interval is how often a session reports, and Lease how long a silence of it is forgiven.
	Interval, Lease time.Duration
	// Duration is how long they report once all have joined.
	Duration time.Duration
	// Die is the share of the procs, 0 to 1, drawn at random, that are not reported any more from the middle of Duration on.
	Die float64
	// Keep leaves the procs and their worlds in the cluster.
	Keep bool
}

// Fleet is what was measured.
type Fleet struct {
	Procs    int `json:"procs"`
	Sessions int `json:"sessions"`
	Window       // in which all reported
	// FalseExpiries is how many procs were not alive at the end, those that died apart, and Brakes how often the brake held expiries back, or let
	// go, which hides them: both must be 0.
	FalseExpiries int `json:"false_expiries"`
	Brakes        int `json:"brakes"`
	// Died is how many were not reported any more, and Undetected how many of those had not expired a lease and 15 s after the end, which must
	// be 0, too.
	Died       int `json:"died"`
	Undetected int `json:"undetected"`
	// Detection is, of each that died and expired, from the end of its lease, which began when the last report was sent that named it and was
	// acknowledged, until its expiry was heard of, in milliseconds; nil where none died.
	Detection *Spread `json:"detection_ms,omitempty"`
	// Detections is of the same.
	Detections Histogram `json:"-"`
	// Returns is how often a session was lost and opened again, as by a change of the leader.
	Returns        int     `json:"returns"`
	JoinSeconds    float64 `json:"join_seconds"`
	JoinsPerSecond float64 `json:"joins_per_second"`
	Reports        int64   `json:"reports"` // of a proc, acknowledged, while all reported
	PerSecond      float64 `json:"per_second"`
	P99Commit      float64 `json:"p99_commit_ms"` // p99_ms once more
	Spread                 // of one message until its acknowledgement, in milliseconds
	// Histogram is of the same.
	Histogram Histogram `json:"-"`
}

// Broken is an error that names what was counted and must be 0, if anything was.
func (f Fleet) Broken() error {
	return mustBeZero(counted{f.FalseExpiries, "members expired falsely"}, counted{f.Undetected, "dead members did not expire"},
		counted{f.Brakes, "times the brake held expiries back or let go"})
}

// crew is the procs of one session and their world.
type crew struct {
	t *target
	reporter
	number  int
	world   string
	epoch   uint64
	joined  []uint64 // incarnations, by rank; 0 = it has died
	lease   time.Duration
	returns int
	deaths  *deaths
	toDie   atomic.Pointer[[]uint32] // who is to be left out from the next report on
}

// crews are all sessions of a fleet under way. Its counters are safe for concurrent use.
type crews struct {
	cfg      FleetConfig
	t        *target
	began    time.Time
	sessions errgroup.Group
	all      []*crew
	reports  atomic.Int64
	deaths   *deaths
	// broken ends what waits when a session ends with an error.
	broken context.CancelCauseFunc
}

// MeasureFleet has so many procs join, report, and go again. It is an error where something did not work, not where a proc has expired: see
// Fleet.Broken.
func MeasureFleet(ctx context.Context, cfg FleetConfig) (result Fleet, err error) {
	t, err := cfg.aim(ctx)
	if err != nil {
		return Fleet{}, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := t.mayDie(ctx, cfg.Die); err != nil {
		return Fleet{}, err
	}
	f := &crews{
		cfg: cfg, t: t, began: time.Now(), all: make([]*crew, cfg.Sessions), deaths: newDeaths(cfg.Lease, cfg.dying()), broken: cancel,
	}
	var watching sync.WaitGroup
	brakes := 0
	watch, stopWatch := context.WithCancel(ctx)
	watching.Go(func() { brakes = f.watch(watch) })
	reporting, stop := context.WithCancel(ctx)
	result, began, err := f.measure(ctx, reporting)
	stop()
	stopWatch()
	if failed := f.sessions.Wait(); failed != nil {
		err = failed
	}
	watching.Wait()
	if err != nil {
		return Fleet{}, err
	}
	result.Brakes = brakes
	var took []time.Duration
	for _, c := range f.all {
		took = append(took, tookOf(c.took, began)...)
		result.Returns += c.returns
	}
	result.Spread, result.Histogram = spreadOf(took), histogramOf(took)
	result.P99Commit = result.P99
	if cfg.Keep {
		t.worlds = nil
	}
	return result, nil
}

// measure has all join, each session report from then on until reporting ends, and counts from the moment at which all do.
func (f *crews) measure(ctx, reporting context.Context) (_ Fleet, began time.Time, err error) {
	if err := f.join(ctx, reporting); err != nil {
		return Fleet{}, began, err
	}
	joinSeconds := time.Since(f.began).Seconds()
	began, before := time.Now(), f.reports.Load()
	telling, cancel := context.WithTimeout(ctx, f.cfg.Duration)
	defer cancel()
	dying := time.AfterFunc(f.cfg.Duration/2, f.kill)
	defer dying.Stop()
	f.t.report(telling, "reports", f.reports.Load, goal{d: f.cfg.Duration})
	<-telling.Done()
	if ctx.Err() != nil {
		return Fleet{}, began, context.Cause(ctx)
	}
	lasted, reports := time.Since(began), f.reports.Load()-before
	took, undetected, err := f.deaths.await(ctx, f.cfg.Lease+detectionPatience)
	if err != nil {
		return Fleet{}, began, err
	}
	alive, err := f.alive(ctx) // while they go on reporting
	result := Fleet{
		Procs: f.cfg.Procs, Sessions: f.cfg.Sessions, Window: f.t.window(began, lasted),
		FalseExpiries: f.cfg.Procs - len(took) - alive, Died: f.cfg.dying(), Undetected: undetected, Detections: histogramOf(took),
		JoinSeconds: joinSeconds, JoinsPerSecond: float64(int64(float64(f.cfg.Procs) / joinSeconds)),
		Reports: reports, PerSecond: rate(reports, lasted),
	}
	if result.Died > 0 {
		detection := spreadOf(took)
		result.Detection = &detection
	}
	return result, began, err
}

// join has everybody join, session after session, each of which reports at once: the first are not to expire before the last are there.
func (f *crews) join(ctx, reporting context.Context) error {
	var joined atomic.Int64
	telling, told := context.WithCancel(ctx)
	var progress sync.WaitGroup
	progress.Go(func() { f.t.report(telling, "joins", joined.Load, goal{count: int64(f.cfg.Procs)}) })
	defer progress.Wait()
	defer told()
	g, joining := errgroup.WithContext(ctx)
	g.SetLimit(fleetJoining)
	for i := range f.cfg.Sessions {
		g.Go(func() error {
			c := &crew{t: f.t, number: i, lease: f.cfg.Lease, deaths: f.deaths}
			f.all[i] = c
			n := (f.cfg.Procs + i) / f.cfg.Sessions // so that the sum is right
			if err := c.join(joining, f.cfg, n, &joined); err != nil {
				return err
			}
			// Sessions take turns in an interval, whenever they began.
			due := f.began.Add(f.cfg.Interval*time.Duration(i)/time.Duration(f.cfg.Sessions) - f.cfg.Interval)
			f.sessions.Go(func() error {
				err := c.report(reporting, due, f.cfg.Interval, &f.reports)
				if err != nil {
					f.broken(err)
				}
				return err
			})
			return nil
		})
	}
	return g.Wait()
}

// alive is how many procs the state says are alive.
func (f *crews) alive(ctx context.Context) (n int, err error) {
	for _, c := range f.all {
		view, err := f.t.client.Cluster().View(ctx, &musterv1.ViewRequest{Worlds: []string{c.world}, OmitProcs: true})
		if err != nil {
			return 0, err
		}
		for _, w := range view.GetWorlds() {
			n += int(w.GetHealthy())
		}
	}
	return n, nil
}

// watch notes until ctx ends who expires, and counts how often the brake takes hold, is released, or is armed again.
func (f *crews) watch(ctx context.Context) (brakes int) {
	req := &musterv1.WatchRequest{Kinds: []musterv1.Event_Kind{musterv1.Event_KIND_BRAKE, musterv1.Event_KIND_PROC_EXPIRED}}
	for ctx.Err() == nil {
		err := f.t.client.Cluster().Watch(ctx, req, func(a *musterv1.WatchResponse) error {
			heard := time.Now()
			for _, e := range a.GetEvents() {
				if e.GetKind() == musterv1.Event_KIND_BRAKE {
					brakes++
				} else {
					f.deaths.expired(e, heard)
				}
			}
			return nil
		})
		// Where very many join, one who watches from far behind may have missed some: it goes on from what is there.
		if behind := new(client.Compacted); errors.As(err, &behind) {
			req.From = behind.Number
		} else if rest(ctx, returnPause) != nil {
			return brakes
		}
	}
	return brakes
}

// join makes the world and has its members join.
func (c *crew) join(ctx context.Context, cfg FleetConfig, n int, done *atomic.Int64) (err error) {
	timeouts := quiet()
	timeouts.ReportIntervalNs, timeouts.LeaseNs = int64(cfg.Interval), int64(cfg.Lease)
	timeouts.DeliveryNs = max(timeouts.DeliveryNs, timeouts.LeaseNs)
	if c.world, err = c.t.world(ctx, fmt.Sprintf("bench-fleet-%d", c.number), timeouts); err != nil {
		return err
	}
	members, epoch, err := c.t.joinAll(ctx, c.world, n, fleetJoins, done)
	if err != nil {
		return err
	}
	for _, p := range members {
		c.joined = append(c.joined, p.GetIncarnation())
	}
	c.epoch = epoch
	return nil
}

// report says once an interval, counted from a moment that is over, that all are alive, until ctx ends. It says hello at once, and again where its session
// was lost; it gives up when that has led to nothing for two leases.
func (c *crew) report(ctx context.Context, due time.Time, interval time.Duration, done *atomic.Int64) error {
	c.tolerant = true
	for heard := time.Now(); ; c.returns++ {
		err := c.session(ctx, due, interval, done)
		if ctx.Err() != nil {
			return nil
		}
		if n := len(c.took); n > 0 && c.took[n-1].ended.After(heard) {
			heard = c.took[n-1].ended
		}
		if time.Since(heard) > 2*c.lease {
			return fmt.Errorf("session %d has not been taken for %v: %w", c.number, 2*c.lease, err)
		}
		_ = rest(ctx, returnPause)
		_ = c.t.follow(ctx) // or it is tried where the leader was
	}
}

// session opens one and reports until it is lost or ctx ends.
func (c *crew) session(ctx context.Context, due time.Time, interval time.Duration, done *atomic.Int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A leader that is cut off breaks no connection.
	mute := time.AfterFunc(c.lease/2, func() { cancel(fmt.Errorf("nothing was acknowledged within %v", c.lease/2)) })
	defer mute.Stop()
	if !c.reported.IsZero() { // else it is yet to be said for the first time that they live
		c.bury()
	}
	var members []*musterv1.ProcRef
	for rank, incarnation := range c.joined {
		if incarnation != 0 {
			members = append(members, &musterv1.ProcRef{World: c.world, Role: musterv1.Role_ROLE_WORKER, Rank: uint32(rank), Incarnation: incarnation})
		}
	}
	if len(members) == 0 {
		mute.Stop()
		<-ctx.Done() // nobody is left to speak for
		return context.Cause(ctx)
	}
	if err := c.open(ctx, c.t.conn(c.number), c.epoch, members); err != nil {
		return err
	}
	for {
		mute.Stop()
		due = due.Add((time.Since(due)/interval + 1) * interval)
		if err := rest(ctx, time.Until(due)); err != nil {
			return err
		}
		if c.bury(); c.procs == 0 {
			continue
		}
		mute.Reset(c.lease / 2)
		if err := c.say(done); err != nil {
			return err
		}
	}
}

// bury leaves those that are to die out of what is reported from now on.
func (c *crew) bury() {
	ranks := c.toDie.Swap(nil)
	if ranks == nil {
		return
	}
	for _, rank := range *ranks {
		c.joined[rank] = 0
	}
	var living []uint32
	for rank, incarnation := range c.joined {
		if incarnation != 0 {
			living = append(living, uint32(rank))
		}
	}
	c.alive, c.procs = nil, 0
	c.name(c.world, living)
	c.deaths.died(c.world, *ranks, c.reported)
}
