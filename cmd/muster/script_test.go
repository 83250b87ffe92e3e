package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest/process"
	"muster/transport/client"
)

// In scripts "muster" is this test binary, run as the program.
func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"muster": main})
}

// tests are all tests, and what is to be removed behind them.
type tests struct{ *testing.M }

func (t tests) Run() int { return process.Main(t.M) }

// scriptPatience is how long anything in a script may take that has to happen.
const scriptPatience = 30 * time.Second

// TestScripts runs testdata/script: the command line as people type it, against one cluster that all scripts share. Each script
// uses worlds of its own; where the whole state matters it starts a server of its own, at $OWN, with $OTHER and $THIRD free.
func TestScripts(t *testing.T) {
	servers := dev(t)
	crew(t, servers)
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			free := process.FreeAddresses(env.T().(testing.TB), 3)
			for name, value := range map[string]string{
				"MUSTER_SERVERS": servers, "DEV": strings.Split(servers, ",")[0], "OWN": free[0], "OTHER": free[1], "THIRD": free[2],
				"RUNES63": strings.Repeat("é", 63), "RUNES64": strings.Repeat("é", 64),
				"VALUE4000": strings.Repeat("v", 4000), "VALUE4096": strings.Repeat("v", 4096),
				"GORACE": "atexit_sleep_ms=0", // with the race detector each run of the program would last a second longer
			} {
				env.Setenv(name, value)
			}
			return os.WriteFile(filepath.Join(env.WorkDir, "labels65"), []byte(labelFlags(65)), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "eventually": eventually, "number": number, "alter": alter, "truncate": truncate, "fetch": fetch,
		},
	})
}

func labelFlags(n int) string {
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "--label\nkey%d=value\n", i)
	}
	return lines.String()
}

// dev runs `muster dev` until all scripts are done, and then sees it end in order.
func dev(t *testing.T) (servers string) {
	ctx, stop := context.WithCancel(context.Background())
	var out, errs lockedBuffer
	var code int
	var running sync.WaitGroup
	running.Go(func() { code = run(ctx, []string{"dev", "--port", "0"}, nil, &out, &errs) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		assert.Equal(t, exitDone, code, errs.String())
		assert.NotContains(t, errs.String(), "[ERROR]")
	})
	line := regexp.MustCompile(`^A cluster of 3 nodes is ready after \S+; node n[123] leads\. Ctrl-C ends it\. In another terminal:

  export MUSTER_SERVERS=(\S+)
  muster status
$`)
	require.Eventually(t, func() bool { return line.MatchString(out.String()) }, scriptPatience, 10*time.Millisecond)
	return line.FindStringSubmatch(out.String())[1]
}

// lockedBuffer is a bytes.Buffer that may be read while it is written.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// crew has world crew of three procs, of which one has joined and stays, for the verbs that show procs.
func crew(t *testing.T, servers string) {
	cl, err := client.New(client.Config{Servers: strings.Split(servers, ",")})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cl.Close()) })
	code, _, errs := muster(t, "--servers", servers, "world", "create", "crew", "--procs", "3")
	require.Zero(t, code, errs)
	ctx, cancel := context.WithTimeout(t.Context(), scriptPatience)
	defer cancel()
	_, err = cl.Join(ctx, client.MemberConfig{
		World: "crew", Rank: 1, Key: "k1", Machine: "m1", Address: "tcp:10.0.0.7:4000", Labels: map[string]string{"zone": "west"},
	})
	require.NoError(t, err)
}

// exits runs a command that must end with an exit code: exits CODE COMMAND ARGS…. An argument @FILE stands for FILE's lines.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if code := execute(ts, args[1:]); code != want {
		ts.Fatalf("exit code %d, expected %d", code, want)
	}
}

// execute runs a command and gives its exit code.
func execute(ts *testscript.TestScript, args []string) int {
	var expanded []string
	for _, arg := range args[1:] {
		if file, ok := strings.CutPrefix(arg, "@"); ok {
			expanded = append(expanded, strings.Fields(ts.ReadFile(file))...)
		} else {
			expanded = append(expanded, arg)
		}
	}
	err := ts.Exec(args[0], expanded...)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}

// eventually runs a command until it succeeds and what it prints matches: eventually REGEXP COMMAND ARGS….
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually REGEXP COMMAND ARGS…")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(scriptPatience); ; time.Sleep(20 * time.Millisecond) {
		if execute(ts, args[1:]) == 0 && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited %v for %s", scriptPatience, args[0])
		}
	}
}

// number prints the number of the state and how many worlds there are, of the cluster that MUSTER_SERVERS names.
func number(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: number")
	}
	ts.Check(ts.Exec("muster", "status"))
	lines := regexp.MustCompile(`(?m)^(Number|Worlds): .*$`).FindAllString(ts.ReadFile("stdout"), -1)
	if len(lines) != 2 {
		ts.Fatalf("status shows no number and worlds")
	}
	fmt.Fprintln(ts.Stdout(), strings.Join(lines, "\n"))
}

// fetch prints what an address answers over plain HTTP: fetch URL.
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fetch URL")
	}
	response, err := (&http.Client{Timeout: scriptPatience}).Get(args[0])
	ts.Check(err)
	defer response.Body.Close()
	_, err = io.Copy(ts.Stdout(), response.Body)
	ts.Check(err)
}

// alter changes one byte of a file: alter FILE OFFSET, negative from its end.
func alter(ts *testscript.TestScript, neg bool, args []string) {
	content, at := fileAt(ts, neg, args)
	content[at] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content, 0o600))
}

// truncate cuts a file off: truncate FILE OFFSET, negative from its end.
func truncate(ts *testscript.TestScript, neg bool, args []string) {
	content, at := fileAt(ts, neg, args)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content[:at], 0o600))
}

func fileAt(ts *testscript.TestScript, neg bool, args []string) ([]byte, int) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: FILE OFFSET")
	}
	content := []byte(ts.ReadFile(args[0]))
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(content)
	}
	if at < 0 || at >= len(content) {
		ts.Fatalf("offset %s is outside the %d bytes of %s", args[1], len(content), args[0])
	}
	return content, at
}
