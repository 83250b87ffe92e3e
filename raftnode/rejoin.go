package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	musterv1 "muster/proto/muster/v1"
)

// rejoinPoll is how often a server that catches up is asked how far it is.
const rejoinPoll = 100 * time.Millisecond

// Rejoin takes the node of that name, whose disk was emptied, into the cluster again: its old server is removed, the new one
// added without a vote, and given one when it has what was committed at the start. Called on the leader; it may be called
// again when it was cut short. It returns the server ids removed (empty if there was none) and added. ErrNotLeader if this
// node does not lead.
func (n *Node) Rejoin(ctx context.Context, name string) (removed, added string, err error) {
	n.rejoining.Lock()
	defer n.rejoining.Unlock()
	t := n.current.Load()
	if t == nil {
		return "", "", ErrNotLeader
	}
	if err := t.ReadBarrier(ctx); err != nil {
		return "", "", fmt.Errorf("rejoin %s: %w", name, err)
	}
	j := &rejoin{n: n, r: n.raft.Load(), target: n.applier.index.index.Load(), prev: n.applier.configIndex.Load()}
	if err := j.run(ctx, name); err != nil {
		return j.removed, j.added, fmt.Errorf("rejoin %s: %w", name, err)
	}
	return j.removed, j.added, nil
}

// rejoin is one Rejoin under way.
type rejoin struct {
	n              *Node
	r              *engine
	peer           Peer
	target         uint64 // index to catch up with
	prev           uint64 // index of the configuration that the next change builds on; 0: not known
	removed, added string
}

func (j *rejoin) run(ctx context.Context, name string) error {
	w, err := j.find(ctx, name)
	if err != nil {
		return err
	}
	id := w.GetServerId()
	j.added = id
	present, err := j.removeOld(ctx, id)
	if err != nil {
		return err
	}
	if !present {
		if err := j.change(ctx, "add", func() raft.IndexFuture {
			return j.r.AddNonvoter(raft.ServerID(id), raft.ServerAddress(j.peer.Address), j.prev, enqueueTimeout)
		}); err != nil {
			return err
		}
	}
	if err := j.n.layer.adopt(ctx, j.peer.Address, id, j.n.storage.who().ClusterID); err != nil {
		return fmt.Errorf("tell it its cluster: %w", err)
	}
	if err := j.catchUp(ctx, id); err != nil {
		return err
	}
	return j.change(ctx, "give a vote to", func() raft.IndexFuture {
		return j.r.AddVoter(raft.ServerID(id), raft.ServerAddress(j.peer.Address), j.prev, enqueueTimeout)
	})
}

// find asks who is at the node's address, and refuses what cannot rejoin.
func (j *rejoin) find(ctx context.Context, name string) (*musterv1.PeerWelcome, error) {
	for _, p := range j.n.layer.peers {
		if p.Name == name {
			j.peer = p
		}
	}
	if j.peer.Name == "" {
		if name == j.n.cfg.Name {
			return nil, errors.New("this node leads; it has nothing to rejoin")
		}
		return nil, fmt.Errorf("no peer of that name is configured on the leader %s", j.n.cfg.Name)
	}
	w, err := j.n.layer.probe(ctx, j.peer.Address)
	if err != nil {
		return nil, fmt.Errorf("start the node with an empty data directory first: %w", err)
	}
	own := j.n.storage.who().ClusterID
	if w.GetName() != name {
		return nil, fmt.Errorf("%s answers as node %s: correct the list of peers", j.peer.Address, w.GetName())
	}
	if c := w.GetClusterId(); c != "" && c != own {
		return nil, fmt.Errorf("it is in cluster %s, this is cluster %s: move its data directory away and start it empty", c, own)
	}
	for _, s := range j.n.servers() {
		if s.ID == w.GetServerId() && s.Voter {
			return nil, fmt.Errorf("its server %s is alive and has its vote: there is nothing to do", s.ID)
		}
	}
	return w, nil
}

// removeOld removes what the node was before; present says that its new server is a member already.
func (j *rejoin) removeOld(ctx context.Context, id string) (present bool, err error) {
	var old []Server
	for _, s := range j.n.servers() {
		switch {
		case s.ID == id:
			present = true
		case s.Name == j.peer.Name:
			old = append(old, s)
		case s.Voter && s.Name != j.n.cfg.Name:
			// Once the old server is gone, every vote that is left may be needed to go on.
			if _, err := j.n.layer.probe(ctx, s.Address); err != nil {
				return false, fmt.Errorf("node %s does not answer, and the cluster could not go on without it: start it first: %w", s.Name, err)
			}
		}
	}
	for _, s := range old {
		if err := j.change(ctx, "remove", func() raft.IndexFuture {
			return j.r.RemoveServer(raft.ServerID(s.ID), j.prev, enqueueTimeout)
		}); err != nil {
			return present, err
		}
		j.removed = s.ID
	}
	return present, nil
}

// change makes one change of the configuration, on top of the one before.
func (j *rejoin) change(ctx context.Context, what string, f func() raft.IndexFuture) error {
	var index uint64
	err := j.n.await(ctx, func() error {
		future := f()
		if err := future.Error(); err != nil {
			return err
		}
		index = future.Index()
		return nil
	})
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost):
		return fmt.Errorf("%s the server: %w: %w; ask the new leader, it goes on from there", what, ErrNotLeader, err)
	case err != nil:
		return fmt.Errorf("%s the server: %w", what, err)
	}
	j.prev = index
	return nil
}

// catchUp waits until the new server has applied what was committed at the start.
func (j *rejoin) catchUp(ctx context.Context, id string) error {
	for {
		w, err := j.n.layer.probe(ctx, j.peer.Address)
		switch {
		case err != nil: // it may be restarting
		case w.GetServerId() != id:
			return fmt.Errorf("its disk was emptied again meanwhile (server %s instead of %s): start over", w.GetServerId(), id)
		case w.GetAppliedIndex() >= j.target:
			return nil
		}
		select {
		case <-time.After(rejoinPoll):
		case <-ctx.Done():
			return fmt.Errorf("it has not caught up; it stays without a vote, call again to go on: %w", context.Cause(ctx))
		}
	}
}
