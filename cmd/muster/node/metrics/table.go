package metrics

import (
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// metrics are those that are read at a scrape.
var metrics = slices.Concat(ofNode, ofRaft, ofState, ofLeader)

var ofNode = []metric{
	{"muster_node_info", gauge, []string{"node", "server_id", "cluster_id"},
		"Always 1. The node's name, and the ids of its server and cluster.",
		func(s *Sample, out emit) { out(1, s.Raft.Name, s.Raft.ServerID, s.Raft.ClusterID) }},
	{"muster_node_role", gauge, []string{"role"},
		"1 for the role that the node has in its cluster.", oneOf(roles, role)},
	{"muster_node_serving", gauge, nil,
		"1 while the node takes part in its cluster.", truth(func(s *Sample) bool { return s.Raft.Serving })},
	{"muster_node_leading", gauge, nil,
		"1 while the node leads and takes requests.", truth(func(s *Sample) bool { return s.Node.GetTermPublished() })},
	{"muster_node_parked", gauge, nil,
		"1 when the node applies nothing more; muster status tells why.", truth(func(s *Sample) bool { return s.Log.Parked })},
	{"muster_node_disk_fence", gauge, nil,
		"1 while the node is silent because its disk hangs or refuses writes.", truth(func(s *Sample) bool { return s.Log.Silent })},
	{"muster_node_disk_free_bytes", gauge, nil,
		"Bytes free on the disk of the data directory; 0 if nobody knows.", value(func(s *Sample) int64 { return s.Log.FreeBytes })},
	{"muster_node_alarms", gauge, nil,
		"Alarms that muster status shows of this node.", value(func(s *Sample) int { return s.Alarms })},
	{"muster_sessions", gauge, nil,
		"Open sessions of members on this node.", value(func(s *Sample) uint32 { return s.Node.GetSessions() })},
}

var ofRaft = []metric{
	{"muster_raft_elections_won_total", counter, nil,
		"Elections that this node has won.", value(func(s *Sample) uint64 { return s.Log.Elections })},
	{"muster_raft_term", gauge, nil,
		"Latest Raft term that this node has seen.", value(func(s *Sample) uint64 { return s.Raft.Term })},
	{"muster_raft_last_index", gauge, nil,
		"Index of the last entry in this node's log.", value(func(s *Sample) uint64 { return s.Raft.LastIndex })},
	{"muster_raft_commit_index", gauge, nil,
		"Last index that this node knows to be committed.", value(func(s *Sample) uint64 { return s.Raft.CommitIndex })},
	{"muster_raft_applied_index", gauge, nil,
		"Index of the last entry that this node has applied.", value(func(s *Sample) uint64 { return s.Raft.AppliedIndex })},
	{"muster_raft_snapshot_index", gauge, nil,
		"Index up to which the newest snapshot reaches.", value(func(s *Sample) uint64 { return s.Raft.SnapshotIndex })},
	{"muster_raft_last_contact_seconds", gauge, nil,
		"Time since this node heard from a leader; 0 on the leader, absent if it never did.", lastContact},
	{"muster_raft_follower_last_contact_seconds", gauge, []string{"follower"},
		"On the leader: time since a follower last agreed to a message.", followers},
	{"muster_raft_servers", gauge, []string{"suffrage"},
		"Servers in the Raft configuration that this node knows.", servers},
	{"muster_raft_log_bytes", gauge, nil,
		"Size of the file that holds this node's log.", value(func(s *Sample) int64 { return s.Log.LogBytes })},
	{"muster_raft_log_since_snapshot_bytes", gauge, nil,
		"Log applied here since the newest snapshot.", value(func(s *Sample) int64 { return s.Log.FreshLogBytes })},
	{"muster_entries_applied_total", counter, nil,
		"Log entries applied here, those read again at the start among them.", value(func(s *Sample) uint64 { return s.Log.Entries })},
	{"muster_proposals_waiting", gauge, nil,
		"Commands that wait on this node to be put into an entry.", value(func(s *Sample) int { return s.Log.Waiting })},
}

var ofState = []metric{
	{"muster_state_bytes", gauge, nil,
		"Size of the state as the newest snapshot has it; 0 before the first.", value(func(s *Sample) int64 { return s.Log.SnapshotBytes })},
	{"muster_state_worlds", gauge, nil,
		"Worlds that have not ended.", value(func(s *Sample) uint32 { return s.State.GetWorlds() })},
	{"muster_state_ended_worlds", gauge, nil,
		"Worlds that have ended and are remembered.", value(func(s *Sample) uint32 { return s.State.GetEndedWorlds() })},
	{"muster_state_members", gauge, nil,
		"Procs and hosts.", value(func(s *Sample) uint32 { return s.State.GetProcs() })},
	{"muster_state_unhealthy_members", gauge, nil,
		"Supervised procs and hosts that are not healthy.", value(func(s *Sample) uint32 { return s.State.GetUnhealthy() })},
	{"muster_state_orders_due", gauge, nil,
		"Orders that nobody has confirmed yet.", value(func(s *Sample) int { return s.OrdersDue })},
	{"muster_state_phase", gauge, []string{"phase"},
		"1 for the phase that the system is in.", oneOf(phases, phase)},
	{"muster_state_brake", gauge, []string{"state"},
		"1 for the state of the mass-expiry brake.", oneOf(brakeStates, brake)},
	{"muster_state_restore_staged", gauge, nil,
		"1 while a restore is staged.", truth(func(s *Sample) bool { return s.State.GetRestoring() })},
}

var ofLeader = []metric{
	{"muster_expiries_total", counter, nil,
		"Members that expired while this node led.", value(func(s *Sample) uint64 { return s.Leader.Expired })},
	{"muster_expiries_held_total", counter, nil,
		"Expiries that the mass-expiry brake held back while this node led.", value(func(s *Sample) uint64 { return s.Leader.Held })},
	{"muster_clock_uncharged_seconds_total", counter, nil,
		"Time in which this node led that was charged to nobody.", value(func(s *Sample) float64 { return s.Leader.Uncharged.Seconds() })},
}

var (
	roles       = []string{"waiting", "nonvoter", "follower", "candidate", "leader"}
	phases      = []string{"running", "stopping", "stopped"}
	brakeStates = []string{"armed", "on", "released"}
)

// role is the one that muster status shows.
func role(s *Sample) string {
	return strings.ToLower(strings.TrimPrefix(s.Node.GetRole().String(), "NODE_ROLE_"))
}

func phase(s *Sample) string {
	return strings.ToLower(strings.TrimPrefix(s.State.GetPhase().String(), "PHASE_"))
}

// brake is in no state before the first term: there is no state yet.
func brake(s *Sample) string {
	if s.State.GetPhase() == musterv1.Phase_PHASE_UNSPECIFIED {
		return ""
	}
	return fsm.BrakeName(s.State.GetBrake().GetState())
}

func lastContact(s *Sample, out emit) {
	if s.Raft.LastContact >= 0 {
		out(s.Raft.LastContact.Seconds())
	}
}

func followers(s *Sample, out emit) {
	for _, name := range slices.Sorted(maps.Keys(s.Log.Followers)) {
		out(s.Log.Followers[name].Seconds(), name)
	}
}

func servers(s *Sample, out emit) {
	voters := 0
	for _, server := range s.Raft.Servers {
		if server.Voter {
			voters++
		}
	}
	out(float64(voters), "voter")
	out(float64(len(s.Raft.Servers)-voters), "nonvoter")
}
