package system

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// severalPieces is how many members make a file of more pieces than are under way at once.
const severalPieces = 12_000

// savedMembers is the file of a cluster with so many members.
func savedMembers(t *testing.T, n uint32) []byte {
	f, _, _ := newFake(t, nil)
	f.lead()
	for rank := range n {
		f.member(t, rank)
	}
	frozen, err := f.machine.State.Freeze()
	require.NoError(t, err)
	var file bytes.Buffer
	_, err = frozen.WriteTo(&file)
	require.NoError(t, err)
	return file.Bytes()
}

func restoreMeta() *musterv1.RequestMeta {
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	return &musterv1.RequestMeta{Id: id}
}

// TestRestore_PiecesUnderWay: several pieces are on their way at once, and no more than are allowed; what they carry is the state afterwards.
// Where one of them comes to nothing the restore is refused, and nothing stays staged.
func TestRestore_PiecesUnderWay(t *testing.T) {
	file := savedMembers(t, severalPieces)
	for _, c := range []struct {
		name          string
		changesBefore int // the piece before which the leader changes; 0: it does not
	}{{"all come", 0}, {"the leader changes", 3}} {
		t.Run(c.name, func(t *testing.T) {
			f, _, sys := newFake(t, nil)
			f.lead()
			pieces, empty := 0, 0
			f.duringSubmit = func(cmd *musterv1.Command) {
				if cmd.GetRestoreChunk() == nil {
					return
				}
				require.Empty(t, cmd.GetRestoreChunk().GetRecords(), "is not packed")
				if len(cmd.GetRestoreChunk().GetPacked()) == 0 {
					empty++
				}
				if pieces++; pieces == c.changesBefore {
					f.machine.Start(nil)
				}
			}
			out, err := sys.Restore(t.Context(), restoreMeta(), true, bytes.NewReader(file))
			require.NoError(t, err)
			require.Equal(t, maxChunksAhead, f.underWay)
			if c.changesBefore != 0 {
				require.Equal(t, musterv1.Reason_REASON_BAD_STATE_FILE, out.GetRefusal().GetReason())
				f.Read(func(s *fsm.State) { require.False(t, s.Restoring()) })
				return
			}
			require.Greater(t, pieces-empty, maxChunksAhead)
			require.GreaterOrEqual(t, empty, fsm.RestoreSteps(severalPieces), "all is checked before it is committed")
			require.Equal(t, uint32(severalPieces), out.GetRestore().GetProcs())
		})
	}
}
