package rpcstatus

import (
	"google.golang.org/grpc/codes"

	musterv1 "muster/proto/muster/v1"
)

// table has every Reason that may be sent. REASON_UNSPECIFIED is not in it: it is never sent.
var table = map[musterv1.Reason]codes.Code{
	musterv1.Reason_REASON_NO_LEADER:   codes.Unavailable,
	musterv1.Reason_REASON_NOT_LEADER:  codes.Unavailable,
	musterv1.Reason_REASON_DROPPED:     codes.Unavailable,
	musterv1.Reason_REASON_NOT_SERVING: codes.Unavailable,
	musterv1.Reason_REASON_RESTORING:   codes.Unavailable,

	musterv1.Reason_REASON_OUTCOME_UNKNOWN: codes.Unavailable,

	musterv1.Reason_REASON_FULL: codes.ResourceExhausted,
	musterv1.Reason_REASON_DISK: codes.ResourceExhausted,

	musterv1.Reason_REASON_NOT_FOUND:         codes.NotFound,
	musterv1.Reason_REASON_ALREADY_EXISTS:    codes.AlreadyExists,
	musterv1.Reason_REASON_CONTRADICTS:       codes.FailedPrecondition,
	musterv1.Reason_REASON_WORLD_STOPPING:    codes.FailedPrecondition,
	musterv1.Reason_REASON_WORLD_ENDED:       codes.FailedPrecondition,
	musterv1.Reason_REASON_SYSTEM_STOPPING:   codes.FailedPrecondition,
	musterv1.Reason_REASON_STALE:             codes.FailedPrecondition,
	musterv1.Reason_REASON_REQUEST_TOO_OLD:   codes.FailedPrecondition,
	musterv1.Reason_REASON_SUPERSEDED:        codes.FailedPrecondition,
	musterv1.Reason_REASON_BAD_STATE_FILE:    codes.FailedPrecondition,
	musterv1.Reason_REASON_RANK_OUT_OF_RANGE: codes.OutOfRange,

	musterv1.Reason_REASON_INVALID:           codes.InvalidArgument,
	musterv1.Reason_REASON_REQUEST_ID_REUSED: codes.InvalidArgument,

	musterv1.Reason_REASON_INTERNAL:    codes.Internal,
	musterv1.Reason_REASON_UNSUPPORTED: codes.Unimplemented,
}

// Code is the gRPC code of a Reason; Unknown for one that is not in the table.
func Code(reason musterv1.Reason) codes.Code {
	if code, ok := table[reason]; ok {
		return code
	}
	return codes.Unknown
}
