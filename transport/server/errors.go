package server

import (
	"context"
	"errors"
	"fmt"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/system"
	"muster/transport/rpcstatus"
)

// errNotLeading is what a handler returns for forward to act on.
var errNotLeading = rpcstatus.New(musterv1.Reason_REASON_NOT_LEADER, "this node does not lead")

// failed turns an error of the system into a status.
func (s *Server) failed(err error) error {
	switch {
	case errors.Is(err, system.ErrNotLeading):
		return errNotLeading
	case errors.Is(err, system.ErrUnbuilt):
		return rpcstatus.New(musterv1.Reason_REASON_NOT_SERVING, "%v", err)
	case errors.Is(err, fsm.ErrStateFile):
		return rpcstatus.New(musterv1.Reason_REASON_BAD_STATE_FILE, "%v; nothing was changed", err)
	case errors.Is(err, system.ErrFull):
		return rpcstatus.New(musterv1.Reason_REASON_FULL, "%v: slow down and send it again", err)
	case errors.Is(err, system.ErrOutcomeUnknown):
		return rpcstatus.New(musterv1.Reason_REASON_OUTCOME_UNKNOWN, "%v: ask again with the same request id", err)
	case errors.Is(err, system.ErrNotApplied):
		return rpcstatus.New(musterv1.Reason_REASON_DROPPED, "%v: send it again", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return rpcstatus.New(musterv1.Reason_REASON_OUTCOME_UNKNOWN, "%v before an answer: ask again with the same request id", err)
	}
	return rpcstatus.New(musterv1.Reason_REASON_INTERNAL, "%v", err)
}

// answer takes what it expects out of an outcome, or the refusal.
func answer[T any](s *Server, out *musterv1.Outcome, err error, get func(*musterv1.Outcome) T) (T, error) {
	var none T
	if err != nil {
		return none, s.failed(err)
	}
	if r := out.GetRefusal(); r != nil {
		return none, rpcstatus.Error(r)
	}
	return get(out), nil
}

func invalid(field, format string, args ...any) error {
	return rpcstatus.Error(&musterv1.Refusal{
		Reason: musterv1.Reason_REASON_INVALID, Field: field, Message: field + ": " + fmt.Sprintf(format, args...),
	})
}

func notFound(field, format string, args ...any) error {
	return rpcstatus.Error(&musterv1.Refusal{Reason: musterv1.Reason_REASON_NOT_FOUND, Field: field, Message: fmt.Sprintf(format, args...)})
}
