package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// goal is where a measurement ends: when something was done so often, or after so long, whichever comes first. 0 = not by that.
type goal struct {
	count int64
	d     time.Duration
}

// reached is how far it is, 0 to 1.
func (g goal) reached(done int64, took time.Duration) float64 {
	share := 0.0
	if g.count > 0 {
		share = float64(done) / float64(g.count)
	}
	if g.d > 0 {
		share = max(share, float64(took)/float64(g.d))
	}
	return min(share, 1)
}

// progressBar is how wide the bar is.
const progressBar = 30

// line is one of progress; where nobody knows the end, it has no bar.
func (g goal) line(what string, done, before int64, took time.Duration) string {
	text := fmt.Sprintf("%d %s, %d in the last second", done, what, done-before)
	if g == (goal{}) {
		return text
	}
	share := g.reached(done, took)
	full := int(share * progressBar)
	return fmt.Sprintf("[%s%s] %3.0f %% %s", strings.Repeat("#", full), strings.Repeat(".", progressBar-full), 100*share, text)
}

// report tells how far a measurement is, each second until ctx ends: on a terminal in one place.
func (t *target) report(ctx context.Context, what string, done func() int64, until goal) {
	if t.Progress == nil {
		return
	}
	format, last := "%s\n", ""
	if isTerminal(t.Progress) {
		format, last = "\r%s\x1b[K", "\r\x1b[K"
	}
	defer func() { _, _ = io.WriteString(t.Progress, last) }()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	began := time.Now()
	for before := done(); ; {
		select {
		case <-tick.C:
			now := done()
			fmt.Fprintf(t.Progress, format, until.line(what, now, before, time.Since(began)))
			before = now
		case <-ctx.Done():
			return
		}
	}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
