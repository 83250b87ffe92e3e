package raftnode

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// say sets what Status shows while Raft does not run.
func (n *Node) say(role Role, problem string) {
	n.stateMu.Lock()
	defer n.stateMu.Unlock()
	if n.role == RoleStopped {
		return
	}
	if problem != "" && problem != n.problem {
		n.logger.Info("node waits", "role", role, "problem", problem)
	}
	n.role, n.problem = role, problem
}

// Status says how the node is. It reads memory only and never waits for Raft.
func (n *Node) Status() Status {
	id := n.storage.who()
	s := Status{Name: n.cfg.Name, ServerID: id.ServerID, ProcessID: n.processID, ClusterID: id.ClusterID, LastContact: -1}
	n.stateMu.Lock()
	s.Role, s.Problem = n.role, n.problem
	n.stateMu.Unlock()
	if problem := n.fence.problem(); problem != "" && s.Role != RoleStopped {
		s.Problem = problem
	}
	r := n.raft.Load()
	if r == nil {
		return s
	}
	if s.Role != RoleStopped {
		s.Role = roleOf(r.State())
	}
	s.Term, s.LastIndex, s.CommitIndex = r.CurrentTerm(), r.LastIndex(), r.CommitIndex()
	s.AppliedIndex, s.SnapshotIndex = n.applier.index.index.Load(), n.storage.snapshots.newest.Load()
	if last := r.LastContact(); s.Role == RoleLeader {
		s.LastContact = n.fence.overdue() // when it last could have been told of another one
	} else if !last.IsZero() {
		s.LastContact = time.Since(last)
	}
	s.Servers = n.servers()
	s.Serving = s.Role != RoleStopped && n.applier.problem() == "" && !n.fence.closed()
	for _, problem := range []string{n.applier.problem(), n.differs(), n.layer.problem()} {
		if problem != "" && s.Problem == "" {
			s.Problem = problem
		}
	}
	return s
}

func roleOf(state raft.RaftState) Role {
	switch state {
	case raft.Leader:
		return RoleLeader
	case raft.Candidate:
		return RoleCandidate
	case raft.Shutdown:
		return RoleStopped
	}
	return RoleFollower
}

// Leader returns who leads, as far as this node knows; false if it knows of nobody.
func (n *Node) Leader() (Leader, bool) {
	r := n.raft.Load()
	if r == nil {
		return Leader{}, false
	}
	address, id := r.LeaderWithID()
	if id == "" {
		return Leader{}, false
	}
	return Leader{ServerID: string(id), Name: nameOf(string(id)), Address: string(address), Term: r.CurrentTerm()}, true
}

// servers is the latest configuration in this node's log, sorted by id.
func (n *Node) servers() []Server {
	r := n.raft.Load()
	if r == nil {
		return nil
	}
	future := r.GetConfiguration() // answered from memory
	if future.Error() != nil {
		return nil
	}
	var servers []Server
	for _, s := range future.Configuration().Servers {
		servers = append(servers, Server{ID: string(s.ID), Name: nameOf(string(s.ID)), Address: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	slices.SortFunc(servers, func(a, b Server) int { return strings.Compare(a.ID, b.ID) })
	return servers
}

// indexes is what greetings tell of this node's log.
func (n *Node) indexes() (last, applied uint64) {
	if r := n.raft.Load(); r != nil {
		return r.LastIndex(), n.applier.index.index.Load()
	}
	last, _ = n.storage.logs.LastIndex()
	return last, 0
}
