package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"muster/deploy/fleet"
)

var (
	begun = regexp.MustCompile(`(?m)^begun ([0-9]+)$`)
	ended = regexp.MustCompile(`(?m)^ended ([0-9]+)$`)
)

// count looks at what the ranks wrote.
func count(agents []*fleet.Host, names []string) error {
	var problems []error
	lastBegun, firstEnded := int64(0), int64(1)<<62 // of the worlds
	for _, name := range names {
		seen := map[string]bool{}
		from, to := int64(0), int64(0)
		for _, h := range agents {
			logs, err := h.Logs(name)
			if err != nil {
				return err
			}
			for _, log := range logs {
				rank := filepath.Base(log)
				if seen[rank] {
					problems = append(problems, fmt.Errorf("%s of %s ran on two hosts", rank, name))
				}
				seen[rank] = true
				b, e, err := span(log)
				if err != nil {
					problems = append(problems, err)
				}
				from, to = max(from, b), max(to, e)
			}
		}
		if len(seen) != ranks {
			problems = append(problems, fmt.Errorf("%d ranks of %s were started, not %d", len(seen), name, ranks))
		}
		lastBegun, firstEnded = max(lastBegun, from), min(firstEnded, to)
	}
	if lastBegun >= firstEnded {
		problems = append(problems, fmt.Errorf("a world had ended %d s before the last one ran: they were to run at the same time", lastBegun-firstEnded))
	}
	return errors.Join(problems...)
}

// span is when a rank began and ended, in Unix seconds. It did so once.
func span(log string) (from, to int64, err error) {
	text, err := os.ReadFile(log)
	if err != nil {
		return 0, 0, err
	}
	b, e := begun.FindAllSubmatch(text, -1), ended.FindAllSubmatch(text, -1)
	if len(b) != 1 || len(e) != 1 {
		return 0, 0, fmt.Errorf("%s was started %d times and ended %d times: %s", log, len(b), len(e), text)
	}
	from, _ = strconv.ParseInt(string(b[0][1]), 10, 64)
	to, _ = strconv.ParseInt(string(e[0][1]), 10, 64)
	return from, to, nil
}
