package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
)

// ReportsConfig is of a load of supervision reports: each session says that its procs are alive, waits until the log has it, and says
// it again.
type ReportsConfig struct {
	Target
	// Sessions are open at once, each of so many procs, all of which a message names.
	Sessions, Procs int
	Duration        time.Duration
}

// Reports is what was measured.
type Reports struct {
	Procs     int     `json:"procs"`   // a message
	Reports   int64   `json:"reports"` // of a proc, acknowledged
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	Spread            // of one message until its acknowledgement, in milliseconds
}

// joinsAtOnce is how many members join at once before the reports begin.
const joinsAtOnce = 256

// MeasureReports has members join a world of their own, report, and go again.
func MeasureReports(ctx context.Context, cfg ReportsConfig) (result Reports, err error) {
	t, err := cfg.aim(ctx)
	if err != nil {
		return Reports{}, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	world, err := t.world(ctx, "bench-reports")
	if err != nil {
		return Reports{}, err
	}
	members, epoch, err := t.joinAll(ctx, world, cfg.Sessions*cfg.Procs)
	if err != nil {
		return Reports{}, err
	}
	loading, cancel := context.WithCancel(ctx)
	defer cancel()
	g, loading := errgroup.WithContext(loading)
	var reporters []*reporter
	for i := range cfg.Sessions {
		r := &reporter{members: members[i*cfg.Procs : (i+1)*cfg.Procs]}
		if err := r.open(loading, t.conns[i%len(t.conns)], epoch); err != nil {
			return Reports{}, errors.Join(err, stopped(cancel, g))
		}
		reporters = append(reporters, r)
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
		t.report(telling, "reports", done.Load)
		return nil
	})
	err = g.Wait()
	lasted := time.Since(began)
	var all []time.Duration
	for _, r := range reporters {
		all = append(all, r.took...)
	}
	return Reports{
		Procs: cfg.Procs, Reports: done.Load(), Seconds: lasted.Seconds(), PerSecond: rate(done.Load(), lasted), Spread: spreadOf(all),
	}, err
}

func stopped(cancel context.CancelFunc, g *errgroup.Group) error {
	cancel()
	return g.Wait()
}

// joinAll has so many members join, ranks from 0 on, and tells the epoch that they joined in.
func (t *target) joinAll(ctx context.Context, world string, n int) (members []*musterv1.ProcRef, epoch uint64, err error) {
	answers := make([]*musterv1.JoinResponse, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(joinsAtOnce)
	for rank := range n {
		g.Go(func() error {
			var err error
			answers[rank], err = musterv1grpc.NewMemberServiceClient(t.conns[rank%len(t.conns)]).Join(ctx, t.joinOf(world, uint32(rank)))
			if err != nil {
				return fmt.Errorf("join of rank %d: %w", rank, err)
			}
			return nil
		})
	}
	err = g.Wait()
	for _, answer := range answers {
		members, epoch = append(members, answer.GetProc()), answer.GetEpoch()
	}
	return members, epoch, err
}

// reporter is one session of members with neighbouring ranks.
type reporter struct {
	members []*musterv1.ProcRef
	stream  grpc.BidiStreamingClient[musterv1.SessionRequest, musterv1.SessionResponse]
	took    []time.Duration
}

// open says hello and waits to be welcomed.
func (r *reporter) open(ctx context.Context, conn *grpc.ClientConn, epoch uint64) (err error) {
	if r.stream, err = musterv1grpc.NewMemberServiceClient(conn).Session(ctx); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	hello := &musterv1.Hello{Owner: "bench", Epoch: epoch}
	for _, p := range r.members {
		hello.Members = append(hello.Members, &musterv1.HelloMember{Proc: p})
	}
	if err := r.stream.Send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Hello{Hello: hello}}); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	return r.await(func(m *musterv1.SessionResponse) bool { return m.GetWelcome() != nil })
}

// run reports until the time has come.
func (r *reporter) run(until time.Time, done *atomic.Int64) error {
	var ranks []uint32
	for _, p := range r.members {
		ranks = append(ranks, p.GetRank())
	}
	alive := []*musterv1.RankRuns{{World: r.members[0].GetWorld(), Role: musterv1.Role_ROLE_WORKER, Runs: id.AppendRuns(nil, ranks)}}
	for seq := uint64(1); time.Now().Before(until); seq++ {
		said := time.Now()
		report := &musterv1.SessionReport{Seq: seq, Alive: alive}
		if err := r.stream.Send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Report{Report: report}}); err != nil {
			return fmt.Errorf("report: %w", err)
		}
		if err := r.await(func(m *musterv1.SessionResponse) bool { return m.GetAckedSeq() >= seq }); err != nil {
			return err
		}
		r.took = append(r.took, time.Since(said))
		done.Add(int64(len(r.members)))
	}
	return r.stream.CloseSend()
}

// await reads until something is said.
func (r *reporter) await(said func(*musterv1.SessionResponse) bool) error {
	for {
		m, err := r.stream.Recv()
		switch {
		case err != nil:
			return fmt.Errorf("session: %w", err)
		case m.GetVerdicts() != nil:
			return fmt.Errorf("session: %v", m.GetVerdicts())
		case m.GetRefused() != nil || m.GetRedirect() != nil:
			return fmt.Errorf("session: %v", m)
		case said(m):
			return nil
		}
	}
}
