package hostagent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

const (
	// Pauses between attempts to join a world that does not take hosts at the moment.
	firstPause   = time.Second
	longestPause = 5 * time.Second
	// leaveTimeout bounds saying goodbye, and before that telling how programs have ended.
	leaveTimeout = 3 * time.Second
	// DefaultStopTimeout is what programs are given when the agent itself is asked to end.
	DefaultStopTimeout = 10 * time.Second
)

// Config is what an agent is told.
type Config struct {
	Client  *client.Client
	Servers []string // told to programs as MUSTER_SERVERS
	Worlds  []string
	// Rank is the host rank, where one world is served and its rank is not to be given by the cluster.
	Rank *uint32
	// Advertise is the address that programs of other hosts reach this machine at.
	Advertise string
	Machine   string
	Labels    map[string]string
	TakeOver  bool
	// Stay waits for a world's next creation when it has ended.
	Stay   bool
	State  *StateDir
	LogDir string
	Ports  *Ports
	// OrphanTimeout ends what runs when no leader was reached for so long after the lease has ended; 0 = as the cluster has it set,
	// negative = never.
	OrphanTimeout time.Duration
	// StopTimeout is what programs are given when Run's context ends.
	StopTimeout time.Duration
	Logger      hclog.Logger
}

// Agent is a host in one or more worlds.
type Agent struct {
	cfg Config
}

// New returns an agent; Run runs it. It ends what an earlier agent has left first.
func New(cfg Config) (*Agent, error) {
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = DefaultStopTimeout
	}
	n, err := cfg.State.EndLeftovers()
	if err != nil {
		return nil, err
	}
	if n > 0 {
		cfg.Logger.Warn("ended what an earlier agent left running", "ranks", n)
	}
	return &Agent{cfg: cfg}, nil
}

// ErrFailed is what Run answers when a world of the agent has failed or was evicted.
var ErrFailed = errors.New("a world has failed")

// Run serves the worlds until all have ended, or until ctx ends: then programs are asked to end, and the worlds are left. kill, when it is
// closed, ends them at once. The error is nil where all worlds completed or were stopped, and wraps ErrFailed where one has failed.
func (a *Agent) Run(ctx context.Context, kill <-chan struct{}) error {
	errs := make(chan error, len(a.cfg.Worlds))
	for _, world := range a.cfg.Worlds {
		go func() { errs <- a.serve(ctx, kill, world) }()
	}
	var all []error
	for range a.cfg.Worlds {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// serve is a host of one world, from creation to creation with Stay.
func (a *Agent) serve(ctx context.Context, kill <-chan struct{}, world string) error {
	for {
		r := newRanks(a, world)
		m, err := a.join(ctx, r)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("world %s: %w%s", world, err, a.hint(err))
		}
		err = a.host(ctx, kill, r, m)
		if !a.cfg.Stay || ctx.Err() != nil || !hasWorldEnded(m.Err()) {
			return err
		}
		if err != nil {
			r.log.Warn("the world has ended; waiting for its next creation", "error", err)
		} else {
			r.log.Info("the world has ended; waiting for its next creation")
		}
	}
}

// join makes the agent a host of the world. It tries for ever where no server answers, and with Stay while the world takes no hosts.
func (a *Agent) join(ctx context.Context, r *ranks) (*client.Member, error) {
	cfg := client.MemberConfig{
		World: r.world, Role: musterv1.Role_ROLE_HOST, AssignRank: a.cfg.Rank == nil, Key: a.cfg.State.Key(), Machine: a.cfg.Machine,
		Address: "tcp:" + a.cfg.Advertise, Labels: a.cfg.Labels, TakeOver: a.cfg.TakeOver, Host: r,
		OnRejoin: func(p *musterv1.ProcRef) { r.log.Info("joined again", "incarnation", p.GetIncarnation()) },
	}
	if a.cfg.Rank != nil {
		cfg.Rank = *a.cfg.Rank
	}
	said := ""
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		m, err := a.cfg.Client.Join(attempt, cfg)
		cancel()
		if err == nil {
			p := m.Proc()
			r.log.Info("joined", "host_rank", p.GetRank(), "incarnation", p.GetIncarnation(), "generation", m.Generation())
			return m, nil
		}
		if ctx.Err() != nil || !a.goOn(err) {
			return nil, err
		}
		if said != err.Error() {
			said = err.Error()
			r.log.Warn("not joined yet, trying on", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// goOn tells whether joining may succeed later without anybody's doing anything about this agent.
func (a *Agent) goOn(err error) bool {
	if errors.Is(err, client.ErrNoAnswer) || errors.Is(err, context.DeadlineExceeded) || client.OutcomeUnknown(err) {
		return true
	}
	if isOver(err) {
		return a.cfg.Stay
	}
	switch client.RefusalOf(err).GetReason() {
	case musterv1.Reason_REASON_NO_LEADER, musterv1.Reason_REASON_NOT_LEADER, musterv1.Reason_REASON_NOT_SERVING,
		musterv1.Reason_REASON_DROPPED, musterv1.Reason_REASON_FULL, musterv1.Reason_REASON_DISK,
		musterv1.Reason_REASON_RESTORING:
		return true
	}
	return false
}

// hint says what the user of an agent can do about a refusal.
func (a *Agent) hint(err error) string {
	switch {
	case isOver(err):
		return "; with --stay an agent waits for its next creation"
	case client.RefusalOf(err).GetReason() == musterv1.Reason_REASON_ALREADY_EXISTS && a.cfg.Rank != nil:
		return " (--take-over)"
	}
	return ""
}

// host is a membership from its join to its end. No program of it is left afterwards.
func (a *Agent) host(ctx context.Context, kill <-chan struct{}, r *ranks, m *client.Member) error {
	defer r.close()
	orphan := time.NewTicker(time.Second)
	defer orphan.Stop()
	orphaned := false
	for {
		select {
		case <-m.Done():
			r.close() // first: what comes may take its time
			return a.ended(ctx, r, m)
		case <-ctx.Done():
			return a.leave(kill, r, m)
		case <-orphan.C:
			silent := time.Since(m.Lease())
			if limit := a.orphanTimeout(m); limit < 0 || silent < limit {
				orphaned = false
			} else if !orphaned {
				orphaned = true
				r.log.Error("no leader was reached for too long: ending all programs (orphan policy stop)", "since_lease", silent)
				for _, one := range r.all() {
					one.stop(a.cfg.StopTimeout)
				}
			}
		}
	}
}

// orphanTimeout is how long programs go on after the lease has ended; negative = for ever.
func (a *Agent) orphanTimeout(m *client.Member) time.Duration {
	if a.cfg.OrphanTimeout != 0 {
		return a.cfg.OrphanTimeout
	}
	if orphan := m.OrphanTimeout(); orphan > 0 {
		return max(0, orphan-time.Duration(m.Timeouts().GetLeaseNs()))
	}
	return -1
}

// leave ends what runs, in order, and then the membership.
func (a *Agent) leave(kill <-chan struct{}, r *ranks, m *client.Member) error {
	r.refuse()
	r.log.Info("ending: programs are asked to end", "timeout", a.cfg.StopTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), a.cfg.StopTimeout+time.Second)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.stopAll(ctx, a.cfg.StopTimeout)
	}()
	select {
	case <-stopped:
	case <-kill:
		cancel()
		<-stopped
	}
	telling, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := m.AwaitTold(telling); err != nil {
		r.log.Warn("the cluster does not know how programs have ended", "error", err)
	}
	goodbye, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := m.Leave(goodbye); err != nil {
		r.log.Warn("left without the cluster's knowing: it will take this host for dead when its lease ends", "error", err)
	}
	return nil
}
