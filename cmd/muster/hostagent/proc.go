package hostagent

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// process is one line of the process table.
type process struct {
	pid, parent, session int
	start                uint64 // clock ticks since boot: with the pid it names a process for as long as the machine runs
	zombie               bool
}

// readProcess reads /proc/PID/stat; ok is false where there is no such process.
func readProcess(pid int) (p process, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	// The name in parentheses may hold anything; what follows the last one is numbers.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return process{}, false
	}
	number := func(i int) int {
		n, _ := strconv.Atoi(string(fields[i]))
		return n
	}
	start, _ := strconv.ParseUint(string(fields[19]), 10, 64)
	return process{
		pid: pid, parent: number(1), session: number(3), start: start, zombie: fields[0][0] == 'Z' || fields[0][0] == 'X',
	}, true
}

// processes is the process table.
func processes() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var all []process
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, ok := readProcess(pid); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// descendants are the processes below one, zombies too.
func descendants(root int) []process {
	byParent := map[int][]process{}
	for _, p := range processes() {
		byParent[p.parent] = append(byParent[p.parent], p)
	}
	var out []process
	for next := byParent[root]; len(next) > 0; {
		p := next[0]
		out = append(out, p)
		next = append(next[1:], byParent[p.pid]...)
	}
	return out
}

// children are the processes right below this one.
func children() []process {
	var out []process
	for _, p := range processes() {
		if p.parent == os.Getpid() {
			out = append(out, p)
		}
	}
	return out
}
