package rpcstatus

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	musterv1 "muster/proto/muster/v1"
)

// Error makes the status error that carries a refusal: its reason's code, its message, and the refusal itself as detail. It
// is nil for a nil refusal.
func Error(refusal *musterv1.Refusal) error {
	if refusal == nil {
		return nil
	}
	message := refusal.GetMessage()
	if message == "" {
		message = refusal.GetReason().String()
	}
	bare := status.New(Code(refusal.GetReason()), message)
	detailed, err := bare.WithDetails(refusal)
	if err != nil {
		// Only a refusal that cannot be encoded (a message that is no UTF-8) gets here; its code is better than nothing.
		return bare.Err()
	}
	return detailed.Err()
}

// New is Error for a refusal that has nothing but a reason and a message.
func New(reason musterv1.Reason, format string, args ...any) error {
	return Error(&musterv1.Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// Refusal gets the refusal back out of an error that Error made, however it was wrapped or sent; nil if it carries none.
func Refusal(err error) *musterv1.Refusal {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return nil
	}
	for _, detail := range st.Details() {
		if refusal, ok := detail.(*musterv1.Refusal); ok {
			return refusal
		}
	}
	return nil
}

// Definite says that what failed with err was certainly not applied. Neither Definite nor OutcomeUnknown is true for nil.
func Definite(err error) bool {
	if err == nil {
		return false
	}
	if refusal := Refusal(err); refusal != nil {
		return refusal.GetReason() != musterv1.Reason_REASON_OUTCOME_UNKNOWN
	}
	// Without a refusal the code is gRPC's own. These say that no handler ran or that it looked and refused; any other code
	// also stands for a connection or a deadline that broke while the answer was on its way.
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange,
		codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
		return true
	}
	return false
}

// OutcomeUnknown says that what failed with err may have been applied: ask again with the same request id to find out.
func OutcomeUnknown(err error) bool {
	return err != nil && !Definite(err)
}

// Transient says that the same request may succeed elsewhere or later: no leader, not the leader, a broken connection, a
// full table, a restore under way. What a rule refused, and what is malformed, is not.
func Transient(err error) bool {
	if err == nil {
		return false
	}
	if refusal := Refusal(err); refusal != nil {
		code := Code(refusal.GetReason())
		return code == codes.Unavailable || code == codes.ResourceExhausted
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
