// Package raftnode is one Raft node: everything in Muster that says hashicorp/raft. It takes a state machine by interface and
// gives back leadership terms; it knows nothing of worlds.
//
// A node is started over a Storage (files or memory), a listener for connections of other nodes and a function that dials
// them. It finds out whether its cluster exists before it takes part in anything: an empty disk neither votes under an old
// name nor founds a second cluster.
//
// Leadership is a value. When this node leads and its TermStart entry has been applied here, Node.Terms yields a Term; its
// context dies when the leadership does. Writes go through Term.Propose, which gathers what waits into one log entry (group
// commit); linearizable reads go through Term.ReadBarrier followed by Node.Read. Every entry carries the Raft term it was
// sealed in, and the state machine drops an entry that reached the log in another one, so nothing that an earlier leadership
// decided can act in a later one.
//
// Goroutines and what they own:
//
//	run        the start procedure, then the leadership: the current Term, having TermStart proposed
//	seal       one per Term: the group that is being built; all of a Term's entries go to Raft from here
//	flight     one per entry in flight, at most four: the answers to those who wait
//	verify     one at most per Term: the leadership check that readers share
//	suspect    looks whether the leader's process is gone when a connection to it breaks, and asks the other voters
//	pass       one per Raft: hands what others ask on to it
//	digests    compares this node's state with the others', every two seconds
//	snapshots  asks raft for a snapshot when enough bytes of log were applied
//	peers      one accepting, one per connection that has not yet said who it is, one per peer keeping connections ready
//
// Raft's FSM goroutine alone applies entries, under the write lock; Node.Read takes the read lock.
package raftnode
