package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

func ranked(rank uint32, health musterv1.Health, machine string, assignment *musterv1.Assignment) *musterv1.ProcView {
	proc := worker(rank, health)
	proc.Address, proc.Machine, proc.Assignment = "", machine, assignment
	return proc
}

func exampleCause() *musterv1.Cause {
	return &musterv1.Cause{
		Rank: 3, Machine: "node-b", AtNs: int64(3*time.Hour - 41*time.Second),
		Text: "rank 3 on node-b exited with code 17: ValueError: \x1b[31mno data",
		Exit: &musterv1.Exit{Code: 17, LastLines: "Traceback (most recent call last):\n\n  File \"train.py\", line 3\r\nValueError: \x1b[31mno data\n"},
	}
}

// exampleProgram is world train of five ranks that hosts run, in all states, stopped by the failure of one.
func exampleProgram() *musterv1.WorldView {
	const (
		alive, failed = musterv1.Health_HEALTH_ALIVE, musterv1.Health_HEALTH_FAILED
		none          = musterv1.Health_HEALTH_UNSPECIFIED
	)
	killed := ranked(4, failed, "node-b", &musterv1.Assignment{State: musterv1.Assignment_STATE_ENDED, Order: 1767, Exit: &musterv1.Exit{Signal: 9}})
	killed.Cause = "was ended by SIGKILL"
	exited := ranked(3, failed, "node-b", &musterv1.Assignment{State: musterv1.Assignment_STATE_ENDED, Order: 1766, Exit: exampleCause().GetExit()})
	exited.Cause = "exited with code 17: ValueError: \x1b[31mno data"
	host := ranked(0, alive, "node-a", nil)
	host.Proc.Role = musterv1.Role_ROLE_HOST
	return &musterv1.WorldView{
		World: "train", Generation: 7, Wanted: 7, Joined: 4, Healthy: 1, Stop: 1770,
		Spec: &musterv1.WorldSpec{
			World: "train", Shape: &musterv1.Shape{Dims: []uint32{7}}, ProcsPerHost: 3,
			Exec: &musterv1.Exec{
				Program: "python3", Args: []string{"train.py", "--note", "it's new", ""}, Variables: []*musterv1.Label{{Key: "LR", Value: "0.1"}},
				WorkingDirectory: "/srv/train", DevicesPerProc: 2, ReadyJoin: true,
			},
		},
		Condition: &musterv1.Condition{
			Status: musterv1.Status_STATUS_STOPPING, SinceNs: int64(3*time.Hour - 41*time.Second), SinceUnixMs: 1_795_400_045_000,
			Reason: "rank 3 on node-b exited with code 17: ValueError: no data", WasLive: true,
		},
		Timeouts:   &musterv1.Timeouts{ReportIntervalNs: 2e9, LeaseNs: 10e9, StartNs: 600e9, EvictionNs: 300e9, DeliveryNs: 10e9, ProcTimeoutNs: 30e9},
		FirstCause: exampleCause(), MasterAddress: "node-a", MasterPort: 29500,
		Procs: []*musterv1.ProcView{
			ranked(0, none, "node-a", &musterv1.Assignment{State: musterv1.Assignment_STATE_ASSIGNED}),
			ranked(1, none, "node-a", &musterv1.Assignment{State: musterv1.Assignment_STATE_ACCEPTED, Order: 1764}),
			ranked(2, alive, "node-a", &musterv1.Assignment{State: musterv1.Assignment_STATE_STARTED, Order: 1765}),
			exited, killed, host,
		},
	}
}

// endedView is world train after its end.
func endedView(status musterv1.Status) *musterv1.ViewResponse {
	world := exampleProgram()
	world.Procs, world.Joined, world.Healthy, world.Condition.Status = nil, 0, 0, status
	if status == musterv1.Status_STATUS_COMPLETED {
		world.FirstCause, world.Condition.Reason, world.Stop = nil, "", 0
	}
	return &musterv1.ViewResponse{ExecutionId: "e1", Phase: musterv1.Phase_PHASE_RUNNING, ClockNs: int64(3 * time.Hour), Worlds: []*musterv1.WorldView{world}}
}

func exampleStop() *musterv1.ViewStopResponse {
	host := worker(0, 0).GetProc()
	host.Role = musterv1.Role_ROLE_HOST
	return &musterv1.ViewStopResponse{Reason: "enough", Done: true, Total: 4, Targets: []*musterv1.StopOutcome{
		{Proc: worker(0, 0).GetProc(), Done: true, Outcome: "was ended by SIGTERM", Accepted: true},
		{Proc: worker(1, 0).GetProc(), Accepted: true},
		{Proc: worker(2, 0).GetProc()},
		{Proc: host, Done: true, Outcome: "did not answer in time"},
	}}
}

func TestRun_Program(t *testing.T) {
	f := &fake{}
	servers := "--servers=" + f.serve(t)
	code, _, errs := muster(t, servers, "world", "create", "train", "--procs", "4", "--env", "B=x=1", "--env", "A=", "--cwd", "/srv",
		"--ready", "join", "--devices", "2", "--master-port", "29500", "--", "python3", "train.py", "--procs", "7", "--", "x")
	require.Equal(t, exitDone, code, errs)
	spec := f.upserted.GetSpec()
	require.Equal(t, []uint32{4}, spec.GetShape().GetDims())
	require.Equal(t, "python3", spec.GetExec().GetProgram())
	require.Equal(t, []string{"train.py", "--procs", "7", "--", "x"}, spec.GetExec().GetArgs())
	require.Equal(t, "A=,B=x=1", labelsText(spec.GetExec().GetVariables()))
	require.Equal(t, "/srv", spec.GetExec().GetWorkingDirectory())
	require.True(t, spec.GetExec().GetReadyJoin())
	require.Equal(t, uint32(2), spec.GetExec().GetDevicesPerProc())
	require.Equal(t, uint32(29500), spec.GetExec().GetMasterPort())

	code, out, _ := muster(t, servers, "world", "restart", "train", "--ranks", "5-7,3,6")
	require.Equal(t, exitDone, code)
	require.Equal(t, "4 ranks of world train are restarted.\n", out)
	require.Equal(t, []uint32{3, 5, 6, 7}, f.restarted.GetRanks())
	code, out, _ = muster(t, servers, "world", "restart", "train")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "Nothing is restarted in world train")

	code, out, _ = muster(t, servers, "world", "delete", "train")
	require.Equal(t, exitDone, code)
	require.Equal(t, "World train is forgotten (generations: 2).\n", out)
	code, out, _ = muster(t, servers, "start")
	require.Equal(t, exitDone, code)
	require.Regexp(t, "^The system runs, as execution [0-9a-f]{16}\\.\n$", out)

	code, out, _ = muster(t, servers, "stop", "--all", "--wait")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "Everything is being stopped (operation 12).\n")
	require.Contains(t, out, "train[0]       was ended by SIGTERM\n")
	require.Contains(t, out, "Everything is stopped.\n")
	code, out, errs = muster(t, servers, "world", "stop", "train", "nowhere", "--wait")
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "nowhere  Unknown   -\n\nPROC ")
	require.Contains(t, errs, "there is no world nowhere")

	code, out, _ = muster(t, servers, "explain", "train")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "why: rank 3 on node-b exited with code 17\n  | Traceback")
	code, out, _ = muster(t, servers, "explain", "train", "-o", "json")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, `"firstCause": {`)
	code, _, errs = muster(t, servers, "explain", "nowhere")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "there is no world nowhere")
}

// What world wait prints, and what it exits with.
func TestRun_Wait(t *testing.T) {
	f := &fake{}
	servers := "--servers=" + f.serve(t)
	f.ended = musterv1.Status_STATUS_COMPLETED
	for _, until := range []string{"live", "completed", "ended"} {
		code, out, errs := muster(t, servers, "world", "wait", "train", "--for", until)
		require.Equal(t, exitDone, code, errs)
		require.Equal(t, "World train is Completed (generation 7).\n", out)
	}

	f.ended = musterv1.Status_STATUS_FAILED
	code, out, errs := muster(t, servers, "world", "wait", "train", "--for", "completed")
	require.Equal(t, exitFailed, code)
	require.Empty(t, out)
	require.Equal(t, `muster: world train (generation 7) will not be completed: it is Failed: rank 3 on node-b exited with code 17: ValueError: no data
  | Traceback (most recent call last):
  |
  |   File "train.py", line 3
  | ValueError:  [31mno data
`, errs)
	code, out, errs = muster(t, servers, "world", "wait", "train", "--for", "ended")
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, "World train is Failed (generation 7): rank 3 on node-b exited with code 17: ValueError: no data\n\nPROC ")
	code, out, _ = muster(t, servers, "world", "wait", "train", "--for", "live", "-o", "json")
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, `"status": "STATUS_FAILED"`)

	f.ended = 0 // train is starting
	code, _, errs = muster(t, servers, "world", "wait", "train", "--for", "live", "--timeout", "300ms")
	require.Equal(t, exitTimeout, code)
	require.Contains(t, errs, "world train is Starting (3/6 joined) and not live yet: ranks 3-5 have not joined; 'muster explain train' tells more")
	code, _, errs = muster(t, servers, "world", "wait", "train", "--for", "ended", "--generation", "6")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "there is no world train of generation 6")
	code, _, _ = muster(t, "world", "wait", "train", "--for", "live", "--servers", "127.0.0.1:1", "--timeout", "300ms")
	require.Equal(t, exitNoAnswer, code)
}

func TestHealthText(t *testing.T) {
	assigned := func(state musterv1.Assignment_State, exit *musterv1.Exit) *musterv1.Assignment {
		return &musterv1.Assignment{State: state, Exit: exit}
	}
	for want, proc := range map[string]*musterv1.ProcView{
		"":                 {},
		"Assigned":         {Assignment: assigned(musterv1.Assignment_STATE_ASSIGNED, nil)},
		"Started":          {Assignment: assigned(musterv1.Assignment_STATE_STARTED, nil)},
		"Alive":            {Health: musterv1.Health_HEALTH_ALIVE, Assignment: assigned(musterv1.Assignment_STATE_STARTED, nil)},
		"Completed":        {Health: musterv1.Health_HEALTH_COMPLETED, Assignment: assigned(musterv1.Assignment_STATE_ENDED, &musterv1.Exit{})},
		"Stopped":          {Health: musterv1.Health_HEALTH_STOPPED, Assignment: assigned(musterv1.Assignment_STATE_ENDED, &musterv1.Exit{Signal: 15})},
		"Failed":           {Health: musterv1.Health_HEALTH_FAILED, Assignment: assigned(musterv1.Assignment_STATE_ENDED, &musterv1.Exit{Failure: "lost"})},
		"Failed (17)":      {Health: musterv1.Health_HEALTH_FAILED, Assignment: assigned(musterv1.Assignment_STATE_ENDED, &musterv1.Exit{Code: 17})},
		"Failed (SIGKILL)": {Health: musterv1.Health_HEALTH_FAILED, Assignment: assigned(musterv1.Assignment_STATE_ENDED, &musterv1.Exit{Signal: 9})},
		"Expired (1)":      {Health: musterv1.Health_HEALTH_EXPIRED, Assignment: assigned(musterv1.Assignment_STATE_ENDED, &musterv1.Exit{Code: 1})},
	} {
		require.Equal(t, want, healthText(proc))
	}
}
