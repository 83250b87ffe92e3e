package raftnode

import (
	"io"

	musterv1 "muster/proto/muster/v1"
)

// StateMachine is what the log drives. Its methods never run concurrently with Apply or with the swap of Decode, except
// Frozen.WriteTo and the reading part of Decode.
type StateMachine interface {
	// Apply applies one entry; called by one goroutine, write lock held. index and term are the log entry's own.
	// dropped: the entry belongs to another term or epoch, and nothing changed. outcomes has one element per command.
	// err: this binary cannot apply it, and nothing changed; the node parks.
	Apply(index, term uint64, entry *musterv1.Entry) (outcomes []*musterv1.Outcome, dropped bool, err error)
	// Digest tells states apart that were fed the same entries: it covers all that Apply was ever given. Called with the write lock held.
	Digest() [32]byte
	// Freeze returns an immutable view that can be written later, concurrently with Apply. Called with the write lock held, on
	// the goroutine that applies. err: no snapshot now.
	Freeze() (Frozen, error)
	// Decode reads a snapshot aside, checks it, and returns the function that swaps it in, which is called with the write lock
	// held. err: nothing changed.
	Decode(r io.Reader) (swap func(), err error)
}

// Frozen is a state machine as it was at one index.
type Frozen interface {
	WriteTo(w io.Writer) (int64, error)
}

// Sealer completes an entry just before it goes to Raft. Seal is called by the one sealing goroutine of a Term: it sets epoch,
// stamp and wall time, and may append commands of its own, at most room marshalled bytes. It leaves the commands that are
// there, format and raft term alone, and must not wait for anything that a proposal or the Term's end depends on. If the entry
// has no command afterwards nothing is sent.
//
// settle may be nil. It is called once, by another goroutine or this one, with the outcomes of the appended commands in their
// order, or with the error that says what became of them.
type Sealer interface {
	Seal(e *musterv1.Entry, room int) (settle func([]*musterv1.Outcome, error))
}
