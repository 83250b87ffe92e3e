package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"muster/deploy/fleet"
	musterv1 "muster/proto/muster/v1"
)

const (
	wordsRanks = 6
	resultFile = "words.json"
	aloneFile  = "alone.json"
)

// hosted are the worlds whose programs the two host agents run.
var hosted = []string{"words", "broken", "family"}

// createWords starts one of two host agents and creates a world that needs both: it waits.
func (d *demo) createWords(ctx context.Context) error {
	wordcount, err := filepath.Abs(d.wordcount)
	if err != nil {
		return fmt.Errorf("the wordcount binary: %w", err)
	}
	d.wordcount = wordcount
	source, err := goSource(ctx)
	if err != nil {
		return err
	}
	if d.a, err = d.StartHost("machine-a", hosted, "--stay"); err != nil {
		return err
	}
	if _, err := d.Command(ctx, "world", "create", "words", "--shape", "2,3", "--procs-per-host", "3", "--",
		d.wordcount, "-source", source, "-result", filepath.Join(d.Dir, resultFile)); err != nil {
		return err
	}
	view, err := d.View(ctx, &musterv1.ViewRequest{Worlds: []string{"words"}})
	if err != nil {
		return err
	}
	if w := fleet.World(view, "words"); w.GetCondition().GetStatus() == musterv1.Status_STATUS_LIVE {
		return fmt.Errorf("words is Live with one host of two: %v", text(w))
	}
	return nil
}

// goSource is where the toolchain of this machine has its own source.
func goSource(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	// A walk does not follow the link that some systems have there.
	source, err := filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(string(out)), "src"))
	if err != nil {
		return "", fmt.Errorf("the toolchain's source: %w", err)
	}
	return source, nil
}

// checkWords waits until all ranks have ended well, sees that each was started once, and holds their sum against the count of one process.
func (d *demo) checkWords(ctx context.Context) error {
	out, err := d.Command(ctx, "world", "wait", "words", "--for", "completed", "--timeout", "30s")
	if err != nil {
		return err
	}
	d.Say("%s", out)
	begun := regexp.MustCompile(`(?m)^rank ([0-9]+) of 6 begins$`)
	var ranks []string
	for _, h := range []*fleet.Host{d.a, d.b} {
		logs, err := h.Logs("words")
		if err != nil {
			return err
		}
		for _, log := range logs {
			written, err := os.ReadFile(log)
			if err != nil {
				return fmt.Errorf("a rank's log: %w", err)
			}
			for _, line := range begun.FindAllStringSubmatch(string(written), -1) {
				ranks = append(ranks, line[1])
			}
		}
	}
	slices.Sort(ranks)
	if got := strings.Join(ranks, " "); got != "0 1 2 3 4 5" {
		return fmt.Errorf("each rank should have been started once; started were: %s", got)
	}
	source, err := goSource(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	alone := exec.CommandContext(ctx, d.wordcount, "-source", source, "-result", filepath.Join(d.Dir, aloneFile))
	alone.Env = []string{"RANK=0", "WORLD_SIZE=1"}
	if out, err := alone.CombinedOutput(); err != nil {
		return fmt.Errorf("counting alone: %w: %s", err, out)
	}
	want, err := d.counts(aloneFile)
	if err != nil {
		return err
	}
	got, err := d.counts(resultFile)
	if err != nil {
		return err
	}
	if !maps.Equal(want, got) {
		return fmt.Errorf("a single process finds %d different words, the ranks %d: the sum is wrong", len(want), len(got))
	}
	d.Say("%d ranks, each started once, counted %d different words; a single process counts the same in %.1fs",
		wordsRanks, len(got), time.Since(began).Seconds())
	return nil
}

func (d *demo) counts(file string) (map[string]uint64, error) {
	written, err := os.ReadFile(filepath.Join(d.Dir, file))
	if err != nil {
		return nil, fmt.Errorf("the count: %w", err)
	}
	var counts map[string]uint64
	if err := json.Unmarshal(written, &counts); err != nil {
		return nil, fmt.Errorf("the count: %w", err)
	}
	return counts, nil
}

// broken is a program of which rank 2 fails once all others run.
const broken = `touch "$DIR/$RANK.runs"
if [ $RANK = 2 ]; then
  while [ $(ls "$DIR" | grep -c runs) -lt 4 ]; do sleep 0.01; done
  echo "shard 2 is corrupt" >&2
  exit 17
fi
trap 'touch "$DIR/$RANK.asked"; exit 0' TERM
while :; do sleep 0.05; done`

// failRank has a rank of a second world exit with 17: the world fails, the others are asked to end, and explain tells all of it.
func (d *demo) failRank(ctx context.Context) error {
	dir := filepath.Join(d.Dir, "broken")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if _, err := d.Command(ctx, "world", "create", "broken", "--procs", "4", "--procs-per-host", "2", "--env", "DIR="+dir, "--", "sh", "-c", broken); err != nil {
		return err
	}
	if _, err := d.CommandExits(ctx, 1, "world", "wait", "broken", "--for", "completed", "--timeout", "30s"); err != nil {
		return err
	}
	told, err := d.Command(ctx, "explain", "broken")
	if err != nil {
		return err
	}
	for line := range strings.Lines(told) {
		fmt.Println("         " + strings.TrimRight(line, "\n"))
	}
	if !regexp.MustCompile(`(?s)why: rank 2 on machine-[ab] exited with code 17\s.*shard 2 is corrupt`).MatchString(told) {
		return errors.New("explain does not name rank, machine, code and last lines")
	}
	asked, err := filepath.Glob(filepath.Join(dir, "*.asked"))
	if err != nil || len(asked) != 3 {
		return fmt.Errorf("the other three ranks should have been asked to end: %v, %w", asked, err)
	}
	d.Say("the other 3 ranks were asked to end, and did")
	return nil
}

// family is a program that forks a child, and a daemon that ignores what can be ignored. All write their process ids.
const family = `echo $$ > "$DIR/$RANK.parent"
sh -c 'echo $$ > "$DIR/$RANK.child"; sleep 1000' &
(setsid sh -c 'trap "" TERM HUP INT; echo $$ > "$DIR/$RANK.daemon"; while :; do sleep 1000; done' &)
wait`

// killAgent kills a host agent. No process of it is left, and when its lease is over the rest of the world is stopped.
func (d *demo) killAgent(ctx context.Context) error {
	dir := filepath.Join(d.Dir, "family")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if _, err := d.Command(ctx, "world", "create", "family", "--procs", "4", "--procs-per-host", "2", "--eviction", "1s", "--env", "DIR="+dir,
		"--", "sh", "-c", family); err != nil {
		return err
	}
	var pids map[uint32][]int
	if err := d.Await(ctx, "three processes of each rank", func(context.Context) (bool, error) {
		pids = pidsIn(dir)
		return len(slices.Concat(slices.Collect(maps.Values(pids))...)) == 12, nil
	}); err != nil {
		return err
	}
	if _, err := d.Command(ctx, "world", "wait", "family", "--for", "live", "--timeout", "10s"); err != nil {
		return err
	}
	view, err := d.View(ctx, &musterv1.ViewRequest{Worlds: []string{"family"}})
	if err != nil {
		return err
	}
	var own, others []int
	for _, p := range fleet.World(view, "family").GetProcs() {
		switch {
		case p.GetProc().GetRole() == musterv1.Role_ROLE_HOST:
		case p.GetMachine() == d.b.Machine:
			own = append(own, pids[p.GetProc().GetRank()]...)
		default:
			others = append(others, pids[p.GetProc().GetRank()]...)
		}
	}
	if len(own) != 6 || len(others) != 6 {
		return fmt.Errorf("each machine should run two ranks of three processes: %v and %v", own, others)
	}
	killed := time.Now()
	if err := d.b.Process.Kill(); err != nil {
		return err
	}
	if err := d.Await(ctx, "the processes of the killed agent to be gone", func(context.Context) (bool, error) { return !anyRuns(own), nil }); err != nil {
		return err
	}
	d.Say("killed the agent of machine-b (SIGKILL): its 2 ranks, their children and daemons were gone %.2fs later", time.Since(killed).Seconds())
	out, err := d.Command(ctx, "world", "wait", "family", "--for", "ended", "--timeout", "20s")
	if err != nil {
		return err
	}
	d.Say("%s", strings.SplitN(out, "\n", 2)[0])
	if anyRuns(others) {
		return errors.New("processes of an ended world are left on machine-a")
	}
	// The other agent stays for what comes; it ends when it is asked to.
	if err := d.a.Process.Terminate(); err != nil {
		return err
	}
	return d.a.Process.Wait(ctx, fleet.Patience)
}

// pidsIn are the process ids that the files of a directory hold, by the rank in their names.
func pidsIn(dir string) map[uint32][]int {
	pids := map[uint32][]int{}
	files, _ := filepath.Glob(filepath.Join(dir, "*")) // the pattern is good
	for _, file := range files {
		written, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		rank, err1 := strconv.ParseUint(name, 10, 32)
		pid, err2 := strconv.Atoi(strings.TrimSpace(string(written)))
		if err1 == nil && err2 == nil {
			pids[uint32(rank)] = append(pids[uint32(rank)], pid)
		}
	}
	return pids
}

// anyRuns says whether one of the processes is there and no zombie.
func anyRuns(pids []int) bool {
	return slices.ContainsFunc(pids, func(pid int) bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, _ := strings.Cut(string(stat), ") ")
		return err == nil && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
	})
}
