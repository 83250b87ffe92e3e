package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/rpcstatus"
)

// ReportsConfig is of a load of supervision reports: each session says that its procs are alive, waits until the log has it, and says
// it again.
type ReportsConfig struct {
	Target
	// Sessions are open at once, each of so many procs.
	Sessions, Procs int
	// PerMessage is how many of them a message names. A session sends one behind the other until it has named all, and then waits. Each is of a world
	// of its own: of one world, what a session says replaces what it said just before, and the log would have the last of it alone. 0 = all of them.
	PerMessage int
	Duration   time.Duration
	// Keep leaves the members and their worlds in the cluster.
	Keep bool
}

// Reports is what was measured.
type Reports struct {
	Procs   int   `json:"procs"`   // a message, at most
	Reports int64 `json:"reports"` // of a proc, acknowledged
	Window
	PerSecond float64 `json:"per_second"`
	Spread            // of naming all procs of a session, until the last message is acknowledged, in milliseconds
	// Histogram is of the same.
	Histogram Histogram `json:"-"`
}

// MostMessages of a session are under way at once.
const MostMessages = 256

// perMessage is how many procs a message names, at most.
func (c ReportsConfig) perMessage() int { return min(cmp.Or(c.PerMessage, c.Procs), c.Procs) }

// Check tells whether a session would send too many messages before it waits.
func (c ReportsConfig) Check() error {
	if most := MostMessages * c.perMessage(); c.Procs > most {
		return fmt.Errorf("%d procs, %d a message: at most %d, which are %d messages", c.Procs, c.perMessage(), most, MostMessages)
	}
	return nil
}

// joinsAtOnce is how many members join at once before the reports begin, sessionsAtOnce how many sessions are opened at once.
const joinsAtOnce, sessionsAtOnce = 256, 32

// MeasureReports has members join worlds of their own, report, and go again unless they are to be kept.
func MeasureReports(ctx context.Context, cfg ReportsConfig) (result Reports, err error) {
	if err := cfg.Check(); err != nil {
		return Reports{}, err
	}
	t, err := cfg.aim(ctx)
	if err != nil {
		return Reports{}, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	members := make([][]*musterv1.ProcRef, cfg.Sessions)
	var epoch uint64
	for left := cfg.Procs; left > 0; left -= cfg.perMessage() {
		world, err := t.world(ctx, "bench-reports", quiet())
		if err != nil {
			return Reports{}, err
		}
		n := min(cfg.perMessage(), left)
		var all []*musterv1.ProcRef
		if all, epoch, err = t.joinAll(ctx, world, cfg.Sessions*n, joinsAtOnce, nil); err != nil {
			return Reports{}, err
		}
		for i := range members {
			members[i] = append(members[i], all[i*n:(i+1)*n]...)
		}
	}
	loading, cancel := context.WithCancel(ctx)
	defer cancel()
	g, loading := errgroup.WithContext(loading)
	reporters := make([]*reporter, cfg.Sessions)
	var opening errgroup.Group
	opening.SetLimit(sessionsAtOnce)
	for i := range reporters {
		r := &reporter{}
		reporters[i] = r
		opening.Go(func() error { return r.open(loading, t.conn(i), epoch, members[i]) })
	}
	if err := opening.Wait(); err != nil {
		return Reports{}, errors.Join(err, stopped(cancel, g))
	}
	var done atomic.Int64
	until := time.Now().Add(cfg.Duration)
	began := time.Now()
	for _, r := range reporters {
		g.Go(func() error { return r.run(until, &done) })
	}
	g.Go(func() error {
		telling, cancel := context.WithDeadline(loading, until)
		defer cancel()
		t.report(telling, "reports", done.Load, goal{d: cfg.Duration})
		return nil
	})
	err = g.Wait()
	lasted := time.Since(began)
	if cfg.Keep && err == nil {
		t.worlds = nil
	}
	var all []time.Duration
	for _, r := range reporters {
		all = append(all, tookOf(r.took, began)...)
	}
	return Reports{
		Procs: cfg.perMessage(), Reports: done.Load(), Window: t.window(began, lasted), PerSecond: rate(done.Load(), lasted), Spread: spreadOf(all),
		Histogram: histogramOf(all),
	}, err
}

func stopped(cancel context.CancelFunc, g *errgroup.Group) error {
	cancel()
	return g.Wait()
}

// joinAll has so many members join, ranks from 0 on, so many at once, and tells the epoch that they joined in. done, if not nil, counts them.
func (t *target) joinAll(ctx context.Context, world string, n, atOnce int, done *atomic.Int64) (members []*musterv1.ProcRef, epoch uint64, err error) {
	answers := make([]*musterv1.JoinResponse, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for rank := range n {
		g.Go(func() (err error) {
			if answers[rank], err = t.join(ctx, rank, t.joinOf(world, uint32(rank))); err != nil {
				return fmt.Errorf("join of rank %d: %w", rank, err)
			}
			if done != nil {
				done.Add(1)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	for _, answer := range answers {
		members, epoch = append(members, answer.GetProc()), answer.GetEpoch()
	}
	return members, epoch, nil
}

// join has one member join, also where the leader changes meanwhile: its nonce makes all attempts one.
func (t *target) join(ctx context.Context, number int, q *musterv1.JoinRequest) (*musterv1.JoinResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	for {
		answer, err := musterv1grpc.NewMemberServiceClient(t.conn(number)).Join(ctx, q)
		if err == nil || !rpcstatus.Transient(err) {
			return answer, err
		}
		if rest(ctx, followPause) != nil || t.follow(ctx) != nil {
			return nil, err
		}
	}
}

// followPause is left before a leader that does not answer is looked for.
const followPause = 50 * time.Millisecond

// reporter is one session of members, whose reports name those of one world in each message.
type reporter struct {
	stream grpc.BidiStreamingClient[musterv1.SessionRequest, musterv1.SessionResponse]
	alive  []*musterv1.RankRuns // what each message says, together of so many procs
	procs  int
	seq    uint64
	took   []timed // naming all procs, from sending until the acknowledgement of the last message
	// reported is when the latest of those was begun that was acknowledged, a hello too.
	reported time.Time
	// tolerant reporters do not end with a verdict on some of their members.
	tolerant bool

	again *time.Timer // says what is unacknowledged once more
	mu    sync.Mutex
	said  []*musterv1.SessionRequest // guarded by mu, as sending is; none: all is acknowledged
}

// sayAgainAfter is when messages are said once more. An entry that Raft had no time for acknowledges nobody: members report anew then,
// and whoever waits here has to do so, too.
const sayAgainAfter = 2 * time.Second

func (r *reporter) sayAgain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.said) > 0 && r.sendSaid() == nil {
		r.again.Reset(sayAgainAfter)
	}
}

// sendSaid sends what is to be acknowledged. Called with mu held.
func (r *reporter) sendSaid() error {
	for _, m := range r.said {
		if err := r.stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// send says something that is to be acknowledged; nothing = it was.
func (r *reporter) send(messages ...*musterv1.SessionRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said = messages; len(messages) == 0 {
		r.again.Stop()
		return nil
	}
	if r.again == nil {
		r.again = time.AfterFunc(sayAgainAfter, r.sayAgain)
	} else {
		r.again.Reset(sayAgainAfter)
	}
	return r.sendSaid()
}

// open says hello and waits to be welcomed.
func (r *reporter) open(ctx context.Context, conn *grpc.ClientConn, epoch uint64, members []*musterv1.ProcRef) error {
	stream, err := musterv1grpc.NewMemberServiceClient(conn).Session(ctx)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	r.mu.Lock() // what was said in a session before may be said again just now
	r.stream, r.said = stream, nil
	r.mu.Unlock()
	hello := &musterv1.Hello{Owner: "bench", Epoch: epoch}
	for _, p := range members {
		hello.Members = append(hello.Members, &musterv1.HelloMember{Proc: p})
	}
	r.alive, r.procs, r.seq = nil, 0, 0
	for len(members) > 0 {
		world := members[0].GetWorld()
		var ranks []uint32
		for ; len(members) > 0 && members[0].GetWorld() == world; members = members[1:] {
			ranks = append(ranks, members[0].GetRank())
		}
		r.name(world, ranks)
	}
	said := time.Now()
	if err := r.stream.Send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Hello{Hello: hello}}); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	if err := r.await(func(m *musterv1.SessionResponse) bool { return m.GetWelcome() != nil }); err != nil {
		return err
	}
	r.reported = said
	return nil
}

// name has the next reports be of these, too.
func (r *reporter) name(world string, ranks []uint32) {
	r.alive = append(r.alive, &musterv1.RankRuns{World: world, Role: musterv1.Role_ROLE_WORKER, Runs: id.AppendRuns(nil, ranks)})
	r.procs += len(ranks)
}

// run reports until the time has come.
func (r *reporter) run(until time.Time, done *atomic.Int64) error {
	for time.Now().Before(until) {
		if err := r.say(done); err != nil {
			return err
		}
	}
	return r.stream.CloseSend()
}

// say reports all members once, and waits until that is acknowledged.
func (r *reporter) say(done *atomic.Int64) error {
	said := time.Now()
	messages := make([]*musterv1.SessionRequest, len(r.alive))
	for i, alive := range r.alive {
		r.seq++
		report := &musterv1.SessionReport{Seq: r.seq, Alive: []*musterv1.RankRuns{alive}}
		messages[i] = &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Report{Report: report}}
	}
	if err := r.send(messages...); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	err := r.await(func(m *musterv1.SessionResponse) bool { return m.GetAckedSeq() >= r.seq })
	_ = r.send()
	if err != nil {
		return err
	}
	r.took, r.reported = append(r.took, timed{said, time.Now()}), said
	done.Add(int64(r.procs))
	return nil
}

// tookOf are the times of messages that were sent at since or later.
func tookOf(all []timed, since time.Time) (took []time.Duration) {
	for _, t := range all {
		if !t.began.Before(since) {
			took = append(took, t.took())
		}
	}
	return took
}

// await reads until something is said.
func (r *reporter) await(said func(*musterv1.SessionResponse) bool) error {
	for {
		m, err := r.stream.Recv()
		switch {
		case err != nil:
			return fmt.Errorf("session: %w", err)
		case m.GetVerdicts() != nil && r.tolerant:
		case m.GetVerdicts() != nil:
			return fmt.Errorf("session: %v", m.GetVerdicts())
		case m.GetRefused() != nil || m.GetRedirect() != nil:
			return fmt.Errorf("session: %v", m)
		case said(m):
			return nil
		}
	}
}
