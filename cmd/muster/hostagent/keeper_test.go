package hostagent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What may not be killed, such as another user's process, is tried again at ever longer intervals, given up, and told.
func TestKeeper_WhatMayNotBeKilled(t *testing.T) {
	child := startProcess(t, "exec sleep 1000")
	var told bytes.Buffer
	k := newKeeper(&told)
	tries := 0
	k.patience = time.Second
	k.kill = func(pid int) error {
		require.Equal(t, child, pid)
		tries++
		return unix.EPERM
	}
	k.endAll()
	require.Contains(t, told.String(), fmt.Sprintf("process %d: operation not permitted", child))
	require.Less(t, tries, 20, "it spins")
	require.True(t, running(child))

	// One that may be killed after all, and what begins meanwhile, is.
	told.Reset()
	k.kill = func(pid int) error { return unix.Kill(pid, unix.SIGKILL) }
	second := startProcess(t, "sleep 1000 & wait")
	k.endAll()
	require.Empty(t, told.String())
	require.False(t, running(child) || running(second))
}

// A keeper that has said how its program ended gets no more signals: when it has been waited for, its number may be another's.
func TestRun_SignalsNobodyWhenItIsOver(t *testing.T) {
	t.Setenv(lingering, "2s")
	dir := openStateDir(t)
	k := keep(t, dir, shell(t.TempDir(), "sleep 0.1"))
	k.waitStarted()
	keeper := k.pid()
	require.True(t, running(keeper))
	for begun := time.Now(); k.pid() != 0 && time.Since(begun) < patience; time.Sleep(time.Millisecond) {
	}
	require.Zero(t, k.pid())
	require.True(t, running(keeper), "its number was known for longer than it was its own")
	k.run.stop(time.Millisecond)
	exit := k.waitExit()
	require.Zero(t, exit.Code+exit.Signal)
}

// The agent hears what a keeper cannot end, and how the program ended all the same.
func TestRun_TellsWhatIsLeft(t *testing.T) {
	const said = `{"Started":true}{"Left":"process 7: not permitted"}{"Ended":true,"Code":3}`
	var left []string
	exit, orderly := newRun().listen(json.NewDecoder(strings.NewReader(said)), func() {},
		func(what string) { left = append(left, what) })
	require.True(t, orderly)
	require.Equal(t, uint32(3), exit.Code)
	require.Equal(t, []string{"process 7: not permitted"}, left)
}
