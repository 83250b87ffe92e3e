package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/client"
	"muster/transport/rpcstatus"
)

// fake answers what the verbs ask, and remembers it.
type fake struct {
	musterv1grpc.UnimplementedSystemServiceServer
	musterv1grpc.UnimplementedClusterServiceServer
	upserted *musterv1.UpsertWorldRequest
	viewed   atomic.Pointer[musterv1.ViewRequest] // a call that was given up may still be answered beside the next
	restored []byte
	adopted  bool

	restarted *musterv1.RestartRequest
	// Not 0: who waits for a world sees that it has ended so.
	ended musterv1.Status
}

func (f *fake) UpsertWorld(_ context.Context, req *musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
	f.upserted = req
	if req.GetSpec().GetWorld() == "taken" {
		return nil, rpcstatus.New(musterv1.Reason_REASON_CONTRADICTS, "world taken exists and its shape is 2, not 3")
	}
	return &musterv1.UpsertWorldResponse{Generation: 4, Changed: true, Number: 9}, nil
}

func (f *fake) View(_ context.Context, req *musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
	f.viewed.Store(req)
	if f.ended != 0 && req.GetOmitProcs() {
		return endedView(f.ended), nil
	}
	view := exampleView()
	if len(req.GetWorlds()) == 1 && req.GetWorlds()[0] != "train" {
		view.Worlds = nil
	}
	return view, nil
}

func (f *fake) Stop(ctx context.Context, req *musterv1.StopRequest) (*musterv1.StopResponse, error) {
	if req.GetReason() == "hang" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	answer := &musterv1.StopResponse{Operation: 12, Number: 13}
	for _, world := range req.GetWorlds() {
		result := &musterv1.WorldStop{World: world, Result: musterv1.WorldStop_RESULT_STOPPING, Operation: 12}
		if world == "nowhere" {
			result = &musterv1.WorldStop{World: world, Result: musterv1.WorldStop_RESULT_UNKNOWN}
		}
		answer.Worlds = append(answer.Worlds, result)
	}
	return answer, nil
}

func (f *fake) Restart(_ context.Context, req *musterv1.RestartRequest) (*musterv1.RestartResponse, error) {
	f.restarted = req
	return &musterv1.RestartResponse{Ranks: uint32(len(req.GetRanks()))}, nil
}

func (f *fake) DeleteWorld(context.Context, *musterv1.DeleteWorldRequest) (*musterv1.DeleteWorldResponse, error) {
	return &musterv1.DeleteWorldResponse{Generations: 2}, nil
}

func (f *fake) Start(_ context.Context, req *musterv1.StartRequest) (*musterv1.StartResponse, error) {
	return &musterv1.StartResponse{ExecutionId: req.GetExecutionId()}, nil
}

func (f *fake) ViewStop(_ context.Context, req *musterv1.ViewStopRequest) (*musterv1.ViewStopResponse, error) {
	return exampleStop(), nil
}

func (f *fake) Explain(_ context.Context, req *musterv1.ExplainRequest) (*musterv1.ExplainResponse, error) {
	if req.GetWorld() != "train" {
		return nil, rpcstatus.New(musterv1.Reason_REASON_NOT_FOUND, "there is no world %s", req.GetWorld())
	}
	return exampleFailure(), nil
}

func (f *fake) Status(context.Context, *musterv1.StatusRequest) (*musterv1.StatusResponse, error) {
	status := exampleStatus()
	status.State.Settings = fsm.DefaultSettings()
	return status, nil
}

func (f *fake) FindLeader(context.Context, *musterv1.FindLeaderRequest) (*musterv1.FindLeaderResponse, error) {
	return &musterv1.FindLeaderResponse{}, nil
}

func (f *fake) SaveState(_ *musterv1.SaveStateRequest, stream grpc.ServerStreamingServer[musterv1.SaveStateResponse]) error {
	return stream.Send(&musterv1.SaveStateResponse{Data: []byte("MUSTER01 and so on")})
}

func (f *fake) RestoreState(stream grpc.ClientStreamingServer[musterv1.RestoreStateRequest, musterv1.RestoreStateResponse]) error {
	f.restored = nil
	for {
		piece, err := stream.Recv()
		if err != nil {
			return stream.SendAndClose(&musterv1.RestoreStateResponse{Number: 1000, Worlds: 2, Procs: 7})
		}
		f.adopted = f.adopted || piece.GetAdopt()
		f.restored = append(f.restored, piece.GetData()...)
	}
}

func (f *fake) History(_ context.Context, req *musterv1.HistoryRequest) (*musterv1.HistoryResponse, error) {
	return &musterv1.HistoryResponse{Generations: []*musterv1.HistoryResponse_Generation{{World: exampleView().GetWorlds()[1]}}}, nil
}

func (f *fake) Watch(_ *musterv1.WatchRequest, stream grpc.ServerStreamingServer[musterv1.WatchResponse]) error {
	err := stream.Send(&musterv1.WatchResponse{Number: 100, Events: []*musterv1.Event{{Number: 100, World: "train"}}})
	<-stream.Context().Done()
	return err
}

func (f *fake) Set(context.Context, *musterv1.SetRequest) (*musterv1.SetResponse, error) {
	return &musterv1.SetResponse{Settings: fsm.DefaultSettings()}, nil
}

func (f *fake) ReleaseAlarm(context.Context, *musterv1.ReleaseAlarmRequest) (*musterv1.ReleaseAlarmResponse, error) {
	return &musterv1.ReleaseAlarmResponse{Brake: &musterv1.Brake{State: musterv1.Brake_STATE_RELEASED, Silent: 6, Agents: 9}}, nil
}

func (f *fake) RejoinNode(_ context.Context, req *musterv1.RejoinNodeRequest) (*musterv1.RejoinNodeResponse, error) {
	return &musterv1.RejoinNodeResponse{RemovedServerId: req.GetNode() + "-00000001", ServerId: req.GetNode() + "-00000002"}, nil
}

func (f *fake) TransferLeader(_ context.Context, req *musterv1.TransferLeaderRequest) (*musterv1.TransferLeaderResponse, error) {
	return &musterv1.TransferLeaderResponse{From: "n1", To: req.GetNode()}, nil
}

// serve runs the fake on loopback until the test ends.
func (f *fake) serve(t *testing.T) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	musterv1grpc.RegisterSystemServiceServer(server, f)
	musterv1grpc.RegisterClusterServiceServer(server, f)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	return listener.Addr().String()
}

// muster runs the program.
func muster(t *testing.T, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, strings.NewReader("a file from standard input"), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestExitCode(t *testing.T) {
	require.Equal(t, exitDone, exitCode(nil))
	require.Equal(t, exitFailed, exitCode(errors.New("odd")))
	require.Equal(t, exitFailed, exitCode(context.Canceled))
	require.Equal(t, exitUsage, exitCode(fmt.Errorf("world: %w", usagef("bad id"))))
	require.Equal(t, exitTimeout, exitCode(fmt.Errorf("stop: %w", context.DeadlineExceeded)))
	require.Equal(t, exitNoAnswer, exitCode(errors.Join(context.DeadlineExceeded, client.ErrNoAnswer)))
}

// What is wrong with the command line is told without asking anybody, and names what is wrong.
func TestRun_Usage(t *testing.T) {
	for line, told := range map[string]string{
		"frobnicate":                                        "unknown command \"frobnicate\"",
		"world frobnicate":                                  "unknown command \"frobnicate\"",
		"status --frobnicate":                               "unknown flag: --frobnicate",
		"status extra":                                      "unknown command \"extra\"",
		"status -o yaml":                                    "--output \"yaml\": give table or json",
		"status --timeout 0s":                               "--timeout 0s",
		"status --servers localhost":                        "--servers \"localhost\": give host:port",
		"status --servers ,":                                "--servers is empty",
		"world get":                                         "give one world (got 0 arguments)",
		"world get 9lives":                                  "9lives",
		"world create a":                                    "give exactly one of --procs, --shape and --open",
		"world create a --procs 2 --open":                   "give exactly one of",
		"world create a --procs 0":                          "--procs must be at least 1",
		"world create a --shape 2,x":                        "--shape \"2,x\"",
		"world create a --shape 2,0":                        "--shape \"2,0\"",
		"world create a --procs 2 --procs-per-host 0":       "--procs-per-host must be at least 1",
		"world create a --procs 2 --label x":                "--label \"x\": give key=value",
		"world create a --procs 2 --label x=1 --label x=2":  "the key \"x\" is given twice",
		"world create a --procs 2 --lease soon":             "give a duration above 0, such as 3s",
		"world create a --procs 2 --lease never":            "give a duration above 0, such as 3s",
		"world create a --procs 2 --on-failure cry":         "give stop or keep",
		"world create a b --procs 2":                        "a program goes behind --",
		"bench fleet --sessions 0":                          "give 1 session or more",
		"bench fleet --procs 3 --sessions 4":                "and each a proc or more",
		"bench fleet --procs 1000000 --sessions 10":         "give 16 sessions or more",
		"bench fleet --interval 20s --lease 30s":            "a lease of twice that or more",
		"bench fleet --die 1.01":                            "give a share from 0 to 1",
		"bench fleet --die -0.1":                            "give a share from 0 to 1",
		"bench fleet --die NaN":                             "give a share from 0 to 1",
		"bench fleet --duration 0s":                         "--duration 0s: give a duration above 0",
		"bench reads --callers 0":                           "--callers 0, --procs 1000: give 1 or more",
		"bench watch --watchers 0":                          "--watchers 0, --rate 100: give 1 or more",
		"bench watch --rate 100000 --duration 1m":           "that make 1 to 1048576 events",
		"bench state --procs 0":                             "--procs 0: give 1 or more",
		"bench state --connections 0":                       "--connections 0: give 1 or more",
		"world create a --procs 2 --":                       "give a program behind --",
		"world create a --procs 2 --env A=1":                "--env is for a program that hosts start: give it behind --",
		"world create a --procs 2 --cwd /x":                 "--cwd is for a program",
		"world create a --procs 2 --ready join":             "--ready is for a program",
		"world create a --procs 2 --devices 1":              "--devices is for a program",
		"world create a --procs 2 --master-port 1":          "--master-port is for a program",
		"world create a --procs 2 --master-port 65536 -- p": "\"65536\" for \"--master-port\"",
		"world create a --procs 2 --env A -- p":             "--env \"A\": give NAME=value",
		"world create a --procs 2 --env 1A=1 -- p":          "--env: the name \"1A\"",
		"world create a --procs 2 --env A=1 --env A=1 -- p": "--env: A is given twice",
		"world create a --procs 2 --cwd x -- p":             "--cwd \"x\"",
		"world create a --procs 2 --ready soon -- p":        "--ready \"soon\": give start or join",
		"world create a --open -- p":                        "a program needs --procs or --shape",
		"world create -- p":                                 "give one world",
		"world wait a":                                      "--for \"\": give live, completed or ended",
		"world wait a --for ever":                           "--for \"ever\"",
		"world wait a/b --for live":                         "a/b",
		"world delete":                                      "give one world",
		"world delete in/valid":                             "in/valid",
		"world restart":                                     "give one world",
		"world restart a --ranks 1 --all":                   "--ranks and --all exclude each other",
		"world restart a --ranks 1,x":                       "--ranks \"1,x\"",
		"world restart a --ranks 7-5":                       "--ranks \"7-5\"",
		"world restart a --ranks 16777216":                  "at most 16777215",
		"world restart a --ranks 0-10000":                   "more than 10000 ranks",
		"world stop a --proc-timeout -1s":                   "--proc-timeout -1s",
		"stop":                                              "'muster world stop WORLD'",
		"stop train":                                        "'muster world stop WORLD'",
		"stop --all train":                                  "'muster world stop WORLD'",
		"start train":                                       "unknown command \"train\"",
		"explain":                                           "give one world, world/rank or host:world/rank",
		"explain host:a":                                    "give the host's rank, such as host:a/0",
		"explain a/x":                                       "a/x",
		"world stop":                                        "give at least one world",
		"world stop ok in/valid":                            "in/valid",
		"ps a/b":                                            "a/b",
		"ps a/16777216":                                     "16777216",
		"state save":                                        "give one file, or -",
	} {
		t.Run(line, func(t *testing.T) {
			code, out, errs := muster(t, strings.Fields(line)...)
			require.Equal(t, exitUsage, code, errs)
			require.Empty(t, out)
			require.Contains(t, errs, told)
			require.Contains(t, errs, "--help'.")
		})
	}
}

func TestRun_NobodyAnswers(t *testing.T) {
	code, out, errs := muster(t, "status", "--servers", "127.0.0.1:1", "--timeout", "300ms")
	require.Equal(t, exitNoAnswer, code)
	require.Empty(t, out)
	require.Contains(t, errs, "no server answered")
	require.Contains(t, errs, "server 127.0.0.1:1: cannot connect: dial tcp 127.0.0.1:1: connect: connection refused")
	require.Contains(t, errs, "MUSTER_SERVERS")
}

func TestRun_Verbs(t *testing.T) {
	f := &fake{}
	servers := "--servers=" + f.serve(t)
	file := filepath.Join(t.TempDir(), "muster.state")

	code, out, _ := muster(t, servers, "world", "create", "train", "--shape", "2,3", "--label", "b=2", "--label", "a=1", "--eviction", "never", "--lease", "3s")
	require.Equal(t, exitDone, code)
	require.Equal(t, "World train is created (generation 4).\n", out)
	require.Equal(t, []uint32{2, 3}, f.upserted.GetSpec().GetShape().GetDims())
	require.Equal(t, uint32(8), f.upserted.GetSpec().GetProcsPerHost())
	require.Equal(t, int64(-1), f.upserted.GetSpec().GetTimeouts().GetEvictionNs())
	require.Equal(t, int64(3e9), f.upserted.GetSpec().GetTimeouts().GetLeaseNs())
	require.Equal(t, "a", f.upserted.GetLabels()[0].GetKey())

	code, _, errs := muster(t, servers, "world", "create", "taken", "--procs", "3")
	require.Equal(t, exitFailed, code)
	require.Equal(t, "muster: upsert world: world taken exists and its shape is 2, not 3\n", errs)
	require.Nil(t, f.upserted.GetSpec().GetTimeouts())

	code, _, errs = muster(t, servers, "world", "get", "nowhere")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "there is no world nowhere")

	code, out, errs = muster(t, servers, "world", "stop", "train", "nowhere")
	require.Equal(t, exitFailed, code)
	require.Equal(t, "WORLD    RESULT    OPERATION\ntrain    Stopping  12\nnowhere  Unknown   -\n", out)
	require.Contains(t, errs, "there is no world nowhere")

	code, _, errs = muster(t, servers, "world", "stop", "train", "--reason", "hang", "--timeout", "300ms")
	require.Equal(t, exitTimeout, code)
	require.Contains(t, errs, "may have been applied")

	code, out, _ = muster(t, servers, "ps", "train/1", "-o", "json")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, `"incarnation": "101"`)
	require.NotContains(t, out, `"incarnation": "100"`)
	code, _, errs = muster(t, servers, "ps", "train/4")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "train[4] has not joined")

	code, _, _ = muster(t, servers, "view", "--world", "train", "--label", "team=vision", "--ended", "--stale")
	require.Equal(t, exitDone, code)
	require.True(t, f.viewed.Load().GetStale() && f.viewed.Load().GetIncludeEnded())
	require.Equal(t, "vision", f.viewed.Load().GetWorldLabels()[0].GetValue())

	code, out, _ = muster(t, servers, "state", "save", file)
	require.Equal(t, exitDone, code)
	require.Equal(t, "Saved 18 bytes to "+file+".\n", out)
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, left, 1, "something was left beside the file")
	code, out, _ = muster(t, servers, "state", "save", "-")
	require.Equal(t, exitDone, code)
	require.Equal(t, "MUSTER01 and so on", out)

	code, out, _ = muster(t, servers, "state", "restore", file, "--adopt")
	require.Equal(t, exitDone, code)
	require.Equal(t, "Restored 2 worlds with 7 procs; the epoch is 1000.\n", out)
	require.True(t, f.adopted)
	require.Equal(t, "MUSTER01 and so on", string(f.restored))
	code, _, _ = muster(t, servers, "state", "restore", "-")
	require.Equal(t, exitDone, code)
	require.Equal(t, "a file from standard input", string(f.restored))
	code, _, errs = muster(t, servers, "state", "restore", file+".not")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "no such file")

	code, out, _ = muster(t, servers, "cluster", "rejoin", "n2")
	require.Equal(t, exitDone, code)
	require.Equal(t, "Node n2 is a voter as n2-00000002, in place of n2-00000001.\n", out)

	for node, says := range map[string]string{"n1": "Node n1 leads already.\n", "n2": "Node n2 leads, in place of n1.\n"} {
		code, out, _ = muster(t, servers, "cluster", "transfer-leader", node)
		require.Equal(t, exitDone, code)
		require.Equal(t, says, out)
	}
	code, out, _ = muster(t, servers, "cluster", "transfer-leader")
	require.Equal(t, exitDone, code)
	require.Equal(t, "Node n1 has handed leadership over; `muster status` tells to whom.\n", out)

	code, out, _ = muster(t, "version")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "muster dev (go1.")
}

// Every example of every help text is a command line that this binary understands. Those that run on this machine are understood
// and not run here.
func TestExamples_AreUnderstood(t *testing.T) {
	f := &fake{ended: musterv1.Status_STATUS_COMPLETED}
	address := f.serve(t)
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("muster.state", []byte("MUSTER01"), 0o600))
	for _, example := range examples(newRoot(&cli{})) {
		args := splitQuoted(example)[1:]
		end := slices.Index(args, "--") // behind it is a program's own
		if end < 0 {
			end = len(args)
		}
		if slices.Contains([]string{"bench", "dev", "server", "host", "run", "logs", "shim"}, args[0]) {
			cmd, rest, err := newRoot(&cli{}).Find(args)
			require.NoError(t, err)
			require.NoError(t, cmd.ParseFlags(rest), example)
			require.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), example)
			continue
		}
		if args[0] == "watch" {
			args = slices.Insert(args, end, "--timeout", "1s") // else until Ctrl-C
		}
		code, _, errs := muster(t, slices.Insert(args, end, "--servers", address)...)
		require.Equal(t, exitDone, code, "%s: %s", example, errs)
	}
}
