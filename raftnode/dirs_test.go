package raftnode_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/raftnode"
	"muster/raftnode/raftnodetest"
	"muster/transport/mux"
)

// dirs are the data directories of nodes with real files, on loopback TCP behind a mux, in real time.
type dirs struct {
	base          string
	addresses     map[string]string
	snapshotBytes int64
	logs          map[string]raftnode.LogStore // by node; Bolt where none is said
	configure     func(*raftnode.Config)
}

func newDirs(t testing.TB) *dirs { return &dirs{base: t.TempDir(), addresses: map[string]string{}} }

func (d *dirs) of(name string) string { return filepath.Join(d.base, name) }

func (d *dirs) wipe(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(d.of(name)))
}

func (d *dirs) cluster(t testing.TB, nodes int) *raftnodetest.Cluster {
	t.Helper()
	for _, name := range []string{"n1", "n2", "n3"}[:nodes] {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		d.addresses[name] = l.Addr().String()
		require.NoError(t, l.Close())
	}
	return raftnodetest.New(t, raftnodetest.Config{
		Nodes: nodes, Machine: newJournal, Digest: digest,
		Storage: func(name string) (*raftnode.Storage, error) {
			return raftnode.OpenStorage(d.of(name), name, d.logs[name])
		},
		Configure: func(rc *raftnode.Config) {
			require.NoError(t, rc.Listener.Close()) // the one in memory
			l, err := net.Listen("tcp", d.addresses[rc.Name])
			require.NoError(t, err)
			m := mux.New(l)
			rc.Listener = &muxed{m.Peers(), m}
			rc.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", address)
			}
			rc.Advertise = d.addresses[rc.Name]
			for i, p := range rc.Peers {
				rc.Peers[i].Address = d.addresses[p.Name]
			}
			rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
			rc.SnapshotBytes, rc.TrailingLogs = d.snapshotBytes, 8
			if d.configure != nil {
				d.configure(rc)
			}
		},
	})
}

// muxed closes its port with it.
type muxed struct {
	net.Listener
	mux *mux.Mux
}

func (m *muxed) Close() error { return m.mux.Close() }
