package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// firstNumber is what the reference shows for the first number of the state that it meets; the next ones follow.
const firstNumber = 1763900000000001

// plain takes what differs from run to run out of what was printed, so that two runs of one story read the same. A value that comes
// again is given the same replacement.
type plain struct {
	real  *strings.Replacer // from what the page shows to what is there: addresses and directories
	shown *strings.Replacer // and back
	given map[string]string
	count map[string]int
}

// newPlain knows pairs of what is shown and what is real.
func newPlain(pairs ...[2]string) *plain {
	var there, back []string
	for _, pair := range pairs {
		there = append(there, pair[0], pair[1])
		back = append(back, pair[1], pair[0])
	}
	return &plain{
		real: strings.NewReplacer(there...), shown: strings.NewReplacer(back...),
		given: map[string]string{}, count: map[string]int{},
	}
}

// stateNumber is a number of the state: microseconds since 1970, so many digits until the year 2286.
var stateNumber = regexp.MustCompile(`\b1[0-9]{15}\b`)

// drawn are ids that differ in each run: numbers of the state, ids of clusters and executions, digests, ids of servers.
var drawn = regexp.MustCompile(stateNumber.String() + `|\b[0-9a-f]{16}\b|\b[0-9a-f]{12}\b|\bn[123]-[0-9a-f]{8}\b`)

// passing is what is true for a moment only.
var passing = []struct {
	pattern     *regexp.Regexp
	replacement string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d([ T])\d\d:\d\d:\d\d(\.\d{3})?`), "2026-11-23${1}09:30:00$2"},
	{regexp.MustCompile(`(T09:30:00)\.\d{3}`), "$1.000"},
	{regexp.MustCompile(`\b[0-9.hmµ]+s ago\b`), "3s ago"},
	{regexp.MustCompile(`\bready after [0-9.m]+s`), "ready after 800ms"},
	{regexp.MustCompile(`\bnode n[123] leads\b`), "node n1 leads"},
	{regexp.MustCompile(`\bterm \d+`), "term 2"},
	{regexp.MustCompile(`\bport 29\d{3}\b`), "port 29500"},
	{regexp.MustCompile(`"clock_ns":"\d+","wall_ms":"\d+"`), `"clock_ns":"9000000000","wall_ms":"1795426200000"`},
	{regexp.MustCompile(`\bSaved \d+ bytes`), "Saved 4096 bytes"},
	{regexp.MustCompile(`\b\d+ entries moved`), "1024 entries moved"},
	{regexp.MustCompile(` \(after \d+ attempts\)`), ""},                                 // it is chance who is asked first
	{regexp.MustCompile(`(?m)^note: the leader's log does not take entries: .*\n`), ""}, // a disk that is busy with other tests
	{regexp.MustCompile(`\bgo1\.\d+[a-z0-9.]*`), "go1.26"},
}

// text is raw as the reference shows it.
func (p *plain) text(raw string) string {
	text := drawn.ReplaceAllStringFunc(p.shown.Replace(raw), p.give)
	for _, m := range passing {
		text = m.pattern.ReplaceAllString(text, m.replacement)
	}
	text = ahead.ReplaceAllStringFunc(text, func(in string) string { return "in " + almost(in[len("in "):len(in)-1]) + ":" })
	return tables(text)
}

// give is the replacement of an id.
func (p *plain) give(value string) string {
	if p.given[value] != "" {
		return p.given[value]
	}
	kind, length := "hex", len(value)
	switch {
	case stateNumber.MatchString(value):
		kind = "number"
	case value[0] == 'n':
		kind, length = value[:len("n1-")], len("01234567")
	}
	n := p.count[kind]
	p.count[kind]++
	if kind == "number" {
		p.given[value] = fmt.Sprint(firstNumber + n)
	} else {
		p.given[value] = strings.TrimPrefix(kind, "hex") + fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, kind, n)))[:length]
	}
	return p.given[value]
}

// ahead is when something will happen, as explain says it.
var ahead = regexp.MustCompile(`\bin [0-9.hm]+s:`)

// almost is a time that has run for two seconds, of one that has run for less than a minute.
func almost(text string) string {
	left, err := time.ParseDuration(text)
	if err != nil {
		return text
	}
	if left < time.Minute {
		return "8s"
	}
	return ((left + time.Minute - 1).Truncate(time.Minute) - 2*time.Second).String()
}

// columns of tables that are true for a moment only, and what they show.
var columns = map[string]string{"TERM": "2", "CONTACT": "20ms", "APPLIED": "12", "SINCE": "3s", "REPORT": "500ms"}

var (
	tableHeader = regexp.MustCompile(`^[A-Z]+( {2,}[A-Z]+)+$`)
	gap         = regexp.MustCompile(` {2,}`)
)

// tables sets the tables in text anew, whose columns were as wide as what was there before.
func tables(text string) string {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	var header []string // of the table that is under way
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		switch {
		case tableHeader.MatchString(line):
			header = gap.Split(line, -1)
			fmt.Fprintln(w, strings.Join(header, "\t"))
			continue
		case header != nil && line != "":
			cells := gap.Split(line, -1)
			for i, cell := range cells {
				if i < len(header) && columns[header[i]] != "" && cell != "-" {
					cells[i] = columns[header[i]]
				}
			}
			fmt.Fprintln(w, strings.Join(cells, "\t"))
			continue
		}
		header = nil
		_ = w.Flush() // into memory: cannot fail
		fmt.Fprintln(&out, line)
	}
	_ = w.Flush()
	return out.String()
}

func TestPlain(t *testing.T) {
	p := newPlain([2]string{"127.0.0.1:7380", "127.0.0.1:23456"}, [2]string{"/srv", "/elsewhere/x/srv"})
	require.Equal(t, "at 127.0.0.1:23456 in /elsewhere/x/srv/train", p.real.Replace("at 127.0.0.1:7380 in /srv/train"))
	require.Equal(t, "at 127.0.0.1:7380 in /srv/train\n", p.text("at 127.0.0.1:23456 in /elsewhere/x/srv/train\n"))
	first := p.text("1795644093590649 252798b65ed8, then 1795644093590650 and 1795644093590649 n2-01234567\n")
	require.Regexp(t, `^1763900000000001 [0-9a-f]{12}, then 1763900000000002 and 1763900000000001 n2-[0-9a-f]{8}\n$`, first)
	require.Equal(t, first, newPlain().text("1895644093590649 000098b65ed8, then 1895644093590699 and 1895644093590649 n2-76543210\n"))
	require.Equal(t, "2026-11-23 09:30:00 UTC (3s ago)\n2026-11-23T09:30:00.000Z\n",
		p.text("2027-01-02 03:04:05 UTC (1m2s ago)\n2027-01-02T03:04:05.678Z\n"))
	require.Equal(t, "next: in 9m58s: x\nnext: in 8s: y\n", p.text("next: in 9m51s: x\nnext: in 7.3s: y\n"))
	require.Equal(t, "a\n\nNODE  REPORT  CAUSE\nn1    500ms   -\nn2    -       two words\n\nb  c\n",
		p.text("a\n\nNODE  REPORT   CAUSE\nn1    1m2.345s  -\nn2    -         two words\n\nb  c\n"))
}
