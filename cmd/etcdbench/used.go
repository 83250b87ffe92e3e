package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// sampleEvery is between two looks at what the nodes use.
	sampleEvery = 500 * time.Millisecond
	// tick is the unit of processor time in /proc/PID/stat on every Linux that Go runs on.
	tick = time.Second / 100
	mib  = 1 << 20
	// mostLooks are taken until garbage has been collected, and sweeping more behind that.
	mostLooks, sweeping = 20_000, 10
)

// sample is what the nodes use at a moment: time of processors together, and bytes each on average.
type sample struct {
	cpu      time.Duration
	resident float64
}

func (c *cluster) sample() (s sample, err error) {
	for i, n := range c.nodes {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.run[i].Process.Pid))
		if err != nil {
			return s, fmt.Errorf("what %s uses: %w", n.name, err)
		}
		cpu, pages, err := parseStat(string(stat))
		if err != nil {
			return s, fmt.Errorf("what %s uses: %w", n.name, err)
		}
		s.cpu += cpu
		s.resident += float64(pages*os.Getpagesize()) / float64(len(c.nodes))
	}
	return s, nil
}

// parseStat reads the time of processors, in the program and in the kernel for it, and the resident pages out of /proc/PID/stat.
func parseStat(stat string) (cpu time.Duration, pages int, err error) {
	const user, kernel, resident = 14, 15, 24 // fields, counted from 1, as proc_pid_stat(5) does
	_, behind, ok := cutLast(stat, ") ")      // the second field is a name in brackets, which may have blanks and brackets in it
	fields := strings.Fields(behind)
	if !ok || len(fields) < resident-2 {
		return 0, 0, fmt.Errorf("not a line of /proc/PID/stat: %q", stat)
	}
	var values [3]int
	for i, field := range []int{user, kernel, resident} {
		if values[i], err = strconv.Atoi(fields[field-3]); err != nil {
			return 0, 0, fmt.Errorf("field %d of /proc/PID/stat: %w", field, err)
		}
	}
	return time.Duration(values[0]+values[1]) * tick, values[2], nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// live is what lives on the heaps of the nodes, in bytes of one, the mean: see liveHeap.
func (c *cluster) live(ctx context.Context) (bytes float64, err error) {
	for _, n := range c.nodes {
		of, err := liveHeap(ctx, n.heap)
		if err != nil {
			return 0, orCause(ctx, fmt.Errorf("the heap of %s: %w", n.name, err))
		}
		bytes += of / float64(len(c.nodes))
	}
	return bytes, nil
}

// liveHeap looks at a heap until its garbage has been collected, which comes soon, as each look makes some; and then a few times more, while
// the collected is swept, for the least.
func liveHeap(ctx context.Context, look func(context.Context) (collected, bytes float64, err error)) (least float64, err error) {
	before, _, err := look(ctx)
	if err != nil {
		return 0, err
	}
	least = math.Inf(1)
	for looks, behind := 0, 0; behind < sweeping; looks++ {
		collected, bytes, err := look(ctx)
		switch {
		case err != nil:
			return 0, err
		case collected != before:
			least = min(least, bytes)
			behind++
		case looks == mostLooks:
			return 0, fmt.Errorf("no garbage was collected while it was looked at %d times", looks)
		}
	}
	return least, nil
}

// heap is when the node collected garbage last, and the bytes in use on its heap, what was not collected yet included.
func (n node) heap(ctx context.Context) (collected, bytes float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.client+"/metrics", nil)
	if err != nil {
		return 0, 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		into := map[string]*float64{"go_memstats_last_gc_time_seconds": &collected, "go_memstats_heap_alloc_bytes": &bytes}[name]
		if into == nil {
			continue
		}
		if *into, err = strconv.ParseFloat(value, 64); err != nil {
			return 0, 0, fmt.Errorf("metric %s: %w", name, err)
		}
	}
	if err := lines.Err(); err != nil {
		return 0, 0, err
	}
	if bytes == 0 {
		return 0, 0, errors.New("its metrics do not tell of it")
	}
	return collected, bytes, nil
}

// used is what the nodes used while something was done: time of processors together, and bytes each on average.
type used struct {
	cpu           time.Duration
	resident      float64 // the mean of what was seen
	leastResident float64
}

// during does something and tells what the nodes used meanwhile.
func (c *cluster) during(ctx context.Context, do func() error) (used, error) {
	var samples []sample
	var failed error
	look := func() {
		s, err := c.sample()
		samples, failed = append(samples, s), errors.Join(failed, err)
	}
	look()
	sampling, stop := context.WithCancel(ctx)
	var sampler sync.WaitGroup
	sampler.Go(func() {
		for rest(sampling, sampleEvery) == nil && failed == nil {
			look()
		}
	})
	err := do()
	stop()
	sampler.Wait()
	look()
	if err = orCause(ctx, errors.Join(err, failed)); err != nil {
		return used{}, err
	}
	return usedOf(samples), nil
}

// usedOf sums samples up, at least one.
func usedOf(samples []sample) used {
	u := used{cpu: samples[len(samples)-1].cpu - samples[0].cpu, leastResident: math.Inf(1)}
	for _, s := range samples {
		u.resident += s.resident / float64(len(samples))
		u.leastResident = min(u.leastResident, s.resident)
	}
	return u
}

// cost is how a last line tells it.
type cost struct {
	// CPU is microseconds of processors of all nodes together for each of what was done, all that they used meanwhile.
	CPU float64 `json:"cpu_us"`
	// Resident is the resident memory of one node, the mean of three and of the time, in MiB.
	Resident float64 `json:"rss_mib"`
}

func (u used) cost(done int) cost {
	return cost{decimals(float64(u.cpu)/float64(time.Microsecond)/float64(max(done, 1)), 2), decimals(u.resident/mib, 1)}
}
