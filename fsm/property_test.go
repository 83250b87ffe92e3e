package fsm_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

var histories = flag.Int("histories", 300, "histories the generator draws")

const historyLength = 200

// TestHistories draws histories and holds every replica of each against the first: one that replays the log, one that was
// saved and loaded somewhere on the way. After every entry the state must not contradict itself, and an entry of another
// term or epoch must change nothing.
func TestHistories(t *testing.T) {
	n := *histories
	if os.Getenv("MUSTER_LONG") != "" {
		n = max(n, 10000)
	}
	for seed := range uint64(n) {
		history(t, seed)
	}
}

func history(t *testing.T, seed uint64) {
	t.Helper()
	fail := func(step int, err error) {
		require.NoError(t, err, "seed %d, step %d", seed, step)
	}
	g := fsmtest.NewGenerator(seed)
	replay, loaded := fsm.New(), (*fsm.State)(nil)
	applied := 0
	loadAt := int(seed % historyLength)
	for step := range historyLength {
		before := g.State.Digest()
		a := g.Step()
		if g.Foreign && (!a.Dropped || g.State.Digest() != before) {
			fail(step, fmt.Errorf("an entry of another term or epoch was not dropped, or changed something"))
		}
		fail(step, g.State.Check())
		for ; applied < len(g.Log); applied++ {
			for _, s := range []*fsm.State{replay, loaded} {
				if s == nil {
					continue
				}
				_, err := g.Log[applied].Apply(s)
				fail(step, err)
			}
		}
		if step >= loadAt && loaded == nil {
			if file, err := fsmtest.Encode(g.State); err == nil {
				loaded, err = fsm.Decode(bytes.NewReader(file))
				fail(step, err)
			}
		}
		for _, s := range []*fsm.State{replay, loaded} {
			if s != nil && s.Digest() != g.State.Digest() {
				fail(step, fmt.Errorf("the replicas' digests differ"))
			}
		}
	}
	for _, e := range g.State.Events(0, 0) {
		require.NotEqual(t, musterv1.Event_KIND_RULE_BROKEN, e.Kind, "seed %d: %s", seed, e.Text)
	}
	want, err := fsmtest.Encode(g.State)
	if err != nil {
		return // ends within a restore
	}
	for _, s := range []*fsm.State{replay, loaded} {
		if s == nil {
			continue
		}
		got, err := fsmtest.Encode(s)
		fail(historyLength, err)
		require.True(t, bytes.Equal(want, got), "seed %d: the replicas' files differ", seed)
	}
}

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

func FuzzDecode(f *testing.F) {
	g := fsmtest.NewGenerator(2)
	for range 60 {
		g.Step()
	}
	g.Start(nil)
	file, err := fsmtest.Encode(g.State)
	require.NoError(f, err)
	f.Add(file)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := fsm.Decode(bytes.NewReader(b)); err == nil {
			require.NoError(t, s.Check())
		}
	})
}

func FuzzApply(f *testing.F) {
	g := fsmtest.NewGenerator(4)
	for range 40 {
		g.Step()
	}
	for _, l := range g.Log {
		f.Add(l.Entry)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g := fsmtest.NewGenerator(5)
		for range 10 {
			g.Step()
		}
		_, _ = fsmtest.Logged{Index: 99, Term: g.Term, Entry: b}.Apply(g.State)
	})
}
