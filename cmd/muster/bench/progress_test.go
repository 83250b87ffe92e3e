package bench

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestReport_Bar: a line a second shows how much of the whole is over, by the number or the time, whichever is nearer to its end.
func TestReport_Bar(t *testing.T) {
	for name, test := range map[string]struct {
		until goal
		want  string
	}{
		"by number":  {goal{count: 40}, "[###############...............]  50 % 20 joins, 10 in the last second"},
		"by time":    {goal{count: 1000, d: 20 * time.Second}, "[###...........................]  10 % 20 joins, 10 in the last second"},
		"over":       {goal{count: 5}, "[##############################] 100 % 20 joins, 10 in the last second"},
		"no end yet": {goal{}, "20 joins, 10 in the last second"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
				defer cancel()
				told := &target{Target: Target{Progress: &out}}
				told.report(ctx, "joins", func() int64 { return int64(10 * time.Since(began).Seconds()) }, test.until)
				lines := strings.Split(out.String(), "\n")
				require.Len(t, lines, 3)
				require.Equal(t, test.want, lines[1])
			})
		})
	}
}

// TestIsTerminal: only there a line is written over the one before.
func TestIsTerminal(t *testing.T) {
	require.False(t, isTerminal(&bytes.Buffer{}))
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer file.Close()
	require.False(t, isTerminal(file))
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // as a terminal is one, and the only one that is there for sure
	require.NoError(t, err)
	defer device.Close()
	require.True(t, isTerminal(device))
}
