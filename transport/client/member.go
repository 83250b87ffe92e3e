package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// errLeft ends a member that has left; its Err is nil.
var errLeft = errors.New("left")

// Member is the calling program as a member of a world. Client.Join makes it.
type Member struct {
	client *Client
	cfg    MemberConfig

	// ctx ends with the member, its cause says why.
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}
	// wake tells the session that there is something to say before the next report. Holds one.
	wake chan struct{}
	// membershipSlot is held by whoever joins again or leaves, so that nobody leaves a membership that is being replaced.
	membershipSlot chan struct{}
	handlers       sync.WaitGroup
	host           *hosting // of hosts
	posts          *postbox
	inbox          *inbox
	interests      *interests

	// mu guards the rest.
	mu       sync.Mutex
	joined   *musterv1.JoinResponse
	lease    time.Time
	leaving  bool
	earlier  []uint64 // the incarnations before the present one, of who says what it holds
	highest  uint64
	stop     stopping
	failures failures
	end      *musterv1.ProcReport // what Complete or Fail says; nil before
	err      error
}

func newMember(c *Client, cfg MemberConfig, handlers map[listening]MessageHandler, first membership) *Member {
	m := &Member{
		client: c, cfg: cfg, done: make(chan struct{}), wake: make(chan struct{}, 1), membershipSlot: make(chan struct{}, 1),
	}
	m.ctx, m.cancel = context.WithCancelCause(c.ctx)
	m.posts, m.inbox, m.interests = newPostbox(m.poke), newInbox(m), newInterests()
	if cfg.Host != nil {
		m.host = newHosting(m, cfg.Host)
		m.handlers.Go(func() { m.host.loop(m.ctx) })
	}
	m.become(first)
	if cfg.Host == nil {
		m.handlers.Go(m.watchOrphan)
	}
	for at, handler := range handlers {
		_, _ = m.inbox.listen(at, handler) // nobody listens there yet
	}
	return m
}

// mostEarlier is how many incarnations before the present one a join names, as many as servers take. A member gets another one when it has
// expired and when a state is restored.
const mostEarlier = 256

// become takes a new membership.
func (m *Member) become(now membership) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := cmp.Or(m.joined.GetProc().GetIncarnation(), m.cfg.Incarnation)
	if m.saysWhatItHolds() && before != 0 && before != now.GetProc().GetIncarnation() {
		m.earlier = append(m.earlier[max(0, len(m.earlier)+1-mostEarlier):], before)
	}
	m.joined = now.JoinResponse
	m.lease = now.sent.Add(time.Duration(now.GetTimeouts().GetLeaseNs()))
	// Orders have numbers of the state: what was accepted as an earlier incarnation is below whatever comes.
	m.highest = max(m.highest, now.GetHighestOrder())
}

// accept notes an order as accepted, and tells whether it was not before.
func (m *Member) accept(order uint64) bool {
	m.mu.Lock()
	fresh := order > m.highest
	m.highest = max(m.highest, order)
	m.mu.Unlock()
	m.poke()
	return fresh
}

// Proc is who the member is now.
func (m *Member) Proc() *musterv1.ProcRef {
	return m.membership().GetProc()
}

// Incarnation is the member's present one. It changes when the member has to join again.
func (m *Member) Incarnation() uint64 {
	return m.Proc().GetIncarnation()
}

// Generation is the world's; 0 for detached members.
func (m *Member) Generation() uint64 {
	return m.membership().GetGeneration()
}

// Timeouts are the member's: how often it reports, how long its lease is.
func (m *Member) Timeouts() *musterv1.Timeouts {
	return m.membership().GetTimeouts()
}

// Lease is the moment until which the cluster certainly does not take the member for dead, by this process's monotonic clock:
// one lease after the last acknowledged report was sent.
func (m *Member) Lease() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lease
}

// Done is closed when the member has ended.
func (m *Member) Done() <-chan struct{} {
	return m.done
}

// Err is why the member has ended: *Ended, *Stopped, *Orphaned, ErrClosed, an *Error where it could not join again; nil before Done is
// closed and after a successful Leave, Complete or Fail.
func (m *Member) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Leave ends the membership and then the member. Where the cluster could not be told in time, the member has ended all the
// same and the error says so; the cluster takes it for dead when its lease ends. A member that had already ended leaves
// nothing and gives no error.
func (m *Member) Leave(ctx context.Context) error {
	select {
	case m.membershipSlot <- struct{}{}:
		defer func() { <-m.membershipSlot }()
	case <-m.done:
		return nil
	case <-ctx.Done():
		// It is joining again, with nobody to answer.
		m.cancel(errLeft)
		<-m.done
		return fmt.Errorf("leave: %w; it is gone when its lease ends", outOfTime(ctx))
	}
	m.mu.Lock()
	m.leaving = true
	m.mu.Unlock()
	if m.ctx.Err() != nil {
		<-m.done
		return nil
	}
	err := m.client.leave(ctx, m.Proc())
	m.cancel(errLeft)
	<-m.done
	return err
}

func (m *Member) membership() *musterv1.JoinResponse {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.joined
}

// run is the member's goroutine: session after session until something ends it.
func (m *Member) run() {
	defer m.client.members.Done()
	defer m.handlers.Wait()
	err := m.live()
	if cause := context.Cause(m.ctx); cause != nil {
		err = cause
	}
	m.cancel(err)
	m.endStop()
	m.inbox.close()
	switch {
	case errors.Is(err, errLeft):
		err = nil
	case m.client.ctx.Err() != nil && errors.Is(err, context.Canceled):
		err = ErrClosed
	}
	m.mu.Lock()
	m.err = err
	m.mu.Unlock()
	m.posts.close(err)
	close(m.done)
}

// live goes from session to session. Without a leader it tries for ever: no outage of the cluster ends a member.
func (m *Member) live() error {
	pause := newDelay(firstPause, longestPause)
	for tries := 0; ; tries++ {
		address := m.where(tries)
		began := time.Now()
		welcome, err := m.session(address)
		if time.Since(began) > longestPause {
			pause.reset()
		}
		var ended *Ended
		var stopped *Stopped
		switch {
		case m.ctx.Err() != nil:
			return m.ctx.Err()
		case errors.As(err, &ended), errors.As(err, &stopped):
			return err
		case errors.Is(err, errRejoin):
			if err := m.rejoin(errors.Is(err, errExpired)); err != nil {
				return err
			}
			continue
		}
		var wait time.Duration
		if !errors.Is(err, errMoved) {
			m.client.logger.Debug("session ended", "server", address, "error", err)
			m.client.leader.doubt(address)
			wait = pause.take()
		}
		if welcome {
			wait = max(wait, m.client.crowd.wait(m.Timeouts()))
		}
		if err := sleep(m.ctx, wait); err != nil {
			return err
		}
	}
}

// where is the address for the next session; empty if nobody is known to lead.
func (m *Member) where(tries int) string {
	if address := m.client.leader.address(); address != "" {
		return address
	}
	leader, confirmed := m.client.findTogether(m.ctx)
	if confirmed {
		return leader.GetAddress()
	}
	if tries%4 == 3 {
		// The leader may be reachable only under another address than the one it tells: try what we were given.
		return m.client.servers.next("")
	}
	return ""
}

// rejoin makes the member a new incarnation. The program goes on as if nothing had happened.
func (m *Member) rejoin(expired bool) error {
	select {
	case m.membershipSlot <- struct{}{}:
	case <-m.ctx.Done():
		return m.ctx.Err()
	}
	m.mu.Lock()
	leaving := m.leaving
	m.mu.Unlock()
	if leaving {
		<-m.membershipSlot
		return nil
	}
	now, err := m.client.join(m.ctx, verb{op: "join again", yields: expired}, m.rejoinRequest())
	if err == nil {
		m.become(now)
	}
	<-m.membershipSlot
	if expired && RefusalOf(err).GetReason() == musterv1.Reason_REASON_STALE {
		// Between the verdict and the join somebody else has become what this member was, or a state was restored that may know it: the next session
		// hears which.
		return nil
	}
	if err != nil {
		return fmt.Errorf("joining again: %w", err)
	}
	m.client.logger.Info("joined again", "world", now.GetProc().GetWorld(), "rank", now.GetProc().GetRank(),
		"incarnation", now.GetProc().GetIncarnation())
	if m.cfg.OnRejoin != nil {
		m.cfg.OnRejoin(now.GetProc())
	}
	return nil
}

// rejoinRequest says what a host, or a program that a host has started, holds: that is what it goes on as. The state may be an old one that was
// restored, and know the member as what it was then.
func (m *Member) rejoinRequest() *musterv1.JoinRequest {
	req := m.cfg.request()
	if m.saysWhatItHolds() {
		m.mu.Lock()
		req.Incarnation, req.Earlier = m.joined.GetProc().GetIncarnation(), slices.Clone(m.earlier)
		m.mu.Unlock()
	}
	return req
}

// saysWhatItHolds: it is a host, or a program that a host has started.
func (m *Member) saysWhatItHolds() bool { return m.host != nil || m.cfg.Incarnation != 0 }

func (m *Member) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
