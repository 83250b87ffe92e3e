package rpcstatus

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// A Reason that is added to the proto and not to the table would reach clients as an unknown error, so every value is
// checked, and that the way back gives the same refusal.
func TestTable_HasEveryReasonBothWays(t *testing.T) {
	for number, name := range musterv1.Reason_name {
		reason := musterv1.Reason(number)
		if reason == musterv1.Reason_REASON_UNSPECIFIED {
			require.NotContains(t, table, reason)
			continue
		}
		require.Contains(t, table, reason, name)
		sent := &musterv1.Refusal{
			Reason: reason, Message: "because of " + name, Field: "shape", Number: 7,
			Leader: &musterv1.LeaderHint{Node: "n2", Address: "h:1", Epoch: 3, RaftTerm: 4},
		}
		err := fmt.Errorf("wrapped: %w", Error(sent))
		require.Equal(t, table[reason], status.Code(errors.Unwrap(err)), name)
		require.True(t, proto.Equal(sent, Refusal(err)), name)
		require.NotEqual(t, Definite(err), OutcomeUnknown(err), name)
	}
}

func TestError_Nil(t *testing.T) {
	require.NoError(t, Error(nil))
	require.Nil(t, Refusal(nil))
	require.False(t, Definite(nil))
	require.False(t, OutcomeUnknown(nil))
	require.False(t, Transient(nil))
}

func TestClassification(t *testing.T) {
	for _, c := range []struct {
		name                string
		err                 error
		definite, transient bool
	}{
		{"no leader", New(musterv1.Reason_REASON_NO_LEADER, "none"), true, true},
		{"dropped", New(musterv1.Reason_REASON_DROPPED, "other term"), true, true},
		{"unknown", New(musterv1.Reason_REASON_OUTCOME_UNKNOWN, "lost"), false, true},
		{"full", New(musterv1.Reason_REASON_FULL, "table"), true, true},
		{"disk", New(musterv1.Reason_REASON_DISK, "short"), true, true},
		{"restoring", New(musterv1.Reason_REASON_RESTORING, "staged"), true, true},
		{"rule", New(musterv1.Reason_REASON_CONTRADICTS, "shape"), true, false},
		{"malformed", New(musterv1.Reason_REASON_INVALID, "%s", "world"), true, false},
		{"rule broke", New(musterv1.Reason_REASON_INTERNAL, "panic"), true, false},
		{"connection broke", status.Error(codes.Unavailable, "EOF"), false, true},
		{"deadline on the wire", status.Error(codes.DeadlineExceeded, "late"), false, true},
		{"answer too large", status.Error(codes.ResourceExhausted, "5 MiB"), false, false},
		{"no such method", status.Error(codes.Unimplemented, "what"), true, false},
		{"a context's own", context.DeadlineExceeded, false, true},
		{"no status at all", errors.New("odd"), false, false},
	} {
		require.Equal(t, c.definite, Definite(c.err), c.name)
		require.Equal(t, !c.definite, OutcomeUnknown(c.err), c.name)
		require.Equal(t, c.transient, Transient(c.err), c.name)
	}
}

func TestError_ReasonOnly(t *testing.T) {
	err := Error(&musterv1.Refusal{Reason: musterv1.Reason_REASON_FULL})
	require.ErrorContains(t, err, "REASON_FULL")
	require.Equal(t, codes.Unknown, Code(musterv1.Reason(9999)))
}
