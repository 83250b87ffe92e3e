package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest/process"
)

// page writes the reference while a story is played: each line is given to a shell as the page shows it, but for the addresses
// and directories of this run, and what it prints is put down.
type page struct {
	t       *testing.T
	root    *cobra.Command
	plain   *plain
	dir     string // where the shell is
	servers string // what MUSTER_SERVERS is; empty = not set
	last    string // what the latest line printed, as it was
	text    strings.Builder
	begun   bool // a block of examples is under way
}

// stateDir is what the page shows as /var/lib/muster, below the directory of the story.
const stateDir = "state"

func newPage(t *testing.T) *page {
	process.Binary(t) // now, since building it may take longer than any line may
	dir := t.TempDir()
	pairs := [][2]string{{"/var/lib/muster", filepath.Join(dir, stateDir)}, {"/srv", filepath.Join(dir, "srv")}}
	base := freeRow(t, 3)
	for i := range 3 {
		pairs = append(pairs, [2]string{fmt.Sprintf("127.0.0.1:%d", 7380+i), fmt.Sprintf("127.0.0.1:%d", base+i)})
	}
	return &page{t: t, root: newRoot(&cli{}), plain: newPlain(pairs...), dir: dir}
}

// port of the first server, as it is.
func (p *page) port() string {
	_, port, _ := strings.Cut(p.plain.real.Replace(defaultServer), ":")
	return port
}

// write puts a file below the directory of the story, for programs to be run.
func (p *page) write(name, content string) {
	path := filepath.Join(p.dir, name)
	require.NoError(p.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(p.t, os.WriteFile(path, []byte(content), 0o755))
}

// verb begins the section of a verb: what it is for, as its help says it, and how it is called.
func (p *page) verb(path string) {
	cmd, rest, err := p.root.Find(strings.Fields(path))
	require.NoError(p.t, err)
	require.Empty(p.t, rest, "there is no verb %s", path)
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	p.prose(fmt.Sprintf("## muster %s\n\n%s\n\n    %s", path, about, cmd.UseLine()))
}

// prose puts text between the examples.
func (p *page) prose(text string) {
	p.end()
	fmt.Fprintf(&p.text, "%s\n\n", text)
}

// end closes the block of examples, if one is under way.
func (p *page) end() {
	if p.begun {
		p.text.WriteString("```\n\n")
	}
	p.begun = false
}

// put puts down a line that was typed and what it printed.
func (p *page) put(line, printed string) {
	if !p.begun {
		p.text.WriteString("```console\n")
	}
	p.begun = true
	p.text.WriteString("$ " + strings.TrimSuffix(p.plain.text(line+"\n"), "\n") + "\n" + p.plain.text(printed))
}

// run is a line that must succeed.
func (p *page) run(line string) { p.exits(0, line) }

// exits is a line that must exit with a code, which the page shows where it is not 0.
func (p *page) exits(want int, line string) {
	p.t.Helper()
	code, out := p.shell(line)
	require.Equal(p.t, want, code, "%s\n%s", line, out)
	p.put(line, out)
	if code != 0 {
		p.put("echo $?", fmt.Sprintln(code))
	}
}

// until runs a line again until it succeeds and what it prints is as it should be. The page shows the last run.
func (p *page) until(line string, good func(out string) bool) {
	p.t.Helper()
	for deadline := time.Now().Add(scriptPatience); ; time.Sleep(50 * time.Millisecond) {
		code, out := p.shell(line)
		if code == 0 && good(out) {
			p.put(line, out)
			return
		}
		require.True(p.t, time.Now().Before(deadline), "waited %v for %s\n%s", scriptPatience, line, out)
	}
}

// says is a condition for until.
func says(pattern string) func(string) bool { return regexp.MustCompile("(?m)" + pattern).MatchString }

// sorted runs a line whose output comes in any order.
func (p *page) sorted(line string) {
	p.t.Helper()
	code, out := p.shell(line)
	require.Zero(p.t, code, "%s\n%s", line, out)
	lines := slices.Sorted(strings.Lines(out))
	p.put(line, strings.Join(lines, ""))
}

// shell gives a line to a shell, and takes what it prints and complains, in the order in which it came.
func (p *page) shell(line string) (code int, out string) {
	ctx, cancel := context.WithTimeout(p.t.Context(), scriptPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", p.plain.real.Replace(line))
	cmd.Dir, cmd.WaitDelay = p.dir, time.Second
	cmd.Env = []string{"PATH=" + filepath.Dir(process.Binary(p.t)) + ":" + os.Getenv("PATH"), "HOME=" + p.dir}
	if p.servers != "" {
		cmd.Env = append(cmd.Env, "MUSTER_SERVERS="+p.servers)
	}
	printed, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		require.NoError(p.t, err, line)
	}
	p.last = string(printed)
	return cmd.ProcessState.ExitCode(), p.last
}

// export is the line that names the servers for all that follow.
func (p *page) export(servers string) {
	p.servers = p.plain.real.Replace(servers)
	p.put("export MUSTER_SERVERS="+servers, "")
}

// launch starts a muster that goes on, and waits until it prints what is asked for. hidden are arguments that the page does not show,
// since they concern this run alone.
func (p *page) launch(line, pattern string, hidden ...string) (program *process.Program, said string) {
	p.t.Helper()
	args := append(splitQuoted(p.plain.real.Replace(line))[1:], hidden...)
	if p.servers != "" {
		args = append(args, "--servers", p.servers)
	}
	program = process.Start(p.t, args[0], args...)
	wanted := regexp.MustCompile("(?m)" + pattern)
	require.Eventually(p.t, func() bool { return wanted.MatchString(program.Log()) }, scriptPatience, 20*time.Millisecond, line)
	return program, wanted.FindString(program.Log()) + "\n"
}

// freeRow is the first of n ports in a row that nobody listens at.
func freeRow(t *testing.T, n int) int {
	for range 1000 {
		_, text, err := net.SplitHostPort(process.FreeAddresses(t, 1)[0])
		require.NoError(t, err)
		first, err := strconv.Atoi(text)
		require.NoError(t, err)
		if portsFree(first, n) {
			return first
		}
	}
	t.Fatalf("no %d free ports in a row", n)
	return 0
}

func portsFree(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		defer l.Close()
	}
	return true
}
