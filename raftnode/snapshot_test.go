package raftnode_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// compacting makes snapshots frequent and logs short.
var compacting = raftnodetest.Config{Configure: func(rc *raftnode.Config) { rc.SnapshotBytes, rc.TrailingLogs = 64<<10, 8 }}

// fill writes until the leader has taken a snapshot beyond an index.
func fill(t *testing.T, c *raftnodetest.Cluster, beyond uint64) {
	t.Helper()
	for i := range 1000 {
		write(t, c, fmt.Sprintf("%d %s", i, strings.Repeat("x", 4<<10)))
		time.Sleep(time.Millisecond) // virtual: a snapshot is written beside the entries
		if c.Leader().Node.Status().SnapshotIndex > beyond+16 {
			return
		}
	}
	t.Fatal("no snapshot")
}

func TestSnapshot_FollowerCatchesUpAndRestarts(t *testing.T) {
	inCluster(t, compacting, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "first")
		leader := c.Leader()
		var follower *raftnodetest.Member
		for _, m := range c.Members {
			if m != leader {
				follower = m
			}
		}
		c.Kill(follower.Name)
		fill(t, c, leader.Node.Status().LastIndex)
		c.Restart(follower.Name)
		c.RequireConverged()
		require.NotZero(t, follower.Node.Status().SnapshotIndex, "its log could not reach back")
		require.Equal(t, "first", lines(follower)[0])

		c.Kill(follower.Name)
		c.Restart(follower.Name)
		write(t, c, "last")
		c.RequireConverged()
	})
}

// slowlyWritten is a journal whose snapshots take a while to be written.
type slowlyWritten struct {
	journal
	written *atomic.Int32
}

const writingTime = time.Second

func (j *slowlyWritten) Freeze() (raftnode.Frozen, error) {
	f, err := j.journal.Freeze()
	return slowFrozen{f, j.written}, err
}

type slowFrozen struct {
	raftnode.Frozen
	written *atomic.Int32
}

func (f slowFrozen) WriteTo(w io.Writer) (int64, error) {
	time.Sleep(writingTime)
	f.written.Add(1)
	return f.Frozen.WriteTo(w)
}

// writingSlowly is one node, which counts the snapshots that it has written.
func writingSlowly(written *atomic.Int32) raftnodetest.Config {
	cfg := compacting
	cfg.Nodes = 1
	cfg.Machine = func(string) raftnode.StateMachine { return &slowlyWritten{written: written} }
	return cfg
}

// TestSnapshot_OneForEach: what is applied while a snapshot is written does not have another one taken at once, unless it is enough for that.
func TestSnapshot_OneForEach(t *testing.T) {
	written := &atomic.Int32{}
	cfg := writingSlowly(written)
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		for range 2 {
			before := written.Load()
			for range 16 {
				write(t, c, strings.Repeat("x", 4<<10))
			}
			time.Sleep(writingTime / 2)
			for range 8 {
				write(t, c, "meanwhile")
			}
			time.Sleep(5 * writingTime)
			require.Equal(t, before+1, written.Load())
		}
	})
}

// TestSnapshot_Paced: where a snapshot takes long and the log grows quickly, a quarter of the time goes into snapshots, and not all of it.
func TestSnapshot_Paced(t *testing.T) {
	written := &atomic.Int32{}
	cfg := writingSlowly(written)
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		for began := time.Now(); time.Since(began) < 20*writingTime; time.Sleep(writingTime / 5) {
			write(t, c, strings.Repeat("x", 64<<10))
		}
		require.InDelta(t, 5, written.Load(), 1)
	})
}

// A deposed leader has entries that nobody committed, and the log of the others no longer reaches back to where they differ. It
// installs the snapshot and goes on; Raft alone would install it for ever.
func TestSnapshot_DivergentFollowerInstallsOnce(t *testing.T) {
	decoded := map[string]int{}
	cfg := compacting
	cfg.Machine = func(name string) raftnode.StateMachine { return &journal{decoded: func() { decoded[name]++ }} }
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "first")
		old := c.Leader()
		shared := old.Node.Status().LastIndex
		c.Isolate(old.Name)
		raw := encode(t, &musterv1.Entry{Format: 1, RaftTerm: old.Term().Number(), Commands: []*musterv1.Command{line("never")}})
		for range 200 { // more than the others will commit meanwhile
			old.Node.Raft().Apply(raw, 0)
		}
		fill(t, c, shared)
		require.Less(t, c.Leader().Node.Status().LastIndex, old.Node.Status().LastIndex)
		c.Heal()
		c.RequireConverged()
		time.Sleep(10 * time.Second) // virtual: were it to go on, it would by now
		c.RequireConverged()
		require.NotContains(t, lines(old), "never")
		require.LessOrEqual(t, decoded[old.Name], 4, "once from the leader, perhaps again before Raft is started anew, and by that start")
	})
}

func TestPark_UnknownEntryFormat(t *testing.T) {
	inCluster(t, raftnodetest.Config{}, func(t *testing.T, c *raftnodetest.Cluster) {
		write(t, c, "known")
		leader := c.Leader()
		raw := encode(t, &musterv1.Entry{Format: 2, RaftTerm: leader.Term().Number(), Commands: []*musterv1.Command{line("future")}})
		require.NoError(t, leader.Node.ApplyRaw(raw))
		c.Eventually("all to park", func() bool {
			for _, m := range c.Members {
				if m.Node.Status().Problem == "" {
					return false
				}
			}
			return true
		})
		index := leader.Node.Status().AppliedIndex + 1
		for _, m := range c.Members {
			s := m.Node.Status()
			require.Contains(t, s.Problem, fmt.Sprintf("index %d", index))
			require.Contains(t, s.Problem, "newer version")
			require.Equal(t, []string{"known"}, lines(m), "what it had it keeps")
			require.Nil(t, m.Term(), "nobody who has parked leads")
			require.Error(t, m.Node.Raft().Snapshot().Error(), "the log is kept up to the entry")
		}
		time.Sleep(10 * time.Second) // virtual: they hand leadership around and nothing else
		for _, m := range c.Members {
			require.Nil(t, m.Term())
			c.Kill(m.Name)
			c.Restart(m.Name)
		}
		c.Eventually("to park again after a restart", func() bool { return c.Members[0].Node.Status().Problem != "" })
	})
}

func TestPark_OneNodeDoesNotStopTheOthers(t *testing.T) {
	cfg := raftnodetest.Config{Machine: func(name string) raftnode.StateMachine { return &journal{refuses: "new", old: name == "n2"} }}
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) {
		old := c.Member("n2")
		for c.Leader() == old {
			require.NoError(t, old.Node.TransferLeadership(context.Background()))
		}
		write(t, c, "new")
		c.Eventually("n2 to park", func() bool { return old.Node.Status().Problem != "" })
		require.Contains(t, old.Node.Status().Problem, "unknown command")
		write(t, c, "on it goes")
		c.Kill(c.Leader().Name)
		write(t, c, "without the first leader") // n2 votes, and gives leadership away if it wins
		require.NotSame(t, old, c.Leader())
		require.Empty(t, lines(old))
	})
}
