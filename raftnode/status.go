package raftnode

import "time"

// Role is what a node is doing, as people read it.
type Role string

// The roles. Parked nodes keep their Raft role; Status.Problem says that they have parked.
const (
	RoleStarting  Role = "starting"  // it has not yet found out whether its cluster exists
	RoleWaiting   Role = "waiting"   // empty, while its cluster exists: it takes part in nothing until `muster cluster rejoin`
	RoleFollower  Role = "follower"  // it follows, or looks for a leader
	RoleCandidate Role = "candidate" // it asks for votes
	RoleLeader    Role = "leader"    // it leads; a Term exists once its TermStart was applied
	RoleStopped   Role = "stopped"   // Close was called
)

// Server is one member of the Raft configuration.
type Server struct {
	// ID is the server id: the node's name, a hyphen, 8 hexadecimal digits.
	ID string
	// Name is the node's name.
	Name string
	// Address is where the node serves, host:port.
	Address string
	// Voter says whether it votes; a server that is catching up does not.
	Voter bool
}

// Leader is who leads, as far as a node knows.
type Leader struct {
	// ServerID of the leader.
	ServerID string
	// Name of its node.
	Name string
	// Address where it serves, host:port.
	Address string
	// Term is the latest Raft term this node has seen.
	Term uint64
}

// Status is what a node knows about itself. The fields are read one after another and may be moments apart.
type Status struct {
	// Name of the node.
	Name string
	// ServerID is its name and 8 hexadecimal digits that its data directory keeps.
	ServerID string
	// ProcessID is drawn at each start.
	ProcessID uint64
	// ClusterID is empty while the node has no cluster.
	ClusterID string
	// Role is what it is doing.
	Role Role
	// Term is the latest Raft term it has seen.
	Term uint64
	// LastIndex is the index of the last entry in its log.
	LastIndex uint64
	// CommitIndex is the last index it knows to be committed.
	CommitIndex uint64
	// AppliedIndex is the index of the last entry that its state machine has applied.
	AppliedIndex uint64
	// SnapshotIndex is the index that its newest snapshot covers.
	SnapshotIndex uint64
	// LastContact is how long ago it heard from a leader; 0 on the leader unless its disk hangs, negative if never.
	LastContact time.Duration
	// Serving says that it takes part in its cluster: Raft runs, and the node has not parked. Problem may still name trouble, with
	// another node for example.
	Serving bool
	// Problem says, in words for the operator, why it does not serve, and what to do. Empty if all is well.
	Problem string
	// Servers is the Raft configuration it knows, sorted by id. Empty before the first entry.
	Servers []Server
}
