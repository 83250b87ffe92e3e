package client

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

const (
	// How long one attempt of a unary call may take before another server is asked; doubled each time. A leader that hangs
	// must not hold a call for longer than an election takes.
	firstAttempt   = 2 * time.Second
	longestAttempt = 16 * time.Second
	// What an answer is waited for before all are asked whether there is another leader by now, and the longest pause before they are again.
	firstHang, longestHang = 100 * time.Millisecond, 200 * time.Millisecond
	// Pauses between attempts; the long ones are for a server that has too much to do, and the shortest is before the first look for
	// another leader, which is often there within milliseconds.
	firstPause, longestPause         = 20 * time.Millisecond, 150 * time.Millisecond
	firstAsk                         = 2 * time.Millisecond
	firstLongPause, longestLongPause = 100 * time.Millisecond, 2 * time.Second
)

// verb says how a call may be repeated.
type verb struct {
	op string
	// read: nothing can have been applied.
	read bool
	// once: it has no id, so it is not sent again when its outcome is unknown.
	once bool
	// yields: STALE is the answer, not the number to ask again with.
	yields bool
	// stream: an attempt may take as long as the context allows.
	stream bool
}

// final is an attempt's error behind which there is no other attempt, for example because what was to be sent cannot be read
// again.
type final struct {
	err     error
	unknown bool
}

func (f *final) Error() string { return f.err.Error() }
func (f *final) Unwrap() error { return f.err }

// attempts is what is known of a call so far.
type attempts struct {
	client *Client
	verb   verb
	number int
	lost   time.Time // when the first attempt failed; zero before
	limit  time.Duration
	// Where the last one went.
	address string
	// One of them reached a server; one of them may have been applied.
	connected, unknown bool
	renewed            bool
	refusal            *musterv1.Refusal
	last               error
	pause, longPause   *delay
}

// do sends one request until it is answered, refused by a rule, or the context ends. r may be nil for reads.
func do[T any](ctx context.Context, c *Client, v verb, r *request, attempt func(context.Context, grpc.ClientConnInterface) (T, error)) (T, error) {
	var zero T
	a := &attempts{
		client: c, verb: v, limit: firstAttempt,
		pause:     newDelay(firstPause, longestPause),
		longPause: newDelay(firstLongPause, longestLongPause),
	}
	ctx, cancel := c.untilClosed(ctx)
	defer cancel()
	for {
		a.number++
		a.address = c.pick(a.address)
		answer, err := try(ctx, a, attempt)
		if err == nil {
			c.leader.trust(a.address)
			if numbered, ok := any(answer).(interface{ GetNumber() uint64 }); ok {
				c.numbers.observe(numbered.GetNumber())
			}
			return answer, nil
		}
		if err := a.failed(ctx, r, err); err != nil {
			return zero, err
		}
	}
}

func try[T any](ctx context.Context, a *attempts, attempt func(context.Context, grpc.ClientConnInterface) (T, error)) (T, error) {
	if !a.verb.stream {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.limit)
		defer cancel()
		asked := a.address // which the next attempt changes, while a late timer may still begin
		hangs := time.AfterFunc(firstHang, func() { a.client.lookElsewhere(ctx, asked, cancel) })
		defer hangs.Stop()
	}
	conn, err := a.client.servers.connect(ctx, a.address)
	if err != nil {
		var zero T
		return zero, err
	}
	a.connected = true
	answer, err := attempt(ctx, conn)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		a.limit = min(2*a.limit, longestAttempt)
	}
	return answer, err
}

// failed decides what follows a failed attempt: nil after the pause that is due, or the error to give up with.
func (a *attempts) failed(ctx context.Context, r *request, err error) error {
	a.last, a.refusal = err, rpcstatus.Refusal(err)
	if a.lost.IsZero() {
		a.lost = time.Now()
	}
	sent := !errors.Is(err, errNotConnected)
	unknown := sent && rpcstatus.OutcomeUnknown(err) && !a.verb.read
	news := a.client.learn(a.refusal)
	reason := a.refusal.GetReason()
	var last *final
	renewable := r != nil && a.refusal.GetNumber() > r.issued

	switch {
	case errors.As(err, &last):
		a.last, a.unknown = last.err, a.unknown || last.unknown
		return a.giveUp(nil)
	case ctx.Err() != nil:
		a.unknown = a.unknown || unknown
		return a.giveUp(outOfTime(ctx))
	case reason == musterv1.Reason_REASON_REQUEST_TOO_OLD && !a.unknown && renewable,
		reason == musterv1.Reason_REASON_STALE && renewable && !a.verb.yields:
		// Nothing of this request has been applied, or it is still meant: it is asked again as a request of now.
		r.issued = a.refusal.GetNumber()
		if !a.renewed {
			a.renewed = true
			return nil
		}
	case reason == musterv1.Reason_REASON_REQUEST_TOO_OLD:
		return a.giveUp(nil)
	case !rpcstatus.Transient(err) && sent:
		// A rule's answer to the id settles what an earlier attempt left open.
		a.unknown = unknown
		return a.giveUp(nil)
	case unknown && a.verb.once:
		a.unknown = true
		return a.giveUp(nil)
	}
	a.unknown = a.unknown || unknown
	a.client.logger.Debug("asking again", "op", a.verb.op, "server", a.address, "attempt", a.number, "error", err)

	switch reason {
	case musterv1.Reason_REASON_FULL, musterv1.Reason_REASON_DISK, musterv1.Reason_REASON_RESTORING, musterv1.Reason_REASON_NOT_SERVING:
		return a.rest(ctx, a.longPause)
	}
	if news {
		return nil
	}
	if reason == musterv1.Reason_REASON_STALE || reason == musterv1.Reason_REASON_REQUEST_TOO_OLD {
		return a.rest(ctx, a.pause)
	}
	a.client.leader.doubt(a.address)
	return a.seek(ctx, reason == musterv1.Reason_REASON_NO_LEADER || reason == musterv1.Reason_REASON_NOT_LEADER)
}

// seek looks for a leader until one is known, for the pause that is due at most: then another server is tried all the same. between says
// that the last one asked answered that it does not lead yet, or not any more: its word that it leads now is worth another attempt.
func (a *attempts) seek(ctx context.Context, between bool) error {
	due := time.Now().Add(a.pause.take())
	for a.client.leader.address() == "" {
		left := time.Until(due)
		if left <= 0 {
			return nil
		}
		if err := sleep(ctx, min(left, a.untilAsked())); err != nil {
			return a.giveUp(outOfTime(ctx))
		}
		if leads := a.client.ask(ctx); between && leads != "" {
			a.client.leader.trust(leads)
		}
	}
	return nil
}

// untilAsked is the pause before a round of asking: a share of what the outage has lasted, so that it is made longer by that share at most.
func (a *attempts) untilAsked() time.Duration {
	return jitter(min(max(firstAsk, time.Since(a.lost)/4), longestPause))
}

func (a *attempts) rest(ctx context.Context, pause *delay) error {
	if pause.wait(ctx) != nil {
		return a.giveUp(outOfTime(ctx))
	}
	return nil
}

// giveUp makes the call's error; late is the context's, if that is why.
func (a *attempts) giveUp(late error) error {
	failed := &Error{Op: a.verb.op, OutcomeUnknown: a.unknown, Refusal: a.refusal, Attempts: a.number}
	if !a.connected {
		failed.causes = append(failed.causes, ErrNoAnswer)
	}
	if late != nil {
		failed.causes = append(failed.causes, late)
	}
	failed.causes = append(failed.causes, a.last)
	return failed
}

// pick is where the next attempt goes: to the leader, or anywhere but where the last one went.
func (c *Client) pick(last string) string {
	if address := c.leader.address(); address != "" {
		return address
	}
	return c.servers.next(last)
}

// learn takes what a refusal tells on the side. It says whether that was a leader greater than all before.
func (c *Client) learn(refusal *musterv1.Refusal) bool {
	c.numbers.observe(refusal.GetNumber())
	return c.follow(refusal.GetLeader())
}

// follow takes a leader hint. It says whether that was a leader greater than all before.
func (c *Client) follow(hint *musterv1.LeaderHint) bool {
	if hint.GetAddress() == "" {
		return false
	}
	if err := c.servers.add(hint.GetAddress()); err != nil {
		c.logger.Warn("cannot use the leader's address", "address", hint.GetAddress(), "error", err)
		return false
	}
	if !c.leader.observe(hint) {
		return false
	}
	c.servers.dialAtOnce(hint.GetAddress())
	c.logger.Debug("following", "node", hint.GetNode(), "address", hint.GetAddress(), "epoch", hint.GetEpoch(), "term", hint.GetRaftTerm())
	return true
}

// untilClosed is ctx that also ends with the client.
func (c *Client) untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
