package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// ranks is the processes of one world, by rank.
type ranks struct {
	world     string
	processes []*rankProcess
}

// rankProcess is one of them, and what it has said so far.
type rankProcess struct {
	*process
	said *lines
}

// startRanks starts the processes of a world, which join it by themselves. args go to each of them.
func startRanks(ps *processes, addresses []string, world string, n int, args ...string) (*ranks, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the demo's own program: %w", err)
	}
	rs := &ranks{world: world}
	for rank := range n {
		cmd := exec.Command(program, append([]string{
			"rank", "-servers", strings.Join(addresses, ","), "-world", world, "-rank", strconv.Itoa(rank), "-ranks", strconv.Itoa(n),
		}, args...)...)
		said := &lines{}
		cmd.Stdout = said
		p, err := ps.start(fmt.Sprintf("%s-%d", world, rank), cmd)
		if err != nil {
			return nil, err
		}
		rs.processes = append(rs.processes, &rankProcess{process: p, said: said})
	}
	return rs, nil
}

// saying is how many of the processes have said a line.
func (rs *ranks) saying(line string) int {
	n := 0
	for _, p := range rs.processes {
		if p.said.has(line) {
			n++
		}
	}
	return n
}

// lines is a writer that keeps the lines written to it.
type lines struct {
	// mu guards the rest.
	mu       sync.Mutex
	complete []string
	partial  []byte
}

func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, text...)
	for {
		line, rest, ok := bytes.Cut(l.partial, []byte("\n"))
		if !ok {
			return len(text), nil
		}
		l.complete = append(l.complete, string(line))
		l.partial = rest
	}
}

func (l *lines) has(line string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.complete, line)
}
