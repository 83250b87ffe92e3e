package fsm_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// restoring is a cluster with a state file of itself.
type restoring struct {
	*fsmtest.Machine
	records [][]byte
	header  *musterv1.SnapshotHeader
	trailer *musterv1.SnapshotTrailer
	ids     int
}

func (r *restoring) join(t *testing.T, world string, rank uint32) *musterv1.ProcRef {
	t.Helper()
	r.ids++
	out := r.Apply(&musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
		World: world, Role: musterv1.Role_ROLE_WORKER, Rank: rank, Key: "k", Nonce: []byte(fmt.Sprintf("%16d", r.ids)), Issued: r.State.Number(),
	}}})
	require.NotNil(t, out[0].GetJoin(), "%v", out[0])
	return out[0].GetJoin().Proc
}

// newRestoring has w[0], silent for 8 s, in its file; then w[1] joined.
func newRestoring(t *testing.T) *restoring {
	r := &restoring{Machine: fsmtest.NewMachine()}
	r.Start(nil)
	r.join(t, "w", 0)
	r.ClockNs = int64(8 * time.Second)
	r.Apply(&musterv1.Command{Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}})
	file, err := fsmtest.Encode(r.State)
	require.NoError(t, err)
	r.records, r.header, r.trailer = fsmtest.Records(file)
	r.join(t, "w", 1)
	return r
}

func (r *restoring) begin(id string, adopt bool) *musterv1.Outcome {
	return r.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreBegin{RestoreBegin: &musterv1.RestoreBegin{
		Meta: &musterv1.RequestMeta{Id: []byte(fmt.Sprintf("%16s", id)), Issued: r.State.Number()}, RestoreId: []byte(id), Header: r.header,
		UnixMicros: 1, Adopt: adopt,
	}}})[0]
}

func (r *restoring) chunk(id string, seq uint64, records [][]byte) *musterv1.Outcome {
	return r.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreChunk{RestoreChunk: &musterv1.RestoreChunk{
		RestoreId: []byte(id), Seq: seq, Records: records,
	}}})[0]
}

func (r *restoring) commit(id string) *musterv1.Outcome {
	return r.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreCommit{RestoreCommit: &musterv1.RestoreCommit{
		RestoreId: []byte(id), Trailer: r.trailer,
	}}})[0]
}

func (r *restoring) procs() int {
	return int(r.State.Status().Procs)
}

// TestRestore_TakesEffect: the file's state is there, with a number and an epoch beyond all that were given, a clock that did not go
// back, one lease for everybody, and an answer that is remembered.
func TestRestore_TakesEffect(t *testing.T) {
	r := newRestoring(t)
	r.ClockNs = int64(20 * time.Second)
	before := r.State.Number()
	require.Nil(t, r.begin("a", false).Body)
	require.Nil(t, r.chunk("a", 1, r.records).Body)
	out := r.commit("a").GetRestore()
	require.NotNil(t, out)
	require.Equal(t, uint32(1), out.Procs)
	require.Equal(t, 1, r.procs())
	require.Greater(t, r.State.Epoch(), before)
	require.Equal(t, out.Number, r.State.Epoch())
	require.NoError(t, r.State.Check())

	require.GreaterOrEqual(t, r.State.ClockNs(), int64(20*time.Second))
	proc := r.State.Supervision("w", true).Answer().Procs[0]
	require.Zero(t, proc.ReportAgeNs, "one lease, though it had been silent for 8 s")

	r.Start(nil)
	require.Equal(t, out.Number, r.begin("a", false).GetRestore().GetNumber(), "the same request: the same answer")
	require.False(t, r.State.Restoring())
	require.Equal(t, musterv1.Reason_REASON_REQUEST_TOO_OLD, r.Apply(&musterv1.Command{Body: &musterv1.Command_Stop{Stop: &musterv1.StopRequest{
		Meta: &musterv1.RequestMeta{Id: []byte("from another life"), Issued: before}, Worlds: []string{"w"},
	}}})[0].GetRefusal().GetReason(), "requests of before the restore are of another epoch")
}

// TestRestore_Refused: what does not fit changes nothing.
func TestRestore_Refused(t *testing.T) {
	for name, attempt := range map[string]func(r *restoring) *musterv1.Outcome{
		"a piece is missing": func(r *restoring) *musterv1.Outcome {
			r.begin("a", false)
			r.chunk("a", 1, r.records[:1])
			return r.commit("a")
		},
		"a piece out of order": func(r *restoring) *musterv1.Outcome {
			r.begin("a", false)
			return r.chunk("a", 2, r.records)
		},
		"records out of order": func(r *restoring) *musterv1.Outcome {
			r.begin("a", false)
			return r.chunk("a", 1, [][]byte{r.records[1], r.records[0]})
		},
		"a piece of another restore": func(r *restoring) *musterv1.Outcome {
			r.begin("a", false)
			return r.chunk("b", 1, r.records)
		},
		"a leader change in it": func(r *restoring) *musterv1.Outcome {
			r.begin("a", false)
			r.chunk("a", 1, r.records)
			r.Start(nil)
			return r.commit("a")
		},
		"a pause in it": func(r *restoring) *musterv1.Outcome {
			r.begin("a", false)
			r.chunk("a", 1, r.records)
			r.ClockNs += int64(11 * time.Second)
			return r.commit("a")
		},
		"given up": func(r *restoring) *musterv1.Outcome {
			r.begin("a", false)
			r.chunk("a", 1, r.records)
			r.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreAbort{RestoreAbort: &musterv1.RestoreAbort{RestoreId: []byte("a")}}})
			return r.commit("a")
		},
		"another cluster's": func(r *restoring) *musterv1.Outcome {
			r.header.ClusterId = "another"
			return r.begin("a", false)
		},
		"a header of another cluster's records": func(r *restoring) *musterv1.Outcome {
			r.header.ClusterId = "another"
			r.begin("a", true)
			r.chunk("a", 1, r.records)
			return r.commit("a")
		},
		"a header that is not the records'": func(r *restoring) *musterv1.Outcome {
			r.header.Number++
			r.begin("a", false)
			r.chunk("a", 1, r.records)
			return r.commit("a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRestoring(t)
			epoch := r.State.Epoch()
			require.Equal(t, musterv1.Reason_REASON_BAD_STATE_FILE, attempt(r).GetRefusal().GetReason())
			require.Equal(t, 2, r.procs())
			require.Equal(t, epoch, r.State.Epoch())
			require.False(t, r.State.Restoring() && name != "a piece of another restore")
		})
	}
}

// TestRestore_Adopt: a file of another cluster is taken if the operator insists; the cluster keeps its id.
func TestRestore_Adopt(t *testing.T) {
	r := newRestoring(t)
	r.header.ClusterId = "another"
	core := &musterv1.Record{}
	require.NoError(t, proto.Unmarshal(r.records[0], core))
	core.GetCore().ClusterId = "another"
	var err error
	r.records[0], err = proto.MarshalOptions{Deterministic: true}.Marshal(core)
	require.NoError(t, err)
	sum := sha256.New()
	for _, body := range r.records {
		sum.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(body))))
		sum.Write(body)
	}
	r.trailer.Sum = sum.Sum(nil)
	require.Nil(t, r.begin("a", true).Body)
	require.Nil(t, r.chunk("a", 1, r.records).Body)
	require.NotNil(t, r.commit("a").GetRestore())
	require.Equal(t, "c1", r.State.ClusterID())
}

// TestRestore_Meanwhile: while a restore is staged, reports are applied, nobody expires, everything else is refused, and no snapshot
// is taken.
func TestRestore_Meanwhile(t *testing.T) {
	r := newRestoring(t)
	r.begin("a", false)
	out := r.Apply(&musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{World: "w", Rank: 3, Key: "k"}}})
	require.Equal(t, musterv1.Reason_REASON_RESTORING, out[0].GetRefusal().GetReason())
	_, err := r.State.Freeze()
	require.ErrorIs(t, err, fsm.ErrRestoreStaged)
	r.ClockNs += int64(9 * time.Second)
	expire, _, _ := r.State.Observe(collect(r.State, r.ClockNs))
	require.NotEmpty(t, expire.Procs)
	r.Apply(&musterv1.Command{Body: &musterv1.Command_Expire{Expire: expire}})
	require.Zero(t, r.State.Status().Unhealthy)
}

func collect(s *fsm.State, now int64) []fsm.Timer {
	var out []fsm.Timer
	for t := range s.Timers() {
		if t.AtNs < now {
			out = append(out, t)
		}
	}
	return out
}

// TestRestore_WhatStandsBehindItIsDropped: commands that were sealed in the entry of a restore, behind it, were meant for the state before.
func TestRestore_WhatStandsBehindItIsDropped(t *testing.T) {
	r := newRestoring(t)
	r.begin("a", false)
	r.chunk("a", 1, r.records)
	out := r.Apply(
		&musterv1.Command{Body: &musterv1.Command_RestoreCommit{RestoreCommit: &musterv1.RestoreCommit{RestoreId: []byte("a"), Trailer: r.trailer}}},
		&musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{World: "ghost", Role: musterv1.Role_ROLE_WORKER, Issued: 1 << 62}}},
	)
	require.NotNil(t, out[0].GetRestore())
	require.Equal(t, musterv1.Reason_REASON_DROPPED, out[1].GetRefusal().GetReason())
	require.Equal(t, 1, r.procs())
}

// TestRestore_JoinFromBeforeIsStale: a delayed copy of a join that was issued before the restore does not act behind it.
func TestRestore_JoinFromBeforeIsStale(t *testing.T) {
	r := newRestoring(t)
	before := r.State.Number()
	r.begin("a", false)
	r.chunk("a", 1, r.records)
	require.NotNil(t, r.commit("a").GetRestore())
	r.Start(nil)
	for _, mode := range []musterv1.Mode{musterv1.Mode_MODE_MANAGED_BY_SYSTEM, musterv1.Mode_MODE_DETACHED} {
		late := &musterv1.JoinRequest{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: 2, Mode: mode, Nonce: make([]byte, 16), Issued: before}
		out := r.Apply(&musterv1.Command{Body: &musterv1.Command_Join{Join: late}})
		require.Equal(t, musterv1.Reason_REASON_STALE, out[0].GetRefusal().GetReason())
	}
}

// TestRestore_CheckedAhead: empty pieces behind the last have all of the file checked before it is committed, so that the commit walks over
// no members. What they find is told then, and what comes behind them has all checked again.
func TestRestore_CheckedAhead(t *testing.T) {
	for _, stopping := range []bool{false, true} {
		t.Run(fmt.Sprintf("stopping %t", stopping), func(t *testing.T) { restoreCheckedAhead(t, stopping) })
	}
}

// TestRestoreSteps: they are enough where every stage has next to nothing to do.
func TestRestoreSteps(t *testing.T) {
	r := newRestoring(t)
	require.Nil(t, r.begin("a", false).Body)
	require.Nil(t, r.chunk("a", 1, r.records).Body)
	for i := range fsm.RestoreSteps(r.trailer.Count) {
		require.Nil(t, r.chunk("a", uint64(2+i), nil).Body)
	}
	require.Zero(t, r.State.Unchecked())
}

func restoreCheckedAhead(t *testing.T, stopping bool) {
	const procs = 25_000 // more than two steps
	r := &restoring{Machine: fsmtest.NewMachine()}
	joinMany(r.Machine, procs)
	if stopping {
		var worlds []string
		for i := range manyWorlds {
			worlds = append(worlds, fmt.Sprintf("world-%02d", i))
		}
		out := r.Apply(&musterv1.Command{Body: &musterv1.Command_Stop{Stop: &musterv1.StopRequest{Meta: r.meta(), Worlds: worlds}}})
		require.Nil(t, out[0].GetRefusal())
		require.Equal(t, procs, r.State.PendingOrders())
	}
	file, err := fsmtest.Encode(r.State)
	require.NoError(t, err)
	r.records, r.header, r.trailer = fsmtest.Records(file)
	stage := func(name string, empty int) {
		require.Nil(t, r.begin(name, false).Body)
		for i, records := range [][][]byte{r.records[:1000], nil, nil, r.records[1000:]} {
			require.Nil(t, r.chunk(name, uint64(1+i), records).Body)
		}
		require.Equal(t, -1, r.State.Unchecked(), "more has come")
		for i := range empty {
			require.Nil(t, r.chunk(name, uint64(5+i), nil).Body)
		}
	}
	enough := fsm.RestoreSteps(r.trailer.Count)
	for _, empty := range []int{0, 2, enough} {
		name := fmt.Sprintf("with %d", empty)
		stage(name, empty)
		require.Equal(t, empty == enough, r.State.Unchecked() == 0)
		out := r.commit(name)
		require.EqualValues(t, procs, out.GetRestore().GetProcs(), "%v", out)
		require.NoError(t, r.State.Check())
	}

	last := &musterv1.Record{}
	for i := len(r.records) - 1; last.GetProc() == nil; i-- {
		require.NoError(t, proto.Unmarshal(r.records[i], last))
		if last.GetProc() != nil {
			last.GetProc().Proc.Incarnation = 1
			r.records[i], err = proto.Marshal(last)
			require.NoError(t, err)
		}
	}
	_, _, r.trailer = fsmtest.Records(fsmtest.File(r.records))
	for _, empty := range []int{0, enough} {
		name := fmt.Sprintf("wrong, with %d", empty)
		stage(name, empty)
		refusal := r.commit(name).GetRefusal()
		require.Equal(t, musterv1.Reason_REASON_BAD_STATE_FILE, refusal.GetReason())
		require.Contains(t, refusal.GetMessage(), "has incarnation 1, its world was made at")
	}
}
