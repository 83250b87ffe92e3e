package client

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/status"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

// ErrNoAnswer is what an Error is when no server answered any attempt.
var ErrNoAnswer = errors.New("no server answered")

// ErrClosed is what a member ends with when its client is closed.
var ErrClosed = errors.New("client closed")

// Error is what a call ends with that was not done. It unwraps to ErrNoAnswer if that is so, to the context's error if that is
// why nothing was tried again, and to the last attempt's error.
type Error struct {
	// Op is the verb, for example "join".
	Op string
	// OutcomeUnknown: it may have been applied. Otherwise it certainly was not.
	OutcomeUnknown bool
	// Refusal is the last one that a server gave; nil if none did.
	Refusal *musterv1.Refusal
	// Attempts is how often it was tried.
	Attempts int

	causes []error
}

// Error says what failed, why, and whether it may have been applied.
func (e *Error) Error() string {
	text := e.Op
	for _, cause := range e.causes {
		text += ": " + causeText(cause)
	}
	if e.Attempts > 1 {
		text += fmt.Sprintf(" (after %d attempts)", e.Attempts)
	}
	if e.OutcomeUnknown {
		text += "; it may have been applied all the same: look before you ask again"
	}
	return text
}

// causeText leaves out what gRPC puts around a message.
func causeText(err error) string {
	if refusal := rpcstatus.Refusal(err); refusal.GetMessage() != "" {
		return refusal.GetMessage()
	}
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return fmt.Sprintf("%s (%s)", status.Convert(err).Message(), status.Code(err))
	}
	return err.Error()
}

// Unwrap lists the causes.
func (e *Error) Unwrap() []error {
	return e.causes
}

// RefusalOf is the refusal that a server gave with this error; nil if it carries none.
func RefusalOf(err error) *musterv1.Refusal {
	var failed *Error
	if errors.As(err, &failed) && failed.Refusal != nil {
		return failed.Refusal
	}
	return rpcstatus.Refusal(err)
}

// OutcomeUnknown says that what failed with err may have been applied.
func OutcomeUnknown(err error) bool {
	var failed *Error
	if errors.As(err, &failed) {
		return failed.OutcomeUnknown
	}
	return rpcstatus.OutcomeUnknown(err)
}

// Ended is what a member ends with when the cluster told it to end itself.
type Ended struct {
	// Kind is KIND_SUPERSEDED, KIND_ENDED or KIND_UNKNOWN.
	Kind musterv1.Verdict_Kind
	// Status says how the world ended, with KIND_ENDED.
	Status musterv1.Status
	// Proc is who ended.
	Proc *musterv1.ProcRef
}

// Error says who ended and why.
func (e *Ended) Error() string {
	who := fmt.Sprintf("%s[%d] incarnation %d", e.Proc.GetWorld(), e.Proc.GetRank(), e.Proc.GetIncarnation())
	switch e.Kind {
	case musterv1.Verdict_KIND_SUPERSEDED:
		return who + " was superseded: a newer incarnation has the rank"
	case musterv1.Verdict_KIND_ENDED:
		return fmt.Sprintf("%s: its world has ended (%s)", who, e.Status)
	}
	return who + " is not known to the cluster any more"
}

// Stopped is what a member without a Handler ends with after it answered a stop order.
type Stopped struct {
	// Operation is the stop operation's number.
	Operation uint64
	// Reason is why, for people; may be empty.
	Reason string
}

// Error says that it was asked to stop, and why.
func (e *Stopped) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("asked to stop (operation %d)", e.Operation)
	}
	return fmt.Sprintf("asked to stop (operation %d): %s", e.Operation, e.Reason)
}

// outOfTime is the context's error with what it was made to say, if anything.
func outOfTime(ctx context.Context) error {
	cause := context.Cause(ctx)
	if cause == nil || errors.Is(cause, ctx.Err()) {
		return timeIsUp{ctx.Err()}
	}
	return fmt.Errorf("%w: %w", timeIsUp{ctx.Err()}, cause)
}

// timeIsUp is a context's end in words.
type timeIsUp struct{ error }

func (t timeIsUp) Error() string {
	if errors.Is(t.error, context.DeadlineExceeded) {
		return "the time given is over"
	}
	return t.error.Error()
}

func (t timeIsUp) Unwrap() error { return t.error }
