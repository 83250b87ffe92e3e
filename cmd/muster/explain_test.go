package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

const exampleClock = int64(3 * time.Hour)

func explained(world *musterv1.WorldView) *musterv1.ExplainResponse {
	world.Procs = nil
	return &musterv1.ExplainResponse{World: world, ClockNs: exampleClock, Number: 1800}
}

// exampleFailure explains a world that a rank's failure has ended.
func exampleFailure() *musterv1.ExplainResponse {
	r := explained(endedView(musterv1.Status_STATUS_FAILED).GetWorlds()[0])
	r.Events = []*musterv1.Event{
		{Kind: musterv1.Event_KIND_STARTED, ClockNs: exampleClock - int64(time.Hour), Ranks: id.AppendRuns(nil, []uint32{0, 1, 2}), Text: "on node-a"},
		{Kind: musterv1.Event_KIND_PROC_JOINED, ClockNs: exampleClock - int64(time.Hour), Role: musterv1.Role_ROLE_HOST, Ranks: id.AppendRuns(nil, []uint32{1})},
		{Kind: musterv1.Event_KIND_ENDED, ClockNs: exampleClock - 41e9, Ranks: id.AppendRuns(nil, []uint32{3}), Text: "on node-b: exited with code 17"},
		{Kind: musterv1.Event_KIND_WORLD_STATUS, ClockNs: exampleClock - 41e9, Status: musterv1.Status_STATUS_STOPPING, Text: "a rank\nfailed"},
		{Kind: musterv1.Event_KIND_STOP_BEGUN, ClockNs: exampleClock - 41e9, Text: "operation 1770: a rank failed"},
	}
	return r
}

// exampleStarting explains a world that waits for its hosts and has something to tell to one that is there.
func exampleStarting() *musterv1.ExplainResponse {
	world := exampleProgram()
	world.FirstCause, world.Wanted, world.Joined, world.Stop = nil, 16, 8, 0
	world.Condition = &musterv1.Condition{Status: musterv1.Status_STATUS_UNHEALTHY, SinceNs: exampleClock - 20e9, Reason: "starting"}
	r := explained(world)
	r.Missing, r.MissingCount = id.AppendRuns(nil, []uint32{8, 9, 10, 11, 12, 13, 14, 15}), 8
	r.MissingHosts, r.MissingHostCount = []uint32{1}, 1
	host := &musterv1.ProcRef{World: "train", Role: musterv1.Role_ROLE_HOST}
	r.Orders = []*musterv1.DueOrder{
		{Id: 1763, To: host, What: "start rank 4", AgeNs: 1.2e9}, {Id: 1764, To: host, What: "start rank 5", AgeNs: 1.2e9},
	}
	r.OrderCount = 5
	r.Next = []*musterv1.NextAction{
		{AtNs: exampleClock - 1, What: "what is due"}, {AtNs: exampleClock + 580e9, What: "it is stopped as evicted, unless it has become Live"},
	}
	r.Notes = []string{"nothing is started before all 2 hosts have joined"}
	return r
}

// exampleEvicted explains a world with another reason than its first cause, members that are not healthy, and hosts missing.
func exampleEvicted() *musterv1.ExplainResponse {
	program := exampleProgram()
	procs := program.GetProcs()
	r := explained(program)
	program.Condition.Reason = "evicted: Unhealthy for 5m0s"
	r.Procs = []*musterv1.ProcView{procs[1], procs[3], procs[4]}
	r.MissingHosts, r.MissingHostCount = []uint32{1, 2, 3, 7}, 30
	return r
}

// Run with -update to write the goldens anew.
func TestExplanation_Goldens(t *testing.T) {
	whole := &musterv1.ExplainRequest{World: "train"}
	rank := func(rank uint32) *musterv1.ExplainRequest {
		return &musterv1.ExplainRequest{World: "train", OneRank: true, Rank: rank, Role: musterv1.Role_ROLE_WORKER}
	}
	host := rank(0)
	host.Role = musterv1.Role_ROLE_HOST
	one := func(i int, change func(*musterv1.ProcView)) *musterv1.ExplainResponse {
		program := exampleProgram()
		proc := program.GetProcs()[i]
		if change != nil {
			change(proc)
		}
		r := explained(program)
		r.Procs = []*musterv1.ProcView{proc}
		return r
	}
	absent := exampleStarting()
	absent.Orders, absent.OrderCount, absent.Next = nil, 0, nil
	live := explained(&musterv1.WorldView{
		World: "train", Generation: 7, Condition: &musterv1.Condition{Status: musterv1.Status_STATUS_LIVE, SinceNs: exampleClock - 90e9, WasLive: true},
	})
	for name, c := range map[string]struct {
		req *musterv1.ExplainRequest
		r   *musterv1.ExplainResponse
	}{
		"failed": {whole, exampleFailure()}, "starting": {whole, exampleStarting()}, "evicted": {whole, exampleEvicted()}, "live": {whole, live},
		"rank_failed": {rank(3), one(3, nil)}, "rank_waiting": {rank(0), one(0, nil)}, "rank_absent": {rank(9), absent},
		"rank_ended_cause": {rank(3), exampleFailure()}, "rank_ended": {rank(4), exampleFailure()}, "host": {host, one(5, nil)},
		"rank_claimed": {rank(2), one(2, func(p *musterv1.ProcView) {
			p.Assignment.Claimed, p.Assignment.DueNs = true, exampleClock-60e9
			p.FailedActorCount, p.FailedActors = 1, []*musterv1.FailedActor{{Actor: "trainer", Pid: 4, Cause: "loss is NaN"}}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			got := explanation(c.req, c.r)
			golden := filepath.Join("testdata", "golden", "explain_"+name)
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func TestRunsText(t *testing.T) {
	var odd []uint32
	for rank := range uint32(100) {
		odd = append(odd, 2*rank+1)
	}
	require.Equal(t, "3, 5-7", runsText(id.AppendRuns(nil, []uint32{3, 5, 6, 7})))
	require.Equal(t, "1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, …", runsText(id.AppendRuns(nil, odd)))
	require.Empty(t, runsText([]byte{0xff}))
}
