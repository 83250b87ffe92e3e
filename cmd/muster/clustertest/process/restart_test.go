package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// slowly takes three seconds to end when it is asked. What it notes below DIR tells whether it was let, and whether another run of its
// rank was there at the same time.
const slowly = `
mkdir $DIR/$RANK.runs || echo $RANK >> $DIR/overlap
echo x >> $DIR/$RANK.begun
trap 'sleep 3; echo x >> $DIR/$RANK.ended; rmdir $DIR/$RANK.runs; exit 0' TERM
while :; do sleep 0.05; done`

// lines counts what ranks 0 to 3 have noted in DIR/rank.name.
func lines(dir, name string) (counts [4]int) {
	for rank := range counts {
		b, _ := os.ReadFile(filepath.Join(dir, string(rune('0'+rank))+"."+name))
		counts[rank] = strings.Count(string(b), "\n")
	}
	return counts
}

// A program that runs when its rank is started again is asked to end and given the time it takes; the next run begins behind it, however
// many restarts come meanwhile.
func TestRestart_OfProgramsThatEndSlowly(t *testing.T) {
	c := New(t)
	a, _ := startHost(t, c, "machine-a", "--world", "w")
	b, _ := startHost(t, c, "machine-b", "--world", "w")
	dir := c.create(t, "w", 4, slowly, "--proc-timeout", "20s")
	restart := func() {
		t.Helper()
		code, _, errs := c.Muster("world", "restart", "w", "--all")
		require.Zero(t, code, errs)
	}
	begun := func(want [4]int) {
		t.Helper()
		c.Eventually("the next runs", func() bool { return lines(dir, "begun") == want })
	}
	begun([4]int{1, 1, 1, 1})

	restart()
	begun([4]int{2, 2, 2, 2})
	require.Equal(t, [4]int{1, 1, 1, 1}, lines(dir, "ended"), "they were not let end")

	restart()
	restart()
	begun([4]int{3, 3, 3, 3}) // those of the first restart had not begun when the second came
	require.Equal(t, [4]int{2, 2, 2, 2}, lines(dir, "ended"))
	c.wait(t, 0, "w", "live")

	code, _, errs := c.Muster("world", "stop", "w", "--wait", "--proc-timeout", "20s", "--timeout", "30s")
	require.Zero(t, code, errs)
	require.Equal(t, [4]int{3, 3, 3, 3}, lines(dir, "begun"))
	require.Equal(t, [4]int{3, 3, 3, 3}, lines(dir, "ended"))
	require.NoFileExists(t, filepath.Join(dir, "overlap"), "two runs of a rank at once")
	require.Zero(t, a.Ended())
	require.Zero(t, b.Ended())
}
