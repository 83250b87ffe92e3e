package hostagent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLastLinesOf(t *testing.T) {
	numbered := func(from, to int) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintln(&b, "line", i)
		}
		return b.String()
	}
	long := strings.Repeat("x", 3000) + "\n"
	for _, c := range []struct {
		name, file string
		from       int64
		want       string
	}{
		{"nothing", "", 0, ""},
		{"one line", "a\n", 0, "a\n"},
		{"one that is not ended", "a", 0, "a"},
		{"twenty", numbered(0, 20), 0, numbered(0, 20)},
		{"twenty-one", numbered(0, 21), 0, numbered(1, 21)},
		{"last one is not ended", numbered(0, 20) + "end", 0, numbered(1, 20) + "end"},
		{"behind an earlier run", "old\nnew\n", 4, "new\n"},
		{"nothing behind an earlier run", "old\n", 4, ""},
		{"shorter than an earlier run", "old\n", 400, ""},
		{"lines cut by the byte limit", long + long, 0, long},
		{"one line longer than the limit", strings.Repeat("y", 10000), 0, strings.Repeat("y", lastLineBytes)},
		{"empty lines", "\n\n\n", 0, "\n\n\n"},
		{"bytes that are no text", "a\xff\xfeb\n", 0, "a�b\n"},
		{"zero bytes", "a\x00b\n", 0, "a�b\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			require.NoError(t, os.WriteFile(path, []byte(c.file), 0o600))
			require.Equal(t, c.want, lastLinesOf(path, c.from))
		})
	}
	require.Empty(t, lastLinesOf(filepath.Join(t.TempDir(), "none"), 0))

	t.Run("never more than the limit", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte{0xff, 'a'}, 8000), 0o600))
		got := lastLinesOf(path, 0)
		require.LessOrEqual(t, len(got), lastLineBytes)
		require.Greater(t, len(got), lastLineBytes-8)
	})
}

func TestLogs(t *testing.T) {
	logs := Logs{Dir: t.TempDir()}
	_, err := logs.Generation("w")
	require.ErrorContains(t, err, "no rank of world w has logs in "+logs.Dir)
	_, err = logs.Ranks("w", 3)
	require.ErrorContains(t, err, "no rank of world w, generation 3, has logs")
	for _, path := range []string{
		logs.Path("w", 9, 0), logs.Path("w", 10, 2), logs.Path("w", 10, 10), logs.Path("w", 10, 1), logs.Path("v", 11, 0),
		filepath.Join(logs.Dir, "w", "10", "notes.txt"), filepath.Join(logs.Dir, "w", "strange", "0.log"), filepath.Join(logs.Dir, "w", "99"),
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	generation, err := logs.Generation("w")
	require.NoError(t, err)
	require.EqualValues(t, 10, generation)
	ranks, err := logs.Ranks("w", 10)
	require.NoError(t, err)
	require.Equal(t, []uint32{1, 2, 10}, ranks)
}

func TestCopy(t *testing.T) {
	big := strings.Repeat(strings.Repeat("z", 99)+"\n", 3000) // several blocks
	for _, c := range []struct {
		name, file string
		last       int
		prefix     string
		want       string
	}{
		{"all", "a\nb\n", -1, "", "a\nb\n"},
		{"none", "a\nb\n", 0, "", ""},
		{"last", "a\nb\nc\n", 2, "", "b\nc\n"},
		{"last is not ended", "a\nb\nc", 2, "", "b\nc"},
		{"more than there are", "a\nb\n", 7, "", "a\nb\n"},
		{"nothing there", "", 5, "", ""},
		{"prefixed", "a\n\nb", -1, "0: ", "0: a\n0: \n0: b\n"},
		{"over blocks", big, 2000, "", big[100*1000:]},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			require.NoError(t, os.WriteFile(path, []byte(c.file), 0o600))
			var out bytes.Buffer
			require.NoError(t, Copy(t.Context(), &out, path, c.last, c.prefix, false))
			require.Equal(t, c.want, out.String())
		})
	}
	require.Error(t, Copy(t.Context(), &bytes.Buffer{}, filepath.Join(t.TempDir(), "none"), -1, "", false))
}

// buffer may be read while it is written.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestCopy_Follow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	ctx, cancel := context.WithCancel(t.Context())
	var out buffer
	done := make(chan error)
	go func() { done <- Copy(ctx, &out, path, -1, "0: ", true) }() // the file may not be there yet
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	shows := func(want string) {
		t.Helper()
		require.Eventually(t, func() bool { return out.String() == want }, patience, 5*time.Millisecond, "shows %q", out.String())
	}
	_, _ = f.WriteString("a\nb")
	shows("0: a\n")
	_, _ = f.WriteString("c\n")
	shows("0: a\n0: bc\n")
	_, _ = f.WriteString("the end") // and what was written before the end is shown
	cancel()
	require.NoError(t, <-done)
	require.Equal(t, "0: a\n0: bc\n0: the end\n", out.String())
}

// A line that never ends does not grow for ever.
func TestPrefixer_LongLine(t *testing.T) {
	var out bytes.Buffer
	p := &prefixer{out: &out, prefix: "> "}
	for range 100 {
		n, err := p.Write(bytes.Repeat([]byte("x"), 10_000))
		require.NoError(t, err)
		require.Equal(t, 10_000, n)
		require.Less(t, len(p.held), maxPrefixed)
	}
	require.NoError(t, p.end())
	require.Equal(t, 1_000_000, strings.Count(out.String(), "x"))
}
