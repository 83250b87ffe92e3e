package node

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/raftnode"
	"muster/system"
)

// Leader is who leads, as far as this node knows; nil if it does not.
func (n *Node) Leader() *musterv1.LeaderHint {
	l, ok := n.raft.Leader()
	if !ok {
		return nil
	}
	hint := &musterv1.LeaderHint{Node: l.Name, Address: l.Address, RaftTerm: l.Term}
	if l.Name == n.cfg.Name {
		epoch, raftTerm, serves := n.system.Serving()
		if !serves {
			return nil // elected, but its term is not published: nobody should come yet
		}
		hint.Epoch, hint.RaftTerm = epoch, raftTerm
		return hint
	}
	n.raft.Read(func() { hint.Epoch = n.machine.state.Epoch() })
	return hint
}

// Elected: Raft has this node lead; Leader tells so only when its term is published.
func (n *Node) Elected() bool {
	l, ok := n.raft.Leader()
	return ok && l.Name == n.cfg.Name
}

// ClusterID is empty while the node has none.
func (n *Node) ClusterID() string { return n.raft.Status().ClusterID }

// Status of this node, of its state, and what is wrong with it.
func (n *Node) Status() (*musterv1.NodeStatus, *musterv1.StateStatus, []string) {
	r := n.raft.Status()
	_, _, leading := n.system.Leading()
	s := &musterv1.NodeStatus{
		Name: n.cfg.Name, ServerId: r.ServerID, Address: n.cfg.Advertise, Role: role(r), RaftTerm: r.Term,
		LastIndex: r.LastIndex, CommitIndex: r.CommitIndex, SnapshotIndex: r.SnapshotIndex,
		LastContactMs: r.LastContact.Milliseconds(), Version: n.cfg.Version, TermPublished: leading, Problem: r.Problem,
		Sessions: uint32(n.hub.Open()),
	}
	if err := n.system.Unbuilt(); err != nil && s.Problem == "" {
		s.Problem = err.Error()
	}
	var state *musterv1.StateStatus
	n.Read(func(at StateAt) { // together, since nodes are compared by what they had at the same index
		digest := at.State.Digest()
		s.AppliedIndex, s.Number, s.Digest = at.Index, at.State.Number(), hex.EncodeToString(digest[:8])
		state = at.State.Status()
	})
	if state.Settings != nil {
		s.FlagsDiffer = differences(n.cfg.Settings, state.Settings)
	}
	return s, state, n.alarms(s, state)
}

// Staleness is how old what this node has applied may be.
func (n *Node) Staleness() *musterv1.Staleness {
	r := n.raft.Status()
	return &musterv1.Staleness{Node: n.cfg.Name, AgeNs: max(int64(r.LastContact), -1)}
}

func (n *Node) alarms(s *musterv1.NodeStatus, state *musterv1.StateStatus) []string {
	var out []string
	if s.Problem != "" {
		out = append(out, fmt.Sprintf("node %s: %s", s.Name, s.Problem))
	}
	out = append(out, n.short()...)
	if len(s.FlagsDiffer) > 0 {
		out = append(out, fmt.Sprintf("node %s was started with other settings than those in force, which hold: %s", s.Name, strings.Join(s.FlagsDiffer, "; ")))
	}
	if n.system.StandsStill() {
		out = append(out, fmt.Sprintf("node %s leads, and its log does not take entries: until it does cluster time stands still, and nobody expires", s.Name))
	}
	if state.Restoring {
		out = append(out, "a restore is staged: nobody expires and nothing changes until it ends")
	}
	if b := state.GetBrake(); b.GetState() == musterv1.Brake_STATE_ON {
		out = append(out, fmt.Sprintf("mass expiry is held back for %v: %d of %d agents were silent when that began; nobody expires until "+
			"one lease has passed, or `muster alarm release`", time.Duration(state.ClockNs-b.GetSinceNs()).Round(100*time.Millisecond), b.GetSilent(), b.GetAgents()))
	}
	if old := state.HeldBackBy; len(old) > 0 {
		out = append(out, fmt.Sprintf("the rules stay at version %d until %s run a newer version, and the leader has changed after that",
			state.MachineVersion, strings.Join(old, ", ")))
	}
	if state.Phase != musterv1.Phase_PHASE_RUNNING && state.Phase != musterv1.Phase_PHASE_UNSPECIFIED {
		out = append(out, "the system is "+fsm.PhaseName(state.Phase)+": nothing may join or be created")
	}
	return out
}

func role(r raftnode.Status) musterv1.NodeStatus_NodeRole {
	switch r.Role {
	case raftnode.RoleLeader:
		return musterv1.NodeStatus_NODE_ROLE_LEADER
	case raftnode.RoleCandidate:
		return musterv1.NodeStatus_NODE_ROLE_CANDIDATE
	case raftnode.RoleStarting, raftnode.RoleWaiting:
		return musterv1.NodeStatus_NODE_ROLE_WAITING
	case raftnode.RoleStopped:
		return musterv1.NodeStatus_NODE_ROLE_UNSPECIFIED
	}
	for _, s := range r.Servers {
		if s.ID == r.ServerID && !s.Voter {
			return musterv1.NodeStatus_NODE_ROLE_NONVOTER
		}
	}
	return musterv1.NodeStatus_NODE_ROLE_FOLLOWER
}

// Peers are the nodes that this one was configured with, by name.
func (n *Node) Peers() []*musterv1.NodeStatus {
	if len(n.cfg.Peers) == 0 {
		return []*musterv1.NodeStatus{{Name: n.cfg.Name, Address: n.cfg.Advertise}}
	}
	ids := map[string]string{}
	for _, s := range n.raft.Status().Servers {
		ids[s.Name] = s.ID
	}
	var out []*musterv1.NodeStatus
	for _, p := range n.cfg.Peers {
		out = append(out, &musterv1.NodeStatus{Name: p.Name, Address: p.Address, ServerId: ids[p.Name]})
	}
	return out
}

// Rejoin brings a wiped node back.
func (n *Node) Rejoin(ctx context.Context, name string) (removed, added string, err error) {
	return n.raft.Rejoin(ctx, name)
}

// differences names the settings that a node was started with and that are not in force.
func differences(flags, state *musterv1.Settings) []string {
	var out []string
	inForce := fsm.ListSettings(state)
	for i, own := range fsm.ListSettings(flags) {
		if own.Value != inForce[i].Value {
			out = append(out, fmt.Sprintf("%s=%s, not %s", own.Name, own, inForce[i]))
		}
	}
	return out
}

const watchInterval = 100 * time.Millisecond

// watch shows readiness, and registers the node in the state once it takes part in its cluster.
func (n *Node) watch(ctx context.Context) {
	t := time.NewTicker(watchInterval)
	defer t.Stop()
	ready, registered := false, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		r := n.raft.Status()
		hint := n.Leader()
		if now := r.Serving && hint != nil; now != ready {
			ready = now
			n.setReady(ready)
		}
		if !registered && ready && r.ServerID != "" {
			if err := n.register(ctx, hint, r.ServerID); err != nil {
				n.log.Debug("not registered yet", "error", err)
			} else {
				registered = true
			}
		}
	}
}

// setReady shows readiness to those who ask over gRPC or HTTP.
func (n *Node) setReady(yes bool) {
	n.ready.Store(yes)
	n.server.SetReady(yes)
}

// register tells the leader what this node is.
func (n *Node) register(ctx context.Context, leader *musterv1.LeaderHint, serverID string) error {
	rec := &musterv1.NodeRecord{ServerId: serverID, Name: n.cfg.Name, Address: n.cfg.Advertise, Version: n.cfg.Version, MachineVersion: fsm.MachineVersion}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if leader.Node == n.cfg.Name {
		out, err := n.system.RegisterNode(ctx, rec)
		if err == nil && out.GetRefusal() != nil {
			err = fmt.Errorf("refused: %s", out.GetRefusal().GetMessage())
		}
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+leader.Address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(n.cfg.Dial))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = musterv1grpc.NewClusterServiceClient(conn).RegisterNode(ctx, &musterv1.RegisterNodeRequest{Node: rec})
	return err
}

// System is the verbs of this node, for callers in its own process.
func (n *Node) System() *system.System { return n.system }

// StateAt is the state with the Raft index of the last entry that it holds.
type StateAt struct {
	State *fsm.State
	Index uint64
}

// Read calls f with what is applied here, under the read lock.
func (n *Node) Read(f func(StateAt)) {
	n.raft.Read(func() { f(StateAt{n.machine.state, n.raft.Status().AppliedIndex}) })
}

// TransferLeadership hands leadership over to a node by its name, to any other one for "".
func (n *Node) TransferLeadership(ctx context.Context, to string) error {
	return n.raft.TransferLeadershipTo(ctx, to)
}
