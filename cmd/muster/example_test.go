package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// examples are the example lines of a command and all below it.
func examples(cmd *cobra.Command) []string {
	var lines []string
	for line := range strings.Lines(cmd.Example) {
		lines = append(lines, strings.TrimSpace(line))
	}
	for _, sub := range cmd.Commands() {
		lines = append(lines, examples(sub)...)
	}
	return lines
}

// splitQuoted splits a line as a shell does, as far as examples need it.
func splitQuoted(line string) []string {
	var words []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

func worker(rank uint32, health musterv1.Health) *musterv1.ProcView {
	return &musterv1.ProcView{
		Proc:   &musterv1.ProcRef{World: "train", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Incarnation: 100 + uint64(rank)},
		Health: health, Mode: musterv1.Mode_MODE_MANAGED_BY_SYSTEM, Address: "tcp:10.0.0.1:900" + string(rune('0'+rank)),
		Machine: "m1", ReportAgeNs: int64(1234 * time.Millisecond),
	}
}

func exampleView() *musterv1.ViewResponse {
	expired := worker(1, musterv1.Health_HEALTH_EXPIRED)
	expired.Cause, expired.ReportAgeNs = "silent for 10s\nor more", int64(90*time.Second)
	sick := worker(2, musterv1.Health_HEALTH_ALIVE)
	sick.FailedActorCount, sick.Address = 2, ""
	sick.FailedActors = []*musterv1.FailedActor{{Actor: "trainer", Pid: 0, Cause: "loss is NaN"}, {Actor: "loader", Pid: 1, Cause: "EOF"}}
	host := worker(0, musterv1.Health_HEALTH_ALIVE)
	host.Proc.Role = musterv1.Role_ROLE_HOST
	return &musterv1.ViewResponse{
		ExecutionId: "e1", Phase: musterv1.Phase_PHASE_RUNNING, Number: 200, ClockNs: int64(3 * time.Hour),
		Worlds: []*musterv1.WorldView{
			{
				World: "crowd", Generation: 3, Spec: &musterv1.WorldSpec{World: "crowd", Shape: &musterv1.Shape{Open: true}},
				Condition: &musterv1.Condition{Status: musterv1.Status_STATUS_AWAITING_CREATION, SinceNs: int64(3*time.Hour - 5*time.Second)}, Joined: 2, Healthy: 2,
			},
			{
				World: "train", Generation: 7, LabelRevision: 150, Labels: []*musterv1.Label{{Key: "team", Value: "vision"}},
				Spec: &musterv1.WorldSpec{World: "train", Shape: &musterv1.Shape{Dims: []uint32{2, 3}}, ProcsPerHost: 8},
				Condition: &musterv1.Condition{
					Status: musterv1.Status_STATUS_UNHEALTHY, SinceNs: int64(time.Hour), SinceUnixMs: 1_700_000_000_000, Reason: "ranks 3-5 have not joined",
				},
				Wanted: 6, Joined: 3, Healthy: 1,
				Timeouts: &musterv1.Timeouts{ReportIntervalNs: 2e9, LeaseNs: 10e9, StartNs: 600e9, EvictionNs: -1, DeliveryNs: 10e9, ProcTimeoutNs: 30e9},
				Procs:    []*musterv1.ProcView{worker(0, musterv1.Health_HEALTH_ALIVE), expired, sick, host},
			},
		},
	}
}

func exampleStatus() *musterv1.StatusResponse {
	return &musterv1.StatusResponse{
		ClusterId: "c0ffee", Leader: &musterv1.LeaderHint{Node: "n2", Address: "127.0.0.1:7382", Epoch: 100, RaftTerm: 5},
		Nodes: []*musterv1.NodeStatus{
			{
				Name: "n1", Address: "127.0.0.1:7381", Role: musterv1.NodeStatus_NODE_ROLE_FOLLOWER, RaftTerm: 5, AppliedIndex: 41, Number: 200,
				LastContactMs: 12, Version: "dev", Digest: "0123456789abcdef0123", FlagsDiffer: []string{"--lease"}, Sessions: 0,
			},
			{
				Name: "n2", Address: "127.0.0.1:7382", Role: musterv1.NodeStatus_NODE_ROLE_LEADER, RaftTerm: 5, AppliedIndex: 41, Number: 200,
				Version: "dev", Digest: "0123456789abcdef0123", TermPublished: true, Sessions: 6,
			},
			{Name: "n3", Address: "127.0.0.1:7383", LastContactMs: -1, Problem: "cannot be asked: connection refused"},
		},
		State: &musterv1.StateStatus{
			ExecutionId: "e1", Phase: musterv1.Phase_PHASE_RUNNING, Epoch: 100, Number: 200, ClockNs: 5e9, Worlds: 2, Procs: 4, Unhealthy: 2, EndedWorlds: 1, Restoring: true, MachineVersion: 3,
		},
		Alarms: []string{"node n3 cannot be reached", "a restore is staged: nothing expires until it ends"},
	}
}

// What people and programs see, held against files. Run with -update to write them anew.
func TestPrinter_Goldens(t *testing.T) {
	view := exampleView()
	train := view.GetWorlds()[1]
	for name, print := range map[string]func(printer) error{
		"world_list": func(p printer) error { return worldTable(p, view) },
		"world_get":  func(p printer) error { return worldDetails(p, view, train) },
		"ps":         func(p printer) error { return procTable(p, train, true) },
		"view":       func(p printer) error { return viewTables(p, view) },
		"ps_program": func(p printer) error { return procTable(p, exampleProgram(), true) },
		"world_get_program": func(p printer) error {
			return worldDetails(p, view, exampleProgram())
		},
		"stop_outcome": func(p printer) error { return outcomeTable(p, exampleStop()) },
		"status":       func(p printer) error { return statusTables(p, exampleStatus()) },
		"status_none":  func(p printer) error { return statusTables(p, &musterv1.StatusResponse{}) },
		"view.json": func(p printer) error {
			p.json = true
			return p.message(view, func() error { panic("a table was asked for") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, print(printer{out: &out}))
			golden := filepath.Join("testdata", "golden", name)
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
				require.NoError(t, os.WriteFile(golden, out.Bytes(), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), out.String())
		})
	}
}

func TestStatusText(t *testing.T) {
	world := exampleView().GetWorlds()[1]
	require.Equal(t, "Starting (3/6 joined)", statusText(world))
	live := proto.CloneOf(world)
	live.Condition.WasLive = true
	require.Equal(t, "Unhealthy", statusText(live))
	world.Wanted = 0
	require.Equal(t, "Starting (3 joined)", statusText(world))
}

func TestMissing(t *testing.T) {
	world := &musterv1.WorldView{Wanted: 10, Procs: []*musterv1.ProcView{
		worker(7, 0), worker(2, 0), worker(0, 0), worker(3, 0),
	}}
	require.Equal(t, []string{"1", "4-6", "8-9"}, missing(world))
	require.Equal(t, []string{"0-9"}, missing(&musterv1.WorldView{Wanted: 10}))
	require.Empty(t, missing(&musterv1.WorldView{}))
	require.Empty(t, missing(&musterv1.WorldView{Wanted: 1, Procs: []*musterv1.ProcView{worker(0, 0), worker(5, 0)}}))
}

func TestAgeText(t *testing.T) {
	for age, text := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 1234 * time.Millisecond: "1.2s", 75*time.Second + 300*time.Millisecond: "1m15s",
		26*time.Hour + 90*time.Second: "26h2m", 100 * time.Millisecond: "100ms",
	} {
		require.Equal(t, text, ageText(int64(age)), age)
	}
}
