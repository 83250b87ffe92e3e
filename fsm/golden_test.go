package fsm_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"muster/fsm"
	"muster/fsm/fsmtest"
)

// TestGolden: logs and state files of every format that was ever released replay, and load, to the same state for ever. A golden is
// written once, by MUSTER_GOLDEN=name go test ./fsm -run TestGolden, and never changed: each line of NAME.log is an entry (index, term, base64),
// NAME.state is the file of the state behind the last, NAME.digest its digest.
func TestGolden(t *testing.T) {
	const dir = "testdata/golden"
	if name := os.Getenv("MUSTER_GOLDEN"); name != "" {
		writeGolden(t, filepath.Join(dir, name))
	}
	logs, err := filepath.Glob(dir + "/*.log")
	require.NoError(t, err)
	require.NotEmpty(t, logs)
	for _, path := range logs {
		base := strings.TrimSuffix(path, ".log")
		t.Run(filepath.Base(base), func(t *testing.T) { checkGolden(t, base) })
	}
}

func checkGolden(t *testing.T, base string) {
	text, err := os.ReadFile(base + ".log")
	require.NoError(t, err)
	file, err := os.ReadFile(base + ".state")
	require.NoError(t, err)
	want, err := os.ReadFile(base + ".digest")
	require.NoError(t, err)

	replayed := fsm.New()
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var l fsmtest.Logged
		var body string
		_, err := fmt.Sscan(line, &l.Index, &l.Term, &body)
		require.NoError(t, err)
		l.Entry, err = base64.StdEncoding.DecodeString(body)
		require.NoError(t, err)
		_, err = l.Apply(replayed)
		require.NoError(t, err)
	}
	require.Equal(t, string(want), digestLine(replayed))
	loaded, err := fsm.Decode(bytes.NewReader(file))
	require.NoError(t, err)
	require.Equal(t, string(want), digestLine(loaded))
	for _, s := range []*fsm.State{replayed, loaded} {
		again, err := fsmtest.Encode(s)
		require.NoError(t, err)
		require.True(t, bytes.Equal(file, again), "encodes otherwise than it did")
	}
}

func digestLine(s *fsm.State) string {
	d := s.Digest()
	return hex.EncodeToString(d[:]) + "\n"
}

func writeGolden(t *testing.T, base string) {
	_, err := os.Stat(base + ".log")
	require.ErrorIs(t, err, os.ErrNotExist, "goldens are never changed")
	g := fsmtest.NewGenerator(2026)
	for range 400 {
		g.Step()
	}
	g.Start(nil)
	file, err := fsmtest.Encode(g.State)
	require.NoError(t, err)
	var log strings.Builder
	for _, l := range g.Log {
		fmt.Fprintf(&log, "%d %d %s\n", l.Index, l.Term, base64.StdEncoding.EncodeToString(l.Entry))
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(base), 0o755))
	for suffix, data := range map[string][]byte{".log": []byte(log.String()), ".state": file, ".digest": []byte(digestLine(g.State))} {
		require.NoError(t, os.WriteFile(base+suffix, data, 0o644))
	}
}
