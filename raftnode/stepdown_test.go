package raftnode_test

import (
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"muster/raftnode/raftnodetest"
)

// stepDown makes a leader follow, by a vote request of a later term from a server of its configuration.
func stepDown(t *testing.T, c *raftnodetest.Cluster, m *raftnodetest.Member) {
	t.Helper()
	s := m.Node.Status()
	trans := dialRaft(t, c, m)
	defer trans.Close()
	defer trans.CloseStreams()
	req := &raft.RequestVoteRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte(s.ServerID), Addr: []byte("elsewhere")},
		Term:      s.Term + 1, LastLogIndex: 1, LastLogTerm: 1, LeadershipTransfer: true,
	}
	var resp raft.RequestVoteResponse
	require.NoError(t, trans.RequestVote(raft.ServerID(s.ServerID), raft.ServerAddress(m.Address), req, &resp))
	require.False(t, resp.Granted)
}

// dialRaft speaks Raft to a member, as another node of its cluster would.
func dialRaft(t *testing.T, c *raftnodetest.Cluster, m *raftnodetest.Member) *raft.NetworkTransport {
	t.Helper()
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: &intruder{c: c, cluster: m.Node.Status().ClusterID, closed: make(chan struct{})}, MaxPool: 1, Timeout: time.Second,
		Logger: hclog.NewNullLogger(), MsgpackUseNewTimeFormat: true,
	})
}
