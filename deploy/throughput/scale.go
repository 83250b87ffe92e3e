package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"muster/deploy/fleet"
)

const (
	// idle is how long servers are looked at that have nothing to do.
	idle = 5 * time.Second
	// scaleInterval and scaleLease are of the procs of a fleet, scaleDie is the share of them that die.
	scaleInterval, scaleLease, scaleDie = 10 * time.Second, 30 * time.Second, 0.01
	// day is added where a log goes on behind midnight.
	day = 24 * time.Hour
)

// scaled is what was measured of a fleet of one size.
type scaled struct {
	procs      int
	perSecond  float64 // reports of a proc
	micros     float64 // of the processors, of all servers together, for a report, less what they use while idle
	cores      float64 // of all servers together, all that they use
	heap       float64 // bytes of a server for a proc
	resident   float64 // likewise
	p99        float64 // milliseconds until a message was acknowledged
	detection  float64 // milliseconds from the end of the lease of one that died until its expiry was heard of, p50
	detections float64 // p99
	election   float64 // milliseconds from the election of the next leader until it leads

	// What must be 0: who expired falsely, who died and did not expire, and how often the brake held.
	falsely, undetected, brakes int
}

// quantity is one of the figures: a column of the table and, with those that share its panel, a line of the picture.
type quantity struct {
	name, unit string
	panel      string // empty: it is not in the picture
	of         func(scaled) float64
}

var quantities = []quantity{
	{"procs", "", "", func(s scaled) float64 { return float64(s.procs) }},
	{"reports", "/s", "reports a second", func(s scaled) float64 { return s.perSecond }},
	{"CPU a report", "µs", "CPU microseconds a report", func(s scaled) float64 { return s.micros }},
	{"cores", "", "cores of the three servers", func(s scaled) float64 { return s.cores }},
	{"heap a proc", "bytes", "heap bytes a proc", func(s scaled) float64 { return s.heap }},
	{"resident a proc", "bytes", "resident bytes a proc", func(s scaled) float64 { return s.resident }},
	{"commit p99", "ms", "commit, p99, ms", func(s scaled) float64 { return s.p99 }},
	{"detection p50", "ms", "detection beyond the lease, ms", func(s scaled) float64 { return s.detection }},
	{"detection p99", "ms", "detection beyond the lease, ms", func(s scaled) float64 { return s.detections }},
	{"election to ready", "ms", "election to ready, ms", func(s scaled) float64 { return s.election }},
}

// sizesOf reads a list of sizes, which rise.
func sizesOf(list string) (sizes []int, err error) {
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || len(sizes) > 0 && n <= sizes[len(sizes)-1] {
			return nil, fmt.Errorf("-scale %q: give sizes from 1 on that rise, such as 1000,10000", list)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// scale measures a fleet of each size, and writes a page and a picture below dir. It is an error, with both written, where something happened
// that must not.
func (b *bench) scale(ctx context.Context, sizes []int, duration time.Duration, dir string) error {
	var all []scaled
	for _, procs := range sizes {
		limit := 2*roundLimit + duration + time.Duration(procs)*time.Millisecond
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := fleet.Play(b.muster, false, limit, func(ctx context.Context, f *fleet.Fleet) error {
			s, err := b.scaleOf(ctx, f, procs, duration)
			all = append(all, s)
			return err
		})
		if err != nil {
			return fmt.Errorf("a fleet of %d: %w", procs, err)
		}
	}
	printScale(os.Stdout, all)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("directory of the page: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "scale.md"), []byte(scalePage(all, duration)), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "scale.svg"), []byte(scalePicture(all)), 0o644); err != nil {
		return fmt.Errorf("writing the picture: %w", err)
	}
	for _, s := range all {
		if s.falsely != 0 || s.undetected != 0 || s.brakes != 0 {
			return fmt.Errorf("of %d procs %d expired falsely, %d died and did not expire, the brake held %d times", s.procs, s.falsely, s.undetected, s.brakes)
		}
	}
	return nil
}

// scaleOf has a fleet of one size report and in part die, and kills the leader once it is over: the next one takes over the state of all procs,
// and nobody else loads the machine.
func (b *bench) scaleOf(ctx context.Context, f *fleet.Fleet, procs int, duration time.Duration) (s scaled, err error) {
	if _, err := f.StartServers(ctx); err != nil {
		return s, err
	}
	fmt.Printf("== fleet of %d\n", procs)
	from, stop := time.Now(), watchUsage(ctx, f)
	select {
	case <-time.After(idle):
	case <-ctx.Done():
	}
	before, err := useOf(stop(), from, time.Now())
	if err != nil {
		return s, err
	}
	got, used, err := b.fleetOf(ctx, f, procs, duration, "--interval", scaleInterval.String(), "--lease", scaleLease.String(),
		"--die", strconv.FormatFloat(scaleDie, 'g', -1, 64), "--keep")
	if err != nil {
		return s, err
	}
	s = scaled{
		procs: procs, perSecond: got.PerSecond, cores: round(used.cores), p99: got.P99Commit, detection: got.Detection.P50, detections: got.Detection.P99,
		heap: perProc(used.live, before.live, procs), resident: perProc(used.resident, before.resident, procs),
		falsely: got.FalseExpiries, undetected: got.Undetected, brakes: got.Brakes,
	}
	if got.PerSecond > 0 {
		s.micros = round(1e6 * (used.cores - before.cores) / got.PerSecond)
	}
	s.election, err = electionToReady(ctx, f)
	return s, err
}

// electionToReady kills the leader, and reads from the log of the next how many milliseconds passed from its election until it led.
func electionToReady(ctx context.Context, f *fleet.Fleet) (ms float64, err error) {
	killed, err := f.KillLeader(ctx)
	if err != nil {
		return 0, err
	}
	err = f.Await(ctx, "the next leader", func(ctx context.Context) (bool, error) {
		name, _ := f.Status(ctx)
		if name == "" || name == killed.Name {
			return false, nil
		}
		log, err := os.Open(filepath.Join(f.Dir, name+".log"))
		if err != nil {
			return false, fmt.Errorf("log of the next leader: %w", err)
		}
		defer log.Close()
		took, ok, err := takeover(log)
		ms = float64(took) / float64(time.Millisecond)
		return ok, err
	})
	return ms, err
}

// logTime is how a server's log begins a line: a date, the time of the day to a millisecond, and a zone.
var logTime = regexp.MustCompile(`^[0-9-]{10}T([0-9]{2}):([0-9]{2}):([0-9]{2}\.[0-9]{3})`)

// takeover is how long a node's latest election is before it led, if its log tells of both.
func takeover(log io.Reader) (took time.Duration, ok bool, err error) {
	var won time.Duration // of the day
	led := true           // since it was elected; at the beginning nobody was
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		line := lines.Text()
		elected, leads := strings.Contains(line, ": election won: "), strings.Contains(line, ": leading: ")
		if !elected && !leads {
			continue
		}
		m := logTime.FindStringSubmatch(line)
		if m == nil {
			return 0, false, fmt.Errorf("no time in a line of a log: %s", line)
		}
		at, err := time.ParseDuration(m[1] + "h" + m[2] + "m" + m[3] + "s")
		switch {
		case err != nil:
			return 0, false, fmt.Errorf("time in a line of a log: %w", err)
		case elected:
			won, led, ok = at, false, false
		case !led:
			took, led, ok = (at-won+day)%day, true, true
		}
	}
	if err := lines.Err(); err != nil {
		return 0, false, fmt.Errorf("reading a log: %w", err)
	}
	return took, ok, nil
}

// cells are a row of the table, with the columns' heads for nil.
func cells(s *scaled) (row []string) {
	for _, q := range quantities {
		switch {
		case s != nil:
			row = append(row, number(q.of(*s)))
		case q.unit == "":
			row = append(row, q.name)
		default:
			row = append(row, q.name+", "+q.unit)
		}
	}
	if s == nil {
		return append(row, "falsely expired", "undetected", "braked")
	}
	return append(row, strconv.Itoa(s.falsely), strconv.Itoa(s.undetected), strconv.Itoa(s.brakes))
}

// number prints a figure with three digits or more, and marks thousands.
func number(v float64) string {
	if a := math.Abs(v); a < 100 {
		return strconv.FormatFloat(math.Round(100*v)/100, 'f', -1, 64)
	}
	digits, sign := strconv.FormatFloat(math.Abs(v), 'f', 0, 64), ""
	if v < 0 {
		sign = "-"
	}
	var groups []string
	for len(digits) > 3 {
		groups = append(groups, digits[len(digits)-3:])
		digits = digits[:len(digits)-3]
	}
	groups = append(groups, digits)
	slices.Reverse(groups)
	return sign + strings.Join(groups, ",")
}

func printScale(out io.Writer, all []scaled) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(cells(nil), "\t"))
	for _, s := range all {
		fmt.Fprintln(w, strings.Join(cells(&s), "\t"))
	}
	_ = w.Flush()
}

// scalePage is the table in Markdown, and what it is of.
func scalePage(all []scaled, duration time.Duration) string {
	var page strings.Builder
	fmt.Fprintf(&page, `# How Muster scales with the procs

Written by %s. Three servers and the load generator share the two cores of one machine; all writes are synchronous, on one
disk. Each row is of three fresh servers: so many procs join, with a lease of %v, and report every %v over 100 sessions for %v, half
way through which %g %% of them, drawn at random, are not reported any more. Then the leader is killed.

`, "`make bench-scale`", scaleLease, scaleInterval, duration, 100*scaleDie)
	head := cells(nil)
	fmt.Fprintf(&page, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("--:|", len(head)))
	for _, s := range all {
		fmt.Fprintf(&page, "| %s |\n", strings.Join(cells(&s), " | "))
	}
	page.WriteString(`
![a panel for each quantity, by procs](scale.svg)

* CPU a report is that of the three servers together, less what they use in the five seconds before anybody joins; cores is all that they use.
  With few procs little is left for a report to cost, and what runs besides shows: a figure that is not above 0 is less than idle servers vary by.
* Heap is what lives on that of the leader while all report, as of the last collection of garbage, which may be from when the last few joined;
  resident memory is of one server, the mean of three, the least that was seen while all reported. Both are less what there was before. With few
  procs it is mostly what any server needs once it has something to do.
* Commit is from sending a report of all procs of a session until a majority of the servers has it on its disk and that is acknowledged.
* Detection is from the end of a dead proc's lease, which began when the last report was sent that named it and was acknowledged, until one
  who watches the cluster has heard that it expired.
* Election to ready is from the election of the next leader, with the state of all procs, until it leads. The fleet has ended by then.
* The last three must be 0: procs that expired and lived, procs that died and did not expire, and how often the mass-expiry brake held back
  expiries or let go.
`)
	return page.String()
}
