package system

import (
	"context"
	"errors"
	"time"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// What a Term's errors wrap. Nothing else is told apart here; the transport maps each to a Reason.
var (
	// ErrNotApplied: certainly not applied; ask the leader, with the same request id.
	ErrNotApplied = errors.New("certainly not applied")
	// ErrOutcomeUnknown: may be applied, now or later; ask again with the same request id.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrFull: a bounded queue is full; certainly not applied.
	ErrFull = errors.New("too much is waiting")
)

// ErrNotLeading says that no leadership term is published on this node. It wraps ErrNotApplied.
var ErrNotLeading error = notLeading{}

type notLeading struct{}

func (notLeading) Error() string { return "this node does not lead" }
func (notLeading) Unwrap() error { return ErrNotApplied }

// Term is one leadership of this node, from its applied TermStart until it is lost. Safe for concurrent use.
type Term interface {
	// Context ends with the leadership.
	Context() context.Context
	// Number is the Raft term.
	Number() uint64
	// Begin starts sealing; proposals made before wait.
	Begin(Sealer)
	// Propose has a command applied and returns its outcome. Errors wrap ErrNotApplied, ErrOutcomeUnknown or ErrFull.
	Propose(ctx context.Context, c *musterv1.Command) (*musterv1.Outcome, error)
	// Submit is Propose in two steps: what is submitted is applied in that order, if it is applied. wait need not be called.
	Submit(ctx context.Context, c *musterv1.Command) (wait func() (*musterv1.Outcome, error))
	// Resign ends the term and has leadership given away, for a reason in words. It does not block.
	Resign(reason string)
	// Poke has the Sealer asked though no proposal waits.
	Poke()
	// OldestInFlight tells when the oldest proposal that is not applied yet was made.
	OldestInFlight() (time.Time, bool)
	// ReadBarrier returns when what this node has applied holds every write that was acknowledged before the call.
	ReadBarrier(ctx context.Context) error
}

// Sealer completes an entry just before it goes to the log; see leadership.Seal.
type Sealer interface {
	Seal(e *musterv1.Entry, room int) (settle func([]*musterv1.Outcome, error))
}

// State is the replicated state as applied here. Read holds the read lock while f runs: about a millisecond, no waiting, and
// nothing of the State kept but its (immutable) messages.
type State interface {
	Read(f func(*fsm.State))
}

// Sessions are the open streams of members on this node. Its methods do not block, and may be called with the state's lock held.
type Sessions interface {
	// Deliver hands an order to the session that speaks for its proc; without one it is delivered by the next hello.
	Deliver(*musterv1.Order)
	// Tell hands a verdict to the session that speaks for its proc, if there is one.
	Tell(*musterv1.Verdict)
	// Pass hands a posted message to the session that speaks for its addressee. Unspecified: it has it; else AWAY or BUSY.
	Pass(*musterv1.Post) musterv1.Delivery
	// Settle hands a receipt to the session that speaks for the message's sender, if there is one with room.
	Settle(*musterv1.Receipt)
	// Locate hands an address to the session that speaks for whom it is told, if there is one.
	Locate(*musterv1.AddressUpdate)
	// Attached tells whether a session speaks for that incarnation.
	Attached(*musterv1.ProcRef) bool
}
