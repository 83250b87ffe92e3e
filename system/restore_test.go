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
func savedMembers(t *testing.T, rules, n uint32) []byte {
	f, _, _ := newFakeBy(t, rules, nil)
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
	for _, c := range []struct {
		name          string
		rules         uint32
		changesBefore int // the piece before which the leader changes; 0: it does not
	}{{"all come", fsm.MachineVersion, 0}, {"the leader changes", fsm.MachineVersion, 3}, {"not packed", 4, 0}} {
		t.Run(c.name, func(t *testing.T) {
			file := savedMembers(t, c.rules, severalPieces)
			f, _, sys := newFakeBy(t, c.rules, nil)
			f.lead()
			pieces, empty := 0, 0
			f.duringSubmit = func(cmd *musterv1.Command) {
				if cmd.GetRestoreChunk() == nil {
					return
				}
				records, packed := len(cmd.GetRestoreChunk().GetRecords()), len(cmd.GetRestoreChunk().GetPacked())
				require.True(t, records == 0 || c.rules == 4)
				require.True(t, packed == 0 || c.rules > 4)
				if records+packed == 0 {
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
