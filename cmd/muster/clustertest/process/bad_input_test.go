package process

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What cannot be started is told in the same words wherever somebody may look: by the agent, by explain and by whoever waits. An agent that
// was not told to stay ends with 1.
func TestBadInput_WhatCannotBeStarted(t *testing.T) {
	busy, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port
	c := New(t)
	for _, bad := range []struct {
		world, program string
		create, host   []string
		words          string
	}{
		{"program", "no-such-program", nil, nil, `program "no-such-program" was not found in PATH`},
		{"path", "/no/such/program", nil, nil, `program "/no/such/program" was not found on this machine`},
		{"directory", "true", []string{"--cwd", "/no/such/directory"}, nil, `working directory "/no/such/directory" does not exist on this machine`},
		{"port", "true", nil, []string{"--port-range", strconv.Itoa(port)}, fmt.Sprintf(
			"no port of %d-%d is free on this machine for rank 0 to meet the others at: give the agent another --port-range", port, port)},
	} {
		t.Run(bad.world, func(t *testing.T) {
			agent, _ := startHost(t, c, "machine-a", append([]string{"--world", bad.world}, bad.host...)...)
			args := append([]string{"world", "create", bad.world, "--procs", "1"}, bad.create...)
			code, _, errs := c.Muster(append(args, "--", bad.program)...)
			require.Zero(t, code, errs)
			told := "rank 0 on machine-a could not be started: " + bad.words
			require.Contains(t, c.wait(t, 1, bad.world, "completed"), told)
			require.Equal(t, 1, agent.Ended())
			require.Contains(t, strings.ReplaceAll(agent.Log(), `\"`, `"`), bad.words)
			require.Contains(t, agent.Log(), "a world has failed; `muster explain "+bad.world+"` says why")
			code, out, errs := c.Muster("explain", bad.world)
			require.Zero(t, code, errs)
			require.Contains(t, out, "why: "+told)
		})
	}
}

// An agent that comes to a world that is stopping, and has not ended yet, is told so.
func TestBadInput_AgentForAWorldThatIsStopping(t *testing.T) {
	c := New(t)
	agent, _ := startHost(t, c, "machine-a", "--world", "w")
	dir := c.create(t, "w", 2, `trap '' TERM; echo $$ > $DIR/$RANK.pid; while :; do sleep 0.05; done`)
	c.wait(t, 0, "w", "live")
	pids(t, c, dir, 2)
	code, _, errs := c.Muster("world", "stop", "w", "--proc-timeout", "10s")
	require.Zero(t, code, errs)

	late, _ := startHost(t, c, "machine-b", "--world", "w")
	require.Equal(t, 1, late.Ended())
	require.Contains(t, late.Log(), "world w is stopping: nobody may join it any more; with --stay an agent waits for its next creation")
	require.NotContains(t, late.Log(), "joined:")
	require.Zero(t, agent.Ended())
	require.Contains(t, c.wait(t, 0, "w", "ended"), "Stopped")
}
