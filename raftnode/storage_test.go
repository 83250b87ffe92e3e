package raftnode_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"muster/raftnode"
)

func open(t *testing.T, dir, name string) *raftnode.Storage {
	t.Helper()
	s, err := raftnode.OpenStorage(dir, name, raftnode.Bolt)
	require.NoError(t, err)
	return s
}

func TestStorage_RefusesAnotherName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, open(t, dir, "n1").Close())
	_, err := raftnode.OpenStorage(dir, "n2", raftnode.Bolt)
	require.ErrorContains(t, err, "belongs to node n1, this node is n2")
	require.NoError(t, open(t, dir, "n1").Close())
}

func TestStorage_RefusesASecondProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "n1")
	defer s.Close()
	_, err := raftnode.OpenStorage(dir, "n1", raftnode.Bolt)
	require.ErrorContains(t, err, "held by another process")
}

func TestStorage_RefusesAHalfLostDirectory(t *testing.T) {
	for _, missing := range []string{"raft.db", "node.json"} {
		t.Run(missing, func(t *testing.T) {
			dirs := newDirs(t)
			c := dirs.cluster(t, 1)
			write(t, c, "kept")
			c.Close()
			require.NoError(t, os.Remove(filepath.Join(dirs.of("n1"), missing)))
			_, err := raftnode.OpenStorage(dirs.of("n1"), "n1", raftnode.Bolt)
			require.ErrorContains(t, err, "muster cluster rejoin n1")
		})
	}
}

func TestStorage_RefusesALogWithoutItsSnapshot(t *testing.T) {
	dirs := newDirs(t)
	dirs.snapshotBytes = 32 << 10
	c := dirs.cluster(t, 1)
	fill(t, c, 0)
	c.Close()
	require.NoError(t, os.RemoveAll(filepath.Join(dirs.of("n1"), "snapshots")))
	_, err := raftnode.OpenStorage(dirs.of("n1"), "n1", raftnode.Bolt)
	require.ErrorContains(t, err, "the state between is gone")
}

func TestStorage_RemovesUnfinishedSnapshots(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, open(t, dir, "n1").Close())
	leftover := filepath.Join(dir, "snapshots", "2-10-1.tmp")
	require.NoError(t, os.MkdirAll(leftover, 0o700))
	require.NoError(t, open(t, dir, "n1").Close())
	require.NoDirExists(t, leftover)
}

func TestStorage_DeletesLongPrefixes(t *testing.T) {
	s := open(t, t.TempDir(), "n1")
	defer s.Close()
	logs, _ := s.Stores()
	var batch []*raft.Log
	for i := uint64(1); i <= 5000; i++ {
		batch = append(batch, &raft.Log{Index: i, Term: 1})
	}
	require.NoError(t, logs.StoreLogs(batch))
	require.NoError(t, logs.DeleteRange(1, 4900))
	first, err := logs.FirstIndex()
	require.NoError(t, err)
	require.EqualValues(t, 4901, first)
	require.NoError(t, logs.DeleteRange(4950, 5000))
	last, err := logs.LastIndex()
	require.NoError(t, err)
	require.EqualValues(t, 4949, last)
	require.True(t, logs.(raft.MonotonicLogStore).IsMonotonic())
}

// A crash between the two writes of a vote leaves the new term with the old candidate. That candidate, whose log is short, then
// asks: it must not be taken for the one who was voted for.
func TestVote_HalfWritten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "n0")
	require.NoError(t, s.Join("feedfeedfeedfeed"))
	logs, stable := s.Stores()
	conf := raft.Configuration{Servers: []raft.Server{{ID: "n0", Address: "n0"}, {ID: "n1", Address: "n1"}, {ID: "n2", Address: "n2"}}}
	require.NoError(t, logs.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(conf)}))
	for i := uint64(2); i < 50; i++ { // committed without n1
		require.NoError(t, logs.StoreLog(&raft.Log{Index: i, Term: 4}))
	}
	require.NoError(t, stable.SetUint64([]byte("LastVoteTerm"), 4))
	require.NoError(t, stable.Set([]byte("LastVoteCand"), []byte("n1")))
	require.NoError(t, stable.SetUint64([]byte("CurrentTerm"), 5))
	require.NoError(t, stable.SetUint64([]byte("LastVoteTerm"), 5)) // the candidate, n2, is never written
	require.NoError(t, s.Close())

	s = open(t, dir, "n0")
	require.False(t, grants(t, s, "n1", 5))
	require.NoError(t, s.Close())
}

// A whole vote survives: the same candidate is granted it again, another is not.
func TestVote_IsKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "n0")
	require.NoError(t, s.Join("feedfeedfeedfeed"))
	_, stable := s.Stores()
	require.NoError(t, stable.SetUint64([]byte("CurrentTerm"), 5))
	require.NoError(t, stable.SetUint64([]byte("LastVoteTerm"), 5))
	require.NoError(t, stable.Set([]byte("LastVoteCand"), []byte("n1")))
	require.NoError(t, s.Close())
	for candidate, granted := range map[string]bool{"n1": true, "n2": false} {
		s = open(t, dir, "n0")
		require.Equal(t, granted, grants(t, s, candidate, 5))
		require.NoError(t, s.Close())
	}
}

// grants asks a node over the stores for its vote.
func grants(t *testing.T, s *raftnode.Storage, candidate string, term uint64) bool {
	t.Helper()
	logs, stable := s.Stores()
	address, trans := raft.NewInmemTransport("n0")
	_, caller := raft.NewInmemTransport(raft.ServerAddress(candidate))
	caller.Connect(address, trans)
	conf := raft.DefaultConfig()
	conf.LocalID = "n0"
	conf.HeartbeatTimeout, conf.ElectionTimeout = time.Minute, time.Minute
	conf.Logger = hclog.NewNullLogger()
	r, err := raft.NewRaft(conf, nothing{}, logs, stable, raft.NewInmemSnapshotStore(), trans)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Shutdown().Error()) }()
	req := &raft.RequestVoteRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte(candidate), Addr: []byte(candidate)},
		Term:      term, LastLogIndex: 1, LastLogTerm: 1,
	}
	var resp raft.RequestVoteResponse
	require.NoError(t, caller.RequestVote("n0", address, req, &resp))
	return resp.Granted
}

// nothing is a state machine for Rafts that apply nothing.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, io.EOF }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }
