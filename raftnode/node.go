package raftnode

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// commitTimeout is how soon an idle leader tells followers the commit index, at most twice that: so late are watchers of a follower told. With
	// 5 ms they were told 4 ms earlier (p50), and three idle servers used 0.2 cores instead of 0.1.
	commitTimeout = 20 * time.Millisecond
	// maxAppendEntries bounds a message of Raft to a follower: 64 entries of 256 KiB. As long as a follower keeps up it gets maxInFlight of them.
	maxAppendEntries = 64
	// entriesBetweenSnapshots is far above what SnapshotBytes lets pass, except for the tiniest entries.
	entriesBetweenSnapshots = 1 << 18
	snapshotCheck           = 2 * time.Minute // Raft's own, by entries
	// restartPatience bounds the end of a Raft that is to be started anew.
	restartPatience = 30 * time.Second
)

// Node is one Raft node. Its methods may be called concurrently.
type Node struct {
	cfg       Config
	logger    hclog.Logger
	storage   *Storage
	layer     *peerLayer
	applier   *applier
	suspector *suspector
	fence     *fence
	processID uint64

	ctx     context.Context // ends when Close begins
	cancel  context.CancelFunc
	running chan struct{} // closed when run has ended
	closing func(context.Context) error

	raft       atomic.Pointer[engine] // nil until the node has a cluster
	difference atomic.Pointer[string] // of another node's state from this one's
	current    atomic.Pointer[Term]
	elections  atomic.Uint64
	free       atomic.Int64  // bytes on the disk; negative: not known
	terms      chan *Term    // capacity one
	renewals   chan *Term    // capacity one
	resigned   chan resigned // capacity one
	parked     chan struct{} // capacity one
	adopted    chan struct{} // capacity one
	stale      chan struct{} // capacity one: Raft must be started anew
	fenced     chan struct{} // capacity one: the fence has closed or opened
	rejoining  sync.Mutex    // one Rejoin at a time

	stateMu sync.Mutex
	role    Role // while raft is nil
	problem string

	flightsMu sync.Mutex
	flights   map[*flight]struct{} // handed to Raft and unanswered, of all terms

	tasksMu sync.Mutex
	stopped bool           // no more tasks
	tasks   sync.WaitGroup // those that wait for Raft
}

// Start starts a node and returns at once: whether its cluster exists is found out behind it, and Status tells how that goes.
// On success the node owns storage and listener; on error they are the caller's to close.
func Start(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	n := &Node{
		cfg: cfg, logger: cfg.Logger, storage: cfg.Storage, processID: rand.Uint64(),
		running: make(chan struct{}), terms: make(chan *Term, 1), renewals: make(chan *Term, 1), resigned: make(chan resigned, 1),
		parked: make(chan struct{}, 1), adopted: make(chan struct{}, 1), stale: make(chan struct{}, 1),
		fenced: make(chan struct{}, 1),
		role:   RoleStarting, flights: map[*flight]struct{}{},
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.applier = &applier{machine: cfg.Machine, logger: n.logger, limit: cfg.SnapshotBytes, full: make(chan struct{}, 1),
		onPark: func() { signal(n.parked) }}
	n.layer = newPeerLayer(cfg, n.processID, n.logger.Named("peers"))
	n.layer.indexes, n.layer.digests = n.indexes, n.applier.digests.tell
	n.layer.adopted = func() { signal(n.adopted) }
	n.suspector = newSuspector(n)
	n.layer.broke = n.suspector.connBroke
	n.fence = newFence(cfg.DiskFence, func() { signal(n.fenced) }, n.diskHangs)
	n.storage.watchedBy(n.fence)
	n.storage.log.emptied, n.storage.log.stored = n.logEmptied, cfg.Observer.Stored
	n.layer.start()
	n.closing = onceWith(n.close)
	n.free.Store(-1)
	n.lookAtSpace()
	go n.run()
	return n, nil
}

// answerPreVote answers for Raft where the leader is suspected.
func (n *Node) answerPreVote(q *raft.RequestPreVoteRequest) (granted, ok bool) {
	r := n.raft.Load()
	if r == nil {
		return false, false
	}
	return n.suspector.answer(r, q)
}

// engine is one Raft and its transport.
type engine struct {
	*raft.Raft
	transport *transport
}

// run finds the node's cluster, starts Raft and leads when it is this node's turn.
func (n *Node) run() {
	defer close(n.running)
	n.spawn(n.tryDisk) // these end with n.ctx
	n.spawn(n.watchSpace)
	err := n.findCluster()
	if err == nil {
		err = n.startRaft()
	}
	if err == nil {
		n.layer.open()
		var chores sync.WaitGroup
		chores.Go(n.takeSnapshots) // they end with n.ctx
		chores.Go(n.compareDigests)
		chores.Go(n.suspector.run)
		defer chores.Wait()
		err = n.serve()
	}
	if err != nil && n.ctx.Err() == nil {
		n.logger.Error("node does not run", "error", err)
		n.say(RoleStarting, "not running: "+err.Error())
	}
}

// serve leads or follows until the node stops. Raft is started anew when its memory of the log has become stale.
func (n *Node) serve() error {
	for {
		if n.lead(); n.ctx.Err() != nil {
			return nil
		}
		n.logger.Info("starting Raft anew behind a snapshot that replaced a longer log")
		ctx, cancel := context.WithTimeout(n.ctx, restartPatience)
		err := n.stopRaft(ctx)
		cancel()
		if err != nil {
			return err
		}
		if err := n.startRaft(); err != nil {
			return err
		}
	}
}

// logEmptied is called when a snapshot was installed and the log deleted. Raft then goes on believing in the end of the old log,
// rejects what follows the snapshot, and is sent the snapshot again, for ever (raft#697): it has to read its log anew. A log that
// ended before the snapshot does no harm.
func (n *Node) logEmptied(last uint64) {
	if last >= n.storage.snapshots.newest.Load() {
		signal(n.stale)
	}
}

func (n *Node) startRaft() error {
	n.say(RoleStarting, "")
	t := newTransport(n.layer.streams(), n.fence, n.answerPreVote, n.logger.Named("raft-net"))
	r, err := raft.NewRaft(n.raftConfig(), n.applier, n.storage.logs, n.storage.stable, n.storage.snapshots, t)
	if err != nil {
		return errors.Join(fmt.Errorf("start Raft: %w", err), t.Close())
	}
	n.raft.Store(&engine{r, t})
	return nil
}

func (n *Node) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.storage.who().ServerID)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = n.cfg.HeartbeatTimeout, n.cfg.ElectionTimeout, n.cfg.LeaderLeaseTimeout
	c.CommitTimeout, c.MaxAppendEntries = commitTimeout, maxAppendEntries
	// By bytes, from takeSnapshots: a count says nothing about entries between 50 bytes and 256 KiB.
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = snapshotCheck, entriesBetweenSnapshots, n.cfg.TrailingLogs
	c.ShutdownOnRemove, c.NoLegacyTelemetry = false, true
	c.Logger = n.logger.Named("raft")
	return c
}

// restPerSnapshot is for how long no snapshot is taken behind one, in the times that it took. A large state takes seconds of a processor and of the disk:
// with a million procs, 4 MiB of log between snapshots and 8,000 joins a second, three nodes on two cores wrote snapshots and nothing else, and
// heartbeats came too late.
const restPerSnapshot = 3

// takeSnapshots asks for a snapshot whenever enough log was applied, and not before it is due: see restPerSnapshot.
func (n *Node) takeSnapshots() {
	const pause = 10 * time.Second // after one that was declined, or failed
	for {
		select {
		case <-n.applier.full:
		case <-n.ctx.Done():
			return
		}
		if !n.applier.isFull() { // it was said again while the last snapshot was written
			continue
		}
		began := time.Now()
		err := n.await(n.ctx, func() error { return n.raft.Load().Snapshot().Error() })
		rest := restPerSnapshot * time.Since(began)
		if err != nil && n.ctx.Err() == nil {
			n.logger.Warn("no snapshot now", "error", err)
			rest = pause
		}
		select {
		case <-time.After(rest):
			signal(n.applier.full)
		case <-n.ctx.Done():
			return
		}
	}
}

// Terms yields leadership terms of this node. The channel holds the latest one; an ended one may still be in it.
func (n *Node) Terms() <-chan *Term { return n.terms }

// Read calls f while nothing is applied. f must be short, and must keep no reference into the state machine but to what
// that replaces and never changes.
func (n *Node) Read(f func()) {
	n.applier.mu.RLock()
	defer n.applier.mu.RUnlock()
	f()
}

// Close stops the node and closes storage and listener. When ctx ends first it returns an error, and files may stay open until
// the process exits. It does not hand leadership over: see TransferLeadership.
func (n *Node) Close(ctx context.Context) error { return n.closing(ctx) }

func (n *Node) close(ctx context.Context) error {
	n.say(RoleStopped, "")
	n.cancel()
	if err := wait(ctx, n.running); err != nil {
		_ = n.layer.Close()
		return fmt.Errorf("stop the node: it is still busy starting Raft: %w", err)
	}
	// Raft may never answer what it still holds when it stops, so it gets the time in which an isolated leader gives up.
	patience, cancel := context.WithTimeout(ctx, 4*n.cfg.ElectionTimeout)
	defer cancel()
	unanswered := wait(patience, n.lastTask())
	err := n.stopRaft(ctx)
	n.strand("it has stopped")
	err = errors.Join(err, ignoreClosed(n.layer.Close()))
	n.layer.wait()
	if err != nil {
		return err // the log may still be written
	}
	if unanswered != nil {
		n.logger.Warn("stopped while Raft had not answered everything")
	}
	return n.storage.Close()
}

// Disconnect closes all connections to and from other nodes for good, before a process ends that cannot Close.
func (n *Node) Disconnect() { _ = n.layer.Close() }

// stopRaft stops Raft, which may hang with a snapshot or a change of members on its hands (raft#268, raft#312).
func (n *Node) stopRaft(ctx context.Context) error {
	e := n.raft.Load()
	if e == nil {
		return nil
	}
	future := e.Shutdown()
	_ = e.transport.Close() // interrupts what waits for other nodes
	e.transport.CloseStreams()
	ended := make(chan struct{})
	go func() {
		_ = future.Error()
		e.transport.endHeartbeats()
		close(ended)
	}()
	if err := wait(ctx, ended); err != nil {
		return fmt.Errorf("stop Raft: it did not end in time; its files stay open until the process exits: %w", err)
	}
	return nil
}

// spawn runs f in a goroutine that Close waits for, unless Close has begun.
func (n *Node) spawn(f func()) bool {
	n.tasksMu.Lock()
	defer n.tasksMu.Unlock()
	if n.stopped {
		return false
	}
	n.tasks.Go(f)
	return true
}

// lastTask lets no task begin and returns a channel that is closed when none is left.
func (n *Node) lastTask() <-chan struct{} {
	n.tasksMu.Lock()
	n.stopped = true
	n.tasksMu.Unlock()
	done := make(chan struct{})
	go func() {
		n.tasks.Wait()
		close(done)
	}()
	return done
}
