package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What programs are told as MASTER_ADDR is one machine's name or address: the port comes beside it.
func TestHost_Advertise(t *testing.T) {
	for _, good := range []string{"10.0.0.7", "node-7", "node-7.cluster.local", "node_7", "fe80::1", "::1"} {
		got, err := advertised(good, nil)
		require.NoError(t, err)
		require.Equal(t, good, got)
	}
	for _, bad := range []string{"10.0.0.7:9000", "node-7:9000", "[::1]:9000", "[::1]", "tcp:10.0.0.7", "http://node-7", "node 7", "-", "a/b"} {
		for _, verb := range [][]string{
			{"host", "--world", "w", "--state-dir", t.TempDir(), "--advertise", bad},
			{"run", "--servers", "127.0.0.1:1", "--advertise", bad, "--", "true"},
		} {
			code, _, errs := muster(t, verb...)
			require.Equal(t, exitUsage, code, "%s: %s", verb, errs)
			require.Contains(t, errs, "without a port", bad)
		}
	}
	own, err := advertised("", []string{"127.0.0.1:7380"})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", own)
}
