package client

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

type restoreStream = grpc.ClientStreamingServer[musterv1.RestoreStateRequest, musterv1.RestoreStateResponse]

// takeFile receives a whole restore.
func takeFile(stream restoreStream) (header *musterv1.RestoreStateRequest, file []byte, err error) {
	header, err = stream.Recv()
	for err == nil {
		var piece *musterv1.RestoreStateRequest
		if piece, err = stream.Recv(); err == nil {
			file = append(file, piece.GetData()...)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return header, file, err
}

// The first leader dies when it has the whole file; the second one gets it from the start, as the same request.
func TestRestoreState_RepeatedFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		f.lead("n1", 1, 1, "n1", "n2")
		var metas []*musterv1.RequestMeta
		var got []byte
		f.nodes["n1"].restore = func(stream restoreStream) error {
			header, _, err := takeFile(stream)
			metas = append(metas, header.GetMeta())
			if err != nil {
				return err
			}
			return status.Error(codes.Unavailable, "gone")
		}
		f.nodes["n2"].restore = func(stream restoreStream) error {
			header, file, err := takeFile(stream)
			metas, got = append(metas, header.GetMeta()), file
			if err != nil || !header.GetAdopt() {
				return errNotFaked
			}
			return stream.SendAndClose(&musterv1.RestoreStateResponse{Number: 1000, Worlds: 2, Procs: 5})
		}
		file := bytes.Repeat([]byte("0123456789"), 60_000) // three pieces, the last one short
		c := f.client(t, "n1", "n2")
		answer, err := c.Cluster().RestoreState(t.Context(), bytes.NewReader(file), true)
		require.NoError(t, err)
		require.Equal(t, uint32(5), answer.GetProcs())
		require.Equal(t, file, got)
		require.Len(t, metas, 2)
		require.Equal(t, metas[0].GetId(), metas[1].GetId())
		require.Equal(t, metas[0].GetIssued(), metas[1].GetIssued())
		require.Equal(t, uint64(1000), c.Number())
	})
}

// What cannot be read twice is sent once, to the leader; the error keeps why it failed.
func TestRestoreState_PipeIsSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		f.lead("n2", 1, 1, "n1", "n2")
		attempts := 0
		f.nodes["n2"].restore = func(stream restoreStream) error {
			attempts++
			if _, _, err := takeFile(stream); err != nil {
				return err
			}
			return rpcstatus.New(musterv1.Reason_REASON_OUTCOME_UNKNOWN, "leadership lost")
		}
		_, err := f.client(t, "n1", "n2").Cluster().RestoreState(t.Context(), io.MultiReader(bytes.NewReader([]byte("state"))), false)
		require.Equal(t, 1, attempts)
		require.True(t, OutcomeUnknown(err))
		require.Equal(t, musterv1.Reason_REASON_OUTCOME_UNKNOWN, RefusalOf(err).GetReason())
	})
}

// A server that refuses in the middle is heard, though sending fails first.
func TestRestoreState_RefusedInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.nodes["n1"].restore = func(stream restoreStream) error {
			_, _ = stream.Recv()
			return rpcstatus.New(musterv1.Reason_REASON_BAD_STATE_FILE, "checksum of record 3 differs")
		}
		_, err := f.client(t, "n1").Cluster().RestoreState(t.Context(), bytes.NewReader(make([]byte, 4<<20)), false)
		require.Equal(t, musterv1.Reason_REASON_BAD_STATE_FILE, RefusalOf(err).GetReason())
		require.False(t, OutcomeUnknown(err))
	})
}

func TestSaveState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		f.nodes["n1"].save = func(grpc.ServerStreamingServer[musterv1.SaveStateResponse]) error {
			return rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "none")
		}
		breaks := false
		f.nodes["n2"].save = func(stream grpc.ServerStreamingServer[musterv1.SaveStateResponse]) error {
			for _, piece := range []string{"MUSTER01", "records"} {
				if err := stream.Send(&musterv1.SaveStateResponse{Data: []byte(piece)}); err != nil {
					return err
				}
				if breaks {
					return status.Error(codes.Unavailable, "gone")
				}
			}
			return nil
		}
		c := f.client(t, "n1", "n2")
		var file bytes.Buffer
		n, err := c.Cluster().SaveState(t.Context(), &file)
		require.NoError(t, err)
		require.Equal(t, int64(15), n)
		require.Equal(t, "MUSTER01records", file.String())

		breaks = true
		_, err = c.Cluster().SaveState(t.Context(), &bytes.Buffer{})
		require.ErrorContains(t, err, "after 8 bytes")

		breaks = false
		_, err = c.Cluster().SaveState(t.Context(), brokenDisk{})
		require.ErrorIs(t, err, errDisk)
	})
}

var errDisk = errors.New("disk full")

type brokenDisk struct{}

func (brokenDisk) Write([]byte) (int, error) { return 0, errDisk }
