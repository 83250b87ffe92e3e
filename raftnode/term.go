package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/wire"
)

const (
	// maxEntry bounds the marshalled commands of a group, in bytes; a larger single command travels alone.
	maxEntry = 256 << 10
	// maxGroup is the requests' share of it. The rest is the Sealer's, however many requests wait.
	maxGroup = maxEntry * 3 / 4
	// maxCommand bounds a single command. Entries above 512 KiB delay everything behind them.
	maxCommand = 512 << 10
	// maxInFlight bounds the entries handed to Raft and not yet applied. While they travel the next group fills. With 1, 2, 3 and 4 as many members
	// joined a second, within what measurements differ by; with 8 a restore takes 0.94 of the time, whose pieces travel side by side.
	maxInFlight = 4
	// maxWaiting and maxWaitingBytes bound the commands that wait to be sealed.
	maxWaiting      = 8192
	maxWaitingBytes = 16 << 20
	// enqueueTimeout bounds handing an entry to a Raft that is busy, most likely with its disk.
	enqueueTimeout = time.Second
)

// Term is one leadership of this node: from its TermStart being applied here until the leadership is lost or the Term renewed.
// Its methods may be called concurrently, also after its end.
type Term struct {
	node   *Node
	number uint64
	ctx    context.Context
	cancel context.CancelCauseFunc
	wake   chan struct{} // capacity one: the sealing goroutine should look
	slots  chan struct{} // one element per entry in flight, or being built
	check  verifier

	mu           sync.Mutex
	sealed       chan struct{} // closed when the sealing goroutine has ended; nil before Begin
	waiting      []*proposal
	waitingBytes int
	flights      []*flight // handed to Raft and unanswered, oldest first
	building     bool      // the sealing goroutine has a group that is not yet a flight
	held         bool      // it waits for more of a group, or for a flight to land
	ended        error     // why no more is taken; nil while the term lasts
	paused       bool      // leadership is being handed over: nothing is sealed, nothing new is taken
	quiet        chan struct{}
}

// proposal is one command and whoever waits for its outcome.
type proposal struct {
	command *musterv1.Command
	size    int
	answer  chan answer // capacity one
}

type answer struct {
	outcome *musterv1.Outcome
	err     error
}

func newTerm(n *Node, number uint64) *Term {
	t := &Term{node: n, number: number, wake: make(chan struct{}, 1), slots: make(chan struct{}, maxInFlight)}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	t.check.verify = n.verify
	return t
}

// Context ends with the term; its cause is ErrNotLeader or ErrNotServing.
func (t *Term) Context() context.Context { return t.ctx }

// Number is the Raft term of the TermStart's log entry.
func (t *Term) Number() uint64 { return t.number }

// Begin starts the one sealing goroutine. Before it proposals wait. The first call counts.
func (t *Term) Begin(s Sealer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed != nil || t.ended != nil {
		return
	}
	t.sealed = make(chan struct{})
	go t.seal(s)
}

// Poke has the Sealer asked, though no request waits: it has something of its own to seal. It never blocks.
func (t *Term) Poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Propose has a command applied and returns its outcome. The error is ErrNotApplied or ErrOutcomeUnknown, with ErrNotLeader,
// ErrFull, ErrTooLarge or the end of ctx beside it where that is the reason. The command must not be changed afterwards.
func (t *Term) Propose(ctx context.Context, c *musterv1.Command) (*musterv1.Outcome, error) {
	return t.Submit(ctx, c)()
}

// Submit has a command applied behind all that were submitted before it, if it is applied, and returns how to wait for what Propose
// returns. Who does not want to know need not wait.
func (t *Term) Submit(ctx context.Context, c *musterv1.Command) (wait func() (*musterv1.Outcome, error)) {
	p := &proposal{command: c, size: commandSize(c), answer: make(chan answer, 1)}
	if err := t.enqueue(ctx, p); err != nil {
		return func() (*musterv1.Outcome, error) { return nil, fmt.Errorf("%w: %w", ErrNotApplied, err) }
	}
	t.Poke()
	return func() (*musterv1.Outcome, error) { return t.await(ctx, p) }
}

// await waits for the outcome of a proposal, or takes it back when ctx ends.
func (t *Term) await(ctx context.Context, p *proposal) (*musterv1.Outcome, error) {
	select {
	case a := <-p.answer:
		return a.outcome, a.err
	case <-ctx.Done():
	}
	if t.withdraw(p) {
		return nil, fmt.Errorf("%w: %w", ErrNotApplied, context.Cause(ctx))
	}
	select {
	case a := <-p.answer: // it came in the same moment
		return a.outcome, a.err
	default:
		return nil, fmt.Errorf("%w: %w", ErrOutcomeUnknown, context.Cause(ctx))
	}
}

// commandSize is what a command takes in an Entry: its bytes, their length, the field's tag.
func commandSize(c *musterv1.Command) int {
	n := wire.Size(c)
	size := n + 2
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

func (t *Term) enqueue(ctx context.Context, p *proposal) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if p.size > maxCommand {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, p.size, maxCommand)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended != nil:
		return t.ended
	case t.paused:
		return fmt.Errorf("%w: leadership is being handed over", ErrNotLeader)
	case len(t.waiting) >= maxWaiting || t.waitingBytes+p.size > maxWaitingBytes:
		return fmt.Errorf("%w: %d commands of %d bytes in all", ErrFull, len(t.waiting), t.waitingBytes)
	}
	t.waiting = append(t.waiting, p)
	t.waitingBytes += p.size
	return nil
}

// withdraw takes a proposal back if it has not been sealed.
func (t *Term) withdraw(p *proposal) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, q := range t.waiting {
		if q == p {
			t.waiting = append(t.waiting[:i:i], t.waiting[i+1:]...)
			t.waitingBytes -= p.size
			return true
		}
	}
	return false
}

// OldestInFlight returns when the oldest entry that is not yet applied was handed to Raft; false if there is none.
func (t *Term) OldestInFlight() (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.flights) == 0 {
		return time.Time{}, false
	}
	return t.flights[0].since, true
}

// Renew withdraws this term while the node goes on leading: a TermStart is proposed anew and yields another Term. Meant for
// the moment after a restore. It never blocks.
func (t *Term) Renew() {
	t.end(fmt.Errorf("%w: the term is renewed", ErrNotLeader))
	t.node.renewal(t)
}

// Resign withdraws this term and has leadership given away: at once the first time, behind a growing pause while the terms of this node
// end so before Begin. If nobody takes it, this node goes on with another TermStart and another Term. Meant for a leader that cannot do its
// part, for a reason in words. It never blocks.
func (t *Term) Resign(reason string) {
	t.end(fmt.Errorf("%w: %s", ErrNotLeader, reason))
	t.node.resignation(t, reason)
}

// begun tells whether Begin was called in time.
func (t *Term) begun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sealed != nil
}

// end refuses what is not sealed and ends the context. What is in flight is answered when Raft answers.
func (t *Term) end(why error) {
	t.mu.Lock()
	if t.ended == nil {
		t.ended = why
	}
	waiting := t.waiting
	t.waiting, t.waitingBytes = nil, 0
	t.mu.Unlock()
	t.cancel(why)
	for _, p := range waiting {
		p.answer <- answer{err: fmt.Errorf("%w: %w", ErrNotApplied, why)}
	}
}

// join waits until the sealing goroutine of an ended term is gone: nothing of it reaches the log behind what comes now.
func (t *Term) join() {
	t.mu.Lock()
	sealed := t.sealed
	t.mu.Unlock()
	if sealed != nil {
		<-sealed
	}
}

// pause stops sealing and taking, and returns a channel that is closed when nothing is in flight.
func (t *Term) pause() (<-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended != nil {
		return nil, t.ended
	}
	if t.paused {
		return nil, errors.New("leadership is being handed over already")
	}
	t.paused, t.quiet = true, make(chan struct{})
	t.settleQuiet()
	return t.quiet, nil
}

// resume takes back a pause: the transfer failed.
func (t *Term) resume() {
	t.mu.Lock()
	t.paused, t.quiet = false, nil
	t.mu.Unlock()
	t.Poke()
}

// settleQuiet closes quiet if nothing is in flight. Called with mu held.
func (t *Term) settleQuiet() {
	if t.quiet == nil || t.building || len(t.flights) > 0 {
		return
	}
	select {
	case <-t.quiet:
	default:
		close(t.quiet)
	}
}
