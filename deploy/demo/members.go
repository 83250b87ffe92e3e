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

	"muster/deploy/fleet"
)

// members is the processes that have joined a world by themselves, by rank.
type members struct {
	world     string
	processes []*memberProcess
}

// memberProcess is one of them, and what it has said so far.
type memberProcess struct {
	*fleet.Process
	said *lines
}

// startMembers starts the processes of a world, which join it by themselves.
func startMembers(f *fleet.Fleet, world string, n int) (*members, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the demo's own program: %w", err)
	}
	ms := &members{world: world}
	for rank := range n {
		cmd := exec.Command(program, "member", "-servers", strings.Join(f.Addresses(), ","), "-world", world, "-rank", strconv.Itoa(rank))
		said := &lines{}
		cmd.Stdout = said
		p, err := f.Start(fmt.Sprintf("%s-%d", world, rank), cmd)
		if err != nil {
			return nil, err
		}
		ms.processes = append(ms.processes, &memberProcess{p, said})
	}
	return ms, nil
}

// saying is how many of the processes have said a line.
func (ms *members) saying(line string) int {
	n := 0
	for _, p := range ms.processes {
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
