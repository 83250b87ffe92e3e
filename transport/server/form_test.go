package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

// A form is a request that passes, changed in one thing; field "" means that it passes still.
type form[T any] struct {
	name   string
	change func(T)
	field  string
	says   string
}

func checkForms[T any](t *testing.T, good func() T, check func(T) error, forms []form[T]) {
	t.Helper()
	require.NoError(t, check(good()))
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			q := good()
			f.change(q)
			err := check(q)
			if f.field == "" {
				require.NoError(t, err)
				return
			}
			refusal := rpcstatus.Refusal(err)
			require.Equal(t, musterv1.Reason_REASON_INVALID, refusal.GetReason())
			require.Equal(t, f.field, refusal.GetField())
			require.Contains(t, refusal.GetMessage(), f.says)
			require.LessOrEqual(t, len(refusal.GetMessage()), 1024)
		})
	}
}

func goodMeta() *musterv1.RequestMeta { return &musterv1.RequestMeta{Id: make([]byte, idLength)} }

func goodProgram() *musterv1.UpsertWorldRequest {
	return &musterv1.UpsertWorldRequest{Meta: goodMeta(), Spec: &musterv1.WorldSpec{
		World: "w", ProcsPerHost: 8, Shape: &musterv1.Shape{Dims: []uint32{4, 8}},
		Exec: &musterv1.Exec{
			Program: "python3", Args: []string{"train.py", "", "--lr", "0.1"}, WorkingDirectory: "/srv/train",
			Variables: []*musterv1.Label{{Key: "A", Value: "1"}, {Key: "_b2", Value: ""}}, MasterPort: 29500, DevicesPerProc: 1,
		},
	}}
}

func variables(size int) []*musterv1.Label {
	return []*musterv1.Label{{Key: "V", Value: strings.Repeat("v", size-1)}}
}

func TestForm_Exec(t *testing.T) {
	type exec = *musterv1.Exec
	var forms []form[*musterv1.UpsertWorldRequest]
	for _, c := range []struct {
		name   string
		change func(exec)
		field  string
		says   string
	}{
		{"only a program", func(e exec) { *e = musterv1.Exec{Program: "p"} }, "", ""},
		{"no program", func(e exec) { e.Program = "" }, "spec.exec.program", "is empty"},
		{"a program's longest name", func(e exec) { e.Program = strings.Repeat("p", 4096) }, "", ""},
		{"a program's name too long", func(e exec) { e.Program = strings.Repeat("p", 4097) }, "spec.exec.program", "at most 4096"},
		{"NUL in the program", func(e exec) { e.Program = "p\x00" }, "spec.exec.program", "NUL"},
		{"1,000 arguments", func(e exec) { e.Args = make([]string, 1000) }, "", ""},
		{"1,001 arguments", func(e exec) { e.Args = make([]string, 1001) }, "spec.exec.args", "at most 1000"},
		{"NUL in an argument", func(e exec) { e.Args[2] = "\x00" }, "spec.exec.args", "argument 3"},
		{"64 KiB", func(e exec) { e.Args, e.Variables = []string{strings.Repeat("a", 32<<10)}, variables(32<<10) }, "", ""},
		{"over 64 KiB", func(e exec) {
			e.Args, e.Variables = []string{strings.Repeat("a", 32<<10)}, variables(32<<10+1)
		}, "spec.exec.args", "at most 65536"},
		{"a name with a digit first", func(e exec) { e.Variables[0].Key = "1A" }, "spec.exec.variables", `"1A"`},
		{"a name with =", func(e exec) { e.Variables[0].Key = "A=" }, "spec.exec.variables", "letter or _"},
		{"no name", func(e exec) { e.Variables[0].Key = "" }, "spec.exec.variables", "letter or _"},
		{"a name with a newline", func(e exec) { e.Variables[0].Key = "A\n" }, "spec.exec.variables", "letter or _"},
		{"a name in other letters", func(e exec) { e.Variables[0].Key = "É" }, "spec.exec.variables", "letter or _"},
		{"a very long bad name", func(e exec) { e.Variables[0].Key = strings.Repeat("-", 4000) }, "spec.exec.variables", "letter or _"},
		{"a name twice", func(e exec) { e.Variables = append(e.Variables, &musterv1.Label{Key: "A"}) }, "spec.exec.variables", "A is given twice"},
		{"NUL in a variable", func(e exec) { e.Variables[1].Value = "\x00" }, "spec.exec.variables", "_b2 holds a NUL"},
		{"agent's directory", func(e exec) { e.WorkingDirectory = "" }, "", ""},
		{"a relative directory", func(e exec) { e.WorkingDirectory = "srv" }, "spec.exec.working_directory", "begins with /"},
		{"NUL in the directory", func(e exec) { e.WorkingDirectory = "/\x00" }, "spec.exec.working_directory", "NUL"},
		{"a long directory", func(e exec) { e.WorkingDirectory = strings.Repeat("/", 4097) }, "spec.exec.working_directory", "at most 4096"},
		{"1,024 devices", func(e exec) { e.DevicesPerProc = 1024 }, "", ""},
		{"1,025 devices", func(e exec) { e.DevicesPerProc = 1025 }, "spec.exec.devices_per_proc", "at most 1024"},
		{"port 65535", func(e exec) { e.MasterPort = 65535 }, "", ""},
		{"port 65536", func(e exec) { e.MasterPort = 65536 }, "spec.exec.master_port", "at most 65535"},
		{"over 128 KiB in all", func(e exec) { e.Program = strings.Repeat("p", 128<<10) }, "request", "at most 131072"},
	} {
		forms = append(forms, form[*musterv1.UpsertWorldRequest]{c.name, func(q *musterv1.UpsertWorldRequest) { c.change(q.Spec.Exec) }, c.field, c.says})
	}
	forms = append(forms,
		form[*musterv1.UpsertWorldRequest]{"an open shape", func(q *musterv1.UpsertWorldRequest) {
			q.Spec.Shape, q.Spec.ProcsPerHost = &musterv1.Shape{Open: true}, 0
		}, "spec.shape", "a program needs dimensions"},
		form[*musterv1.UpsertWorldRequest]{"no procs per host", func(q *musterv1.UpsertWorldRequest) {
			q.Spec.ProcsPerHost = 0
		}, "spec.procs_per_host", "at least 1"},
	)
	checkForms(t, goodProgram, checkUpsert, forms)
}

// Variables are kept in one order, so that the same ones in another order are the same world.
func TestForm_VariablesAreSorted(t *testing.T) {
	q := goodProgram()
	q.Spec.Exec.Variables = []*musterv1.Label{{Key: "b"}, {Key: "a"}, {Key: "B"}}
	require.NoError(t, checkUpsert(q))
	require.Equal(t, "B a b", fmt.Sprintf("%s %s %s", q.Spec.Exec.Variables[0].Key, q.Spec.Exec.Variables[1].Key, q.Spec.Exec.Variables[2].Key))
}

func TestForm_Join(t *testing.T) {
	type q = *musterv1.JoinRequest
	worker := func() q {
		return &musterv1.JoinRequest{World: "w", Role: musterv1.Role_ROLE_WORKER, Key: "k", Nonce: make([]byte, idLength)}
	}
	checkForms(t, worker, checkJoin, []form[q]{
		{"no role", func(q q) { q.Role = 0 }, "", ""},
		{"claims its rank", func(q q) { q.Incarnation = 7 }, "", ""},
		{"for a program that its host runs", func(q q) { q.HeldOrder = 7 }, "", ""},
		{"any rank", func(q q) { q.AssignRank = true }, "assign_rank", "for hosts"},
		{"detached", func(q q) { q.Mode = musterv1.Mode_MODE_DETACHED }, "", ""},
		{"over 128 KiB in all", func(q q) { q.Machine = strings.Repeat("m", 128<<10) }, "request", "at most 131072"},
	})
	host := func() q {
		j := worker()
		j.Role, j.AssignRank = musterv1.Role_ROLE_HOST, true
		return j
	}
	checkForms(t, host, checkJoin, []form[q]{
		{"a rank of its own", func(q q) { q.AssignRank, q.Rank = false, 3 }, "", ""},
		{"again", func(q q) { q.Incarnation, q.Earlier = 7, make([]uint64, 256) }, "", ""},
		{"again and again", func(q q) { q.Incarnation, q.Earlier = 7, make([]uint64, 257) }, "earlier", "the last 256"},
		{"managed by the system", func(q q) { q.Mode = musterv1.Mode_MODE_MANAGED_BY_SYSTEM }, "", ""},
		{"managing the system", func(q q) { q.Mode = musterv1.Mode_MODE_MANAGING_SYSTEM }, "mode", "hosts are always managed"},
		{"detached", func(q q) { q.Mode = musterv1.Mode_MODE_DETACHED }, "mode", "hosts are always managed"},
		{"an order of a rank", func(q q) { q.HeldOrder = 7 }, "held_order", "not for the host"},
		{"rank 2^24", func(q q) { q.Rank = 1 << 24 }, "rank", "below 16777216"},
	})
}

func TestForm_Restart(t *testing.T) {
	type q = *musterv1.RestartRequest
	ascending := func(n int) (ranks []uint32) {
		for i := range n {
			ranks = append(ranks, uint32(i))
		}
		return ranks
	}
	good := func() q {
		return &musterv1.RestartRequest{Meta: goodMeta(), World: "w", Ranks: []uint32{0, 3, 1<<24 - 1}}
	}
	checkForms(t, good, checkRestart, []form[q]{
		{"those that failed", func(q q) { q.Ranks = nil }, "", ""},
		{"all", func(q q) { q.Ranks, q.All = nil, true }, "", ""},
		{"all and some", func(q q) { q.All = true }, "ranks", "exclude"},
		{"10,000", func(q q) { q.Ranks = ascending(10000) }, "", ""},
		{"10,001", func(q q) { q.Ranks = ascending(10001) }, "ranks", "at most 10000"},
		{"descending", func(q q) { q.Ranks = []uint32{3, 2} }, "ranks", "2 behind 3"},
		{"twice", func(q q) { q.Ranks = []uint32{3, 3} }, "ranks", "each once"},
		{"rank 2^24", func(q q) { q.Ranks = []uint32{1 << 24} }, "ranks", "below 16777216"},
		{"no world", func(q q) { q.World = "" }, "world", "1 to 63 runes"},
		{"no meta", func(q q) { q.Meta = nil }, "meta.id", "draw 16"},
	})
}

func TestForm_DeleteStartAndReads(t *testing.T) {
	checkForms(t, func() *musterv1.DeleteWorldRequest { return &musterv1.DeleteWorldRequest{Meta: goodMeta(), World: "w"} }, checkDelete,
		[]form[*musterv1.DeleteWorldRequest]{
			{"no world", func(q *musterv1.DeleteWorldRequest) { q.World = "" }, "world", "1 to 63 runes"},
			{"no meta", func(q *musterv1.DeleteWorldRequest) { q.Meta = nil }, "meta.id", "draw 16"},
		})
	checkForms(t, func() *musterv1.StartRequest { return &musterv1.StartRequest{Meta: goodMeta(), ExecutionId: "e-1"} }, checkStart,
		[]form[*musterv1.StartRequest]{
			{"64 bytes", func(q *musterv1.StartRequest) { q.ExecutionId = strings.Repeat("e", 64) }, "", ""},
			{"65 bytes", func(q *musterv1.StartRequest) { q.ExecutionId = strings.Repeat("e", 65) }, "execution_id", "1 to 64"},
			{"none", func(q *musterv1.StartRequest) { q.ExecutionId = "" }, "execution_id", "1 to 64"},
			{"not printable", func(q *musterv1.StartRequest) { q.ExecutionId = "e\x1b" }, "execution_id", "printable"},
			{"no meta", func(q *musterv1.StartRequest) { q.Meta = nil }, "meta.id", "draw 16"},
		})
	checkForms(t, func() *musterv1.ViewStopRequest { return &musterv1.ViewStopRequest{Operation: 1, Skip: 1000} }, checkViewStop,
		[]form[*musterv1.ViewStopRequest]{
			{"no operation", func(q *musterv1.ViewStopRequest) { q.Operation = 0 }, "operation", "is 0"},
		})
	checkForms(t, func() *musterv1.ExplainRequest { return &musterv1.ExplainRequest{World: "w", Rank: 3, OneRank: true} }, checkExplain,
		[]form[*musterv1.ExplainRequest]{
			{"a host", func(q *musterv1.ExplainRequest) { q.Role = musterv1.Role_ROLE_HOST }, "", ""},
			{"an unknown role", func(q *musterv1.ExplainRequest) { q.Role = 9 }, "role", "no such role"},
			{"rank 2^24", func(q *musterv1.ExplainRequest) { q.Rank = 1 << 24 }, "rank", "below 16777216"},
			{"no world", func(q *musterv1.ExplainRequest) { q.World = "" }, "world", "1 to 63 runes"},
		})
}
