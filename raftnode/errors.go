package raftnode

import "errors"

// What can go wrong, in kinds that a caller acts on. Test with errors.Is; one error may be several of them.
var (
	// ErrNotLeader: this node does not lead, or no longer. Ask Node.Leader who does. Nothing was applied.
	ErrNotLeader = errors.New("not the leader")
	// ErrNotApplied: certainly not applied, neither now nor later. Safe to try again anywhere.
	ErrNotApplied = errors.New("not applied")
	// ErrOutcomeUnknown: the entry was handed to Raft and nobody can say what became of it. Try again only with the same
	// request id.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrFull: too many requests wait already. Certainly not applied; slow down.
	ErrFull = errors.New("too many requests wait")
	// ErrTooLarge: the command is larger than an entry may be. It will never be applied.
	ErrTooLarge = errors.New("command too large")
	// ErrNotServing: the node starts, stops, waits for `muster cluster rejoin`, or has parked. Status().Problem says which.
	ErrNotServing = errors.New("node is not serving")
)
