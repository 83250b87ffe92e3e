// Package fsm is Muster's replicated state and every rule about it.
//
// A State is changed by one method only, Apply, which takes what a Raft log entry carries and answers one Outcome per command.
// Two states that were fed the same entries are equal and encode to the same bytes, on any machine, however often one of them
// was saved and loaded in between. To keep that true the package is pure: no clock, no randomness, no I/O of its own, no goroutine,
// no lock, no logger, and no order of a Go map in anything that leaves it (sorted.go holds the only walker). Time and
// random ids arrive in the entry; settings are part of the state.
//
// What the package decides:
//
//   - who is a member of which world, under which incarnation (join.go);
//   - which ranks a host is given and when they start (placement.go), and what becomes of their programs (assignment.go, exit.go, restart.go);
//   - who is alive, by the cluster clock that entries carry (report.go), and what that makes of a world (world.go);
//   - what is still to be told to whom (pending.go) and by when things must have happened (timers.go): both are derived from the
//     state, so a new leader reads them and goes on;
//   - why a world is what it is, and what happens next (explain.go);
//   - stop operations (stop.go), requests that must not be applied twice (requests.go), events (events.go);
//   - how the state is written, read and replaced (snapshot.go, restore.go, pack.go; members by wire.go), and the digest that tells replicas apart (digest.go).
//
// A State is not safe for concurrent use; its owner locks. Records that it hands out (protobuf messages) are never changed
// afterwards, only replaced, so they may be kept and read without a lock. Who reads holds up Apply: so a reader looks at a bounded number
// of members, worlds, orders and events, about what a millisecond is enough for, and whoever wants more calls it again (holds_test.go).
// Three walks are bounded by settings and by what a cluster is for, not by that: ended worlds in a View that includes them, worlds at
// the beginning of a term, the due orders of one host.
//
// # How to add a command
//
//  1. Give it a message and a field of Command in entry.proto, its answer a field of Outcome; say in the comment what makes a retry harmless.
//  2. Add a case to (*State).applyCommand and write the rule in the file of its noun: look first, refuse with a Reason, write last, and
//     write only through put… and drop…, which keep the counts, the digest and the effects right.
//  3. New facts get a Record in snapshot.proto, a line in encode and one in load, and an invariant in Check; those of a member a field of
//     ProcRecord, in record.go one of record or its rareFacts, and in wire.go a line in appendMember and one in read. A new field of Entry, JoinRequest, JoinResponse, Event,
//     ProcRef or Timeouts is a line in package wire, too.
//  4. Teach fsmtest's generator to draw it, and tell its story in a script below testdata.
//
// # How to change a rule
//
// What Apply makes of an entry must never change for entries that are in a log already, and two replicas of different versions must agree:
// a new rule holds from a new MachineVersion on, which the state takes when all voters know it. Texts that are stored (reasons, causes,
// events, remembered outcomes) are part of the state, and so of the rules. TestGolden fails when this is forgotten.
package fsm
