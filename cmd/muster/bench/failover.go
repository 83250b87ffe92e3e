package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"muster/deploy/fleet"
)

// Config of a measurement.
type Config struct {
	// Muster is the server's binary.
	Muster string
	// Mode is one of Kill, Pause, Partition, Transfer, Rolling.
	Mode string
	// Trials is how often; a trial of Rolling changes three nodes.
	Trials int
	// Sessions is how many members there are whose return to the next leader is measured; of mode Kill.
	Sessions int
	// Keep keeps the directory with logs and data.
	Keep bool
	// Progress gets a line per trial; nil = nobody.
	Progress io.Writer
}

// Result is what was measured. Times are in milliseconds.
type Result struct {
	Mode   string `json:"mode"`
	Trials int    `json:"trials"` // samples: one for each change
	Spread        // from the last acknowledged write before to the first after
	// SlowDisk is how many of them had an fsync above 50 ms within; WithoutThem is the rest.
	SlowDisk    int    `json:"slow_disk"`
	WithoutThem Spread `json:"without_slow_disk"`

	FalseExpiries      int `json:"false_expiries"`
	ConnectionFailures int `json:"connection_failures"`
	Failed             int `json:"failed"` // requests
	Lost               int `json:"lost"`   // requests and orders
	Doubled            int `json:"doubled"`
	Writes             int `json:"writes"`

	// DeadDetectionExcess is by how much a member that died with the leader was taken for alive longer than its lease, the change of
	// leader and what was not charged; the most of all trials.
	DeadDetectionExcess float64 `json:"dead_detection_excess_ms"`
	Uncharged           float64 `json:"uncharged_ms"` // the most of all trials
	FsyncP99            float64 `json:"fsync_p99_ms"`
	// Sessions is how many members there were to come back. SessionsReattach is when each had, counted from the first write that the
	// next leader acknowledged; 0 = it was earlier. Terms is how many terms were begun meanwhile: one per trial, or Raft was starved.
	Sessions         int     `json:"sessions,omitempty"`
	SessionsReattach *Spread `json:"sessions_reattach_ms,omitempty"`
	Terms            uint64  `json:"terms,omitempty"`

	// Errors are the first few of what failed.
	Errors []string `json:"errors,omitempty"`
}

// Broken is an error that names what was counted and must be 0, if anything was.
func (r Result) Broken() error {
	return mustBeZero(
		counted{r.FalseExpiries, "members expired falsely"}, counted{r.ConnectionFailures, "members could not be told"}, counted{r.Failed, "requests failed"},
		counted{r.Lost, "requests or orders were lost"}, counted{r.Doubled, "requests or orders were done twice"},
	)
}

// counted is how often something happened that must not.
type counted struct {
	n    int
	what string
}

// mustBeZero is an error that names what happened all the same.
func mustBeZero(all ...counted) error {
	var happened []string
	for _, c := range all {
		if c.n > 0 {
			happened = append(happened, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if happened == nil {
		return nil
	}
	return fmt.Errorf("what must not happen did: %s", strings.Join(happened, ", "))
}

const (
	// trialLimit bounds a trial, startLimit what is around all of them.
	trialLimit = 45 * time.Second
	startLimit = 2 * time.Minute
	// flowing is how many writes have to be acknowledged before and after a change.
	flowing = 5
	// deathEvery is every how many trials a member dies with the leader. Its expiry is waited for, since the next leader would give it its grace.
	deathEvery = 4
	// maxErrors are told.
	maxErrors = 5
)

// run is one measurement under way.
type run struct {
	cfg     Config
	fleet   *fleet.Fleet
	load    *load
	network *network
	pauses  []timed
	dead    map[uint32]time.Duration // the pause of the trial that each victim died in, by rank
	terms   uint64                   // that were begun by the trials
}

// Failover measures. It is an error where something did not work, not where the numbers are bad.
func Failover(cfg Config) (result Result, err error) {
	var n *network
	if cfg.Mode == Partition {
		if n, err = insideNetwork(); err != nil {
			return Result{}, err
		}
	}
	limit := startLimit + time.Duration(cfg.Trials)*trialLimit
	err = fleet.Play(cfg.Muster, cfg.Keep, limit, func(ctx context.Context, f *fleet.Fleet) error {
		r := &run{cfg: cfg, fleet: f, network: n, dead: map[uint32]time.Duration{}}
		if n != nil {
			f.Places, f.Within = n.places(), n.within
		}
		result, err = r.measure(ctx)
		return err
	})
	return result, err
}

func (r *run) measure(ctx context.Context) (_ Result, err error) {
	if _, err := r.fleet.StartServers(ctx); err != nil {
		return Result{}, err
	}
	r.load, err = startLoad(ctx, r.fleet.Addresses(), r.fleet.Dir)
	if err == nil {
		err = r.load.startCrowd(ctx, r.cfg.Sessions)
	}
	if err == nil {
		err = r.trials(ctx)
	}
	lost := 0
	if err == nil {
		lost, err = r.settle(ctx)
	}
	if err = errors.Join(err, r.load.end()); err != nil {
		return Result{}, err
	}
	return r.result(lost), r.fleet.EndServers(ctx)
}

func (r *run) trials(ctx context.Context) error {
	before := term(ctx, r.fleet)
	defer func() { r.terms = term(ctx, r.fleet) - before }()
	for i := range r.cfg.Trials {
		if err := r.trial(ctx, uint32(i)); err != nil {
			return fmt.Errorf("trial %d: %w", i+1, err)
		}
	}
	return nil
}

// trial does what the mode does once, with orders under way, and now and then with a member that dies in the same moment.
func (r *run) trial(ctx context.Context, number uint32) error {
	all, err := r.happenings(ctx)
	if err != nil {
		return err
	}
	die := func() error { return nil }
	if number%deathEvery == 0 {
		if die, err = r.load.victim(ctx, number); err != nil {
			return err
		}
	}
	var longest time.Duration
	for i, h := range all {
		if err := r.flow(ctx, time.Now()); err != nil {
			return err
		}
		ordered := make(chan error, 1)
		go func() { ordered <- r.load.restart(ctx) }()
		died := make(chan error, 1)
		began := time.Now()
		if i == 0 {
			go func() { died <- die() }()
		} else {
			died <- nil
		}
		if err := h.do(ctx); err != nil {
			return err
		}
		done := time.Now()
		var found []time.Time
		returned := make(chan error, 1)
		go func() {
			var err error
			found, err = r.load.crowd.gather(ctx, done)
			returned <- err
		}()
		if err := errors.Join(r.flow(ctx, done), <-returned); err != nil {
			return err
		}
		pause := r.load.writer.pause(began, time.Now())
		r.pauses = append(r.pauses, pause)
		longest = max(longest, pause.took())
		led := r.load.writer.first(done)
		r.load.crowd.returned(found, led)
		r.progress(number, h.name, pause.took(), found, led)
		if err := errors.Join(<-ordered, <-died, h.after(ctx)); err != nil {
			return err
		}
		// The next change finds a cluster that is whole: a node that was started again knows what the others do.
		if _, err := r.fleet.AwaitServers(ctx, r.fleet.Committed(ctx)); err != nil {
			return err
		}
	}
	r.dead[number] = longest
	return r.load.observer.await(ctx)
}

// flow waits until some writes are acknowledged that began at since or later.
func (r *run) flow(ctx context.Context, since time.Time) error {
	err := r.fleet.Await(ctx, "acknowledged writes", func(context.Context) (bool, error) {
		return r.load.writer.writes(since) >= flowing, nil
	})
	if err != nil {
		return errors.Join(err, r.load.writer.trouble())
	}
	return nil
}

func (r *run) progress(number uint32, node string, pause time.Duration, found []time.Time, acked time.Time) {
	if r.cfg.Progress == nil {
		return
	}
	back := ""
	if len(found) > 0 {
		back = fmt.Sprintf(", %d sessions back %.1f ms later", len(found), ms(found[len(found)-1].Sub(acked)))
	}
	fmt.Fprintf(r.cfg.Progress, "%s %d/%d: %s, %.1f ms%s\n", r.cfg.Mode, number+1, r.cfg.Trials, node, ms(pause), back)
}

// settle waits until what was ordered runs. It returns how many ranks do not run all the same.
func (r *run) settle(ctx context.Context) (lost int, err error) {
	patient, cancel := context.WithTimeout(ctx, fleet.Patience)
	defer cancel()
	for {
		if lost, err = r.load.ranksLost(ctx); err != nil || lost == 0 {
			return 0, err
		}
		if rest(patient, 50*time.Millisecond) != nil {
			return lost, nil
		}
	}
}

// result sums up a load that has ended.
func (r *run) result(ranksLost int) Result {
	w, o := r.load.writer, r.load.observer
	var all, clean []time.Duration
	for _, p := range r.pauses {
		all = append(all, p.took())
		if !r.load.disk.wasSlow(p.began, p.ended) {
			clean = append(clean, p.took())
		}
	}
	excess, uncharged := r.detection()
	result := Result{
		Mode: r.cfg.Mode, Trials: len(all), Spread: spreadOf(all), SlowDisk: len(all) - len(clean), WithoutThem: spreadOf(clean),
		FalseExpiries: o.falseExpiries, ConnectionFailures: o.undeliverable,
		Failed: w.failed, Lost: w.lost + ranksLost, Doubled: w.doubled + r.load.orders.doubled(), Writes: len(w.acks),
		DeadDetectionExcess: ms(excess), Uncharged: ms(uncharged), FsyncP99: spreadOf(r.load.disk.took()).P99,
	}
	if r.cfg.Sessions > 0 {
		back := spreadOf(r.load.crowd.back)
		result.Sessions, result.SessionsReattach, result.Terms = r.cfg.Sessions, &back, r.terms
	}
	for _, err := range append(w.errs, r.load.disk.err, o.err) {
		if err != nil && len(result.Errors) < maxErrors {
			result.Errors = append(result.Errors, err.Error())
		}
	}
	return result
}

// detection is the most of what the dead members' expiries took too long, and of what was not charged.
func (r *run) detection() (excess, uncharged time.Duration) {
	first := true
	for rank, v := range r.load.observer.victims {
		e, u := v.excess(fleet.Lease, r.dead[rank])
		if first || e > excess {
			excess = e
		}
		uncharged, first = max(uncharged, u), false
	}
	return excess, uncharged
}
