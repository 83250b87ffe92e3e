package fsm_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// TestEncode_RoundTrip: a file loads to a state with the same file.
func TestEncode_RoundTrip(t *testing.T) {
	g := fsmtest.NewGenerator(7)
	for range 500 {
		g.Step()
	}
	g.Start(nil) // ends any restore
	file, err := fsmtest.Encode(g.State)
	require.NoError(t, err)
	s, err := fsm.Decode(bytes.NewReader(file))
	require.NoError(t, err)
	again, err := fsmtest.Encode(s)
	require.NoError(t, err)
	require.Equal(t, file, again)
}

// TestDecode_Damage: whatever is cut off or altered is refused, with an error that says so.
func TestDecode_Damage(t *testing.T) {
	g := fsmtest.NewGenerator(3)
	for range 100 {
		g.Step()
	}
	g.Start(nil)
	file, err := fsmtest.Encode(g.State)
	require.NoError(t, err)
	for n := range file {
		_, err := fsm.Decode(bytes.NewReader(file[:n]))
		require.ErrorIs(t, err, fsm.ErrStateFile, "cut off at %d", n)
	}
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 0x20
		_, err := fsm.Decode(bytes.NewReader(bad))
		require.ErrorIs(t, err, fsm.ErrStateFile, "altered at %d", i)
	}
	_, err = fsm.Decode(bytes.NewReader(append(bytes.Clone(file), 0)))
	require.ErrorIs(t, err, fsm.ErrStateFile)
}

// TestApply_UnknownIsAnError: what this binary does not know parks the node instead of being skipped.
func TestApply_UnknownIsAnError(t *testing.T) {
	g := fsmtest.NewGenerator(1)
	before := g.State.Digest()
	for _, e := range []*musterv1.Entry{
		{Format: fsm.EntryFormat + 1, RaftTerm: g.Term, Epoch: g.State.Epoch()},
		{Format: fsm.EntryFormat, RaftTerm: g.Term, Epoch: g.State.Epoch(), Commands: []*musterv1.Command{{}}},
	} {
		_, err := g.State.Apply(99, g.Term, e)
		require.ErrorContains(t, err, "entry 99")
		require.Equal(t, before, g.State.Digest())
	}
}

// TestFreeze_StaysAsItWas: what was frozen is written as it was, however the state has gone on since.
func TestFreeze_StaysAsItWas(t *testing.T) {
	for seed := range uint64(5) {
		g := fsmtest.NewGenerator(seed)
		var frozen []*fsm.Frozen
		var want [][]byte
		for i := range 1000 {
			if i%100 == 0 {
				f, err := g.State.Freeze()
				if err == fsm.ErrRestoreStaged {
					continue
				}
				require.NoError(t, err)
				now, err := fsmtest.Encode(g.State)
				require.NoError(t, err)
				frozen, want = append(frozen, f), append(want, now)
			}
			g.Step()
		}
		require.Greater(t, len(frozen), 3)
		for i, f := range frozen {
			var b bytes.Buffer
			_, err := f.WriteTo(&b)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want[i], b.Bytes()), "seed %d, file %d", seed, i)
		}
	}
}
