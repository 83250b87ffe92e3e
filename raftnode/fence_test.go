package raftnode_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// disk is what a storage writes to; it can hang, be slow, or refuse.
type disk struct {
	mu      sync.Mutex
	hangs   chan struct{} // closed when it goes on
	refuses error
}

func (d *disk) write(do func() error) error {
	d.mu.Lock()
	hangs, refuses := d.hangs, d.refuses
	d.mu.Unlock()
	if hangs != nil {
		<-hangs
	}
	if refuses != nil {
		return refuses
	}
	return do()
}

// hang keeps every write waiting until the returned function is called.
func (d *disk) hang() (goOn func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hangs := make(chan struct{})
	d.hangs = hangs
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.hangs = nil
		close(hangs)
	})
}

func (d *disk) refuse(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuses = err
}

var errFull = errors.New("no space left on device")

// hung collects what Config.DiskHangs was told.
type hung struct {
	mu sync.Mutex
	at []time.Time
}

func (h *hung) times() []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}

// onDisks runs a cluster in memory, each node on a disk of its own.
func onDisks(t *testing.T, nodes int, f func(t *testing.T, c *raftnodetest.Cluster, disks map[string]*disk, h *hung)) {
	t.Helper()
	disks, storages, h := map[string]*disk{}, map[string]*raftnode.Storage{}, &hung{}
	cfg := raftnodetest.Config{Nodes: nodes}
	cfg.Storage = func(name string) (*raftnode.Storage, error) {
		if storages[name] == nil {
			disks[name], storages[name] = &disk{}, raftnode.MemoryStorage(name)
			raftnode.OnDisk(storages[name], disks[name].write)
		}
		return storages[name], nil
	}
	cfg.Configure = func(c *raftnode.Config) {
		c.DiskHangs = func(string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.at = append(h.at, time.Now())
		}
	}
	inCluster(t, cfg, func(t *testing.T, c *raftnodetest.Cluster) { f(t, c, disks, h) })
}

// propose has a line proposed by a member that leads, and does not wait for it.
func propose(m *raftnodetest.Member, text string) (outcome <-chan error) {
	res := make(chan error, 1)
	term := m.Term()
	go func() {
		_, err := term.Propose(context.Background(), line(text))
		res <- err
	}()
	return res
}

// TestFence_400msStall_NoElection: a disk that stalls for less than the fence costs a leader nothing, and a follower neither.
func TestFence_400msStall_NoElection(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *raftnodetest.Cluster, disks map[string]*disk, _ *hung) {
		write(t, c, "before")
		settle()
		leader, others := followers(c)
		number := leader.Term().Number()
		for _, m := range []*raftnodetest.Member{leader, others[0]} {
			goOn := disks[m.Name].hang()
			res := propose(leader, "during")
			time.Sleep(400 * time.Millisecond)
			goOn()
			require.NoError(t, <-res)
			never(t, 3*time.Second, "an election, or a closed fence", func() bool {
				closed, _ := m.Node.Fence()
				return closed || leader.Term() == nil || leader.Node.Status().Term != number
			})
		}
		require.Equal(t, number, c.Leader().Term().Number())
		c.RequireConverged()
	})
}

// TestFence_Hang_NewLeaderIn5s: a leader whose disk hangs is replaced, though its process lives: it falls silent and takes nothing more.
// What was acknowledged is there afterwards, on it too when its disk goes on.
func TestFence_Hang_NewLeaderIn5s(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *raftnodetest.Cluster, disks map[string]*disk, h *hung) {
		write(t, c, "acknowledged")
		settle()
		old, others := followers(c)
		began := time.Now()
		goOn := disks[old.Name].hang()
		defer goOn()
		res := propose(old, "in the hung write")
		term := old.Term()
		c.Eventually("another leader", func() bool { return others[0].Term() != nil || others[1].Term() != nil })
		require.Less(t, time.Since(began), 5*time.Second)
		require.Nil(t, old.Term(), "it serves no more")
		require.ErrorIs(t, <-res, raftnode.ErrOutcomeUnknown)
		_, err := term.Propose(t.Context(), line("to the old leader"))
		require.ErrorIs(t, err, raftnode.ErrNotApplied)
		require.Error(t, term.ReadBarrier(t.Context()))
		write(t, c, "to the new leader")

		s := old.Node.Status()
		require.False(t, s.Serving)
		require.Contains(t, s.Problem, "the disk hangs: a write to the log")
		goOn()
		c.RequireConverged()
		require.Equal(t, []string{"acknowledged", "to the new leader"}, lines(c.Leader()))
		closed, mayStand := old.Node.Fence()
		require.False(t, closed)
		require.True(t, mayStand, "a write that came back leaves no doubt about the disk")
		require.Empty(t, old.Node.Status().Problem)
		require.Empty(t, h.times())
	})
}

// TestFence_Hang_EndsAfter10s: a write that does not come back is reported for the process to end, and once.
func TestFence_Hang_EndsAfter10s(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *raftnodetest.Cluster, disks map[string]*disk, h *hung) {
		write(t, c, "before")
		old := c.Leader()
		goOn := disks[old.Name].hang()
		defer goOn()
		began := time.Now()
		_ = propose(old, "hangs")
		time.Sleep(raftnode.HangLimit - time.Second)
		require.Empty(t, h.times())
		time.Sleep(10 * time.Second)
		require.Len(t, h.times(), 1)
		require.WithinDuration(t, began.Add(raftnode.HangLimit), h.times()[0], 200*time.Millisecond)
		goOn()
		c.RequireConverged()
	})
}

// TestFence_HungFollower_DoesNotVote: the leader goes on with the other follower, and the hung one is given no say until its disk goes on.
func TestFence_HungFollower_DoesNotVote(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *raftnodetest.Cluster, disks map[string]*disk, _ *hung) {
		write(t, c, "before")
		settle()
		leader, others := followers(c)
		goOn := disks[others[0].Name].hang()
		defer goOn()
		write(t, c, "during")
		time.Sleep(3 * time.Second)
		require.False(t, others[0].Node.Status().Serving)
		require.Contains(t, others[0].Node.Status().Problem, "the disk hangs")
		c.Kill(leader.Name)
		never(t, 5*time.Second, "a leader by the vote of a hung disk", func() bool { return leads(others[0]) || leads(others[1]) })
		goOn()
		write(t, c, "after")
	})
}

// TestFence_FailedWrite: a leader whose disk refuses a write steps down at once. It does not stand for election, not even when nobody else
// is left, before the disk has taken probes for 10 s; and it does not vote before the first of them.
func TestFence_FailedWrite(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *raftnodetest.Cluster, disks map[string]*disk, h *hung) {
		write(t, c, "before")
		settle()
		old, others := followers(c)
		began := time.Now()
		disks[old.Name].refuse(errFull)
		require.ErrorIs(t, <-propose(old, "refused by the disk"), raftnode.ErrOutcomeUnknown)
		c.Eventually("another leader", func() bool { return others[0].Term() != nil || others[1].Term() != nil })
		require.Less(t, time.Since(began), 4*raftnode.DefaultTimeout)
		write(t, c, "after")
		require.Contains(t, old.Node.Status().Problem, "the disk refuses writes: ")
		require.Contains(t, old.Node.Status().Problem, errFull.Error())
		require.False(t, old.Node.Status().Serving)

		// It cannot keep up with a disk that is full, and does not end: it can still be asked.
		time.Sleep(20 * time.Second)
		require.Empty(t, h.times())
		require.Less(t, old.Node.Status().AppliedIndex, c.Leader().Node.Status().AppliedIndex)
		next := c.Leader()
		c.Kill(next.Name)
		never(t, 5*time.Second, "a leader by the vote of a full disk", func() bool { return c.Running()[0].Term() != nil || c.Running()[1].Term() != nil })
		c.Restart(next.Name)
		write(t, c, "while it is full")

		disks[old.Name].refuse(nil)
		c.Eventually("the first probe", func() bool { closed, _ := old.Node.Fence(); return !closed })
		mended := time.Now()
		c.RequireConverged()
		for _, m := range others {
			c.Network.Isolate(m.Address)
		}
		_, mayStand := old.Node.Fence()
		require.False(t, mayStand)
		require.Contains(t, old.Node.Status().Problem, "does not stand for election")
		c.Eventually("the end of the probation", func() bool { _, mayStand := old.Node.Fence(); return mayStand })
		require.WithinDuration(t, mended.Add(raftnode.Probation), time.Now(), 2*time.Second)
		c.Heal()
		write(t, c, "at the end")
		c.RequireConverged()
		require.Empty(t, old.Node.Status().Problem)
	})
}

// TestFence_LastNodeStandsAfterProbation: the only node leads again when its disk has proved itself, and takes nothing before.
func TestFence_LastNodeStandsAfterProbation(t *testing.T) {
	onDisks(t, 1, func(t *testing.T, c *raftnodetest.Cluster, disks map[string]*disk, _ *hung) {
		write(t, c, "before")
		m := c.Members[0]
		disks[m.Name].refuse(errFull)
		require.Error(t, <-propose(m, "refused"))
		time.Sleep(3 * time.Second)
		disks[m.Name].refuse(nil)
		never(t, raftnode.Probation-time.Second, "it leads on probation", func() bool { return m.Term() != nil })
		write(t, c, "after")
	})
}

// TestFence_AllDisksFull_ComeBack: when all disks have refused writes nobody leads; when there is room again somebody does.
func TestFence_AllDisksFull_ComeBack(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *raftnodetest.Cluster, disks map[string]*disk, _ *hung) {
		write(t, c, "before")
		for _, d := range disks {
			d.refuse(errFull)
		}
		<-propose(c.Leader(), "refused")
		time.Sleep(10 * time.Second)
		for _, m := range c.Running() {
			require.Nil(t, m.Term())
		}
		for _, d := range disks {
			d.refuse(nil)
		}
		write(t, c, "after")
		c.RequireConverged()
	})
}

// TestFence_SilentNodeRefuses: the transport of a node whose disk hangs sends nothing that would keep others waiting for it.
func TestFence_SilentNodeRefuses(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *raftnodetest.Cluster, disks map[string]*disk, _ *hung) {
		write(t, c, "before")
		settle()
		leader, others := followers(c)
		mute := others[0]
		goOn := disks[mute.Name].hang()
		defer goOn()
		write(t, c, "hangs there")
		time.Sleep(2500 * time.Millisecond)
		trans := mute.Node.Transport()
		id, address := raft.ServerID(leader.Node.Status().ServerID), raft.ServerAddress(leader.Address)
		require.Error(t, trans.AppendEntries(id, address, &raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{}))
		_, err := trans.AppendEntriesPipeline(id, address)
		require.Error(t, err)
		require.Error(t, trans.InstallSnapshot(id, address, &raft.InstallSnapshotRequest{}, &raft.InstallSnapshotResponse{}, nil))
		require.Error(t, trans.RequestVote(id, address, &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}))
		require.Error(t, trans.(raft.WithPreVote).RequestPreVote(id, address, &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{}))
	})
}

// TestFence_NoVoteBeforeAProbe: a node whose disk has refused a write gives no vote until a probe has shown that it takes them again.
func TestFence_NoVoteBeforeAProbe(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *raftnodetest.Cluster, disks map[string]*disk, _ *hung) {
		write(t, c, "before")
		settle()
		_, others := followers(c)
		m := others[0]
		disks[m.Name].refuse(errFull)
		write(t, c, "refused there")
		c.Eventually("a closed fence", func() bool { closed, _ := m.Node.Fence(); return closed })
		disks[m.Name].refuse(nil)
		trans := dialRaft(t, c, m)
		defer trans.Close()
		defer trans.CloseStreams()
		s := m.Node.Status()
		req := &raft.RequestVoteRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte(others[1].Node.Status().ServerID), Addr: []byte(others[1].Address)},
			Term:      s.Term + 1, LastLogIndex: s.LastIndex + 10, LastLogTerm: s.Term, LeadershipTransfer: true,
		}
		var resp raft.RequestVoteResponse
		require.NoError(t, trans.RequestVote(raft.ServerID(s.ServerID), raft.ServerAddress(m.Address), req, &resp))
		closed, _ := m.Node.Fence()
		require.True(t, closed)
		require.False(t, resp.Granted)
		c.Eventually("an open fence", func() bool { closed, _ := m.Node.Fence(); return !closed })
		require.NoError(t, trans.RequestVote(raft.ServerID(s.ServerID), raft.ServerAddress(m.Address), req, &resp))
		require.True(t, resp.Granted)
	})
}
