// Package session is the server side of member streams: it reads what a member's process says into the leader's term, and writes
// what the leader has to say to it.
//
// A Hub knows which stream speaks for which member and implements system.Sessions. Each stream is served by three goroutines: the
// reader hands every message on without waiting for its commit (a hello apart, which must be in the state before what follows it),
// the answerer has what members say to orders applied, in order and many together, the writer owns Send, and shows a frame at least
// every 250 ms. What members post to each other goes from one stream's reader to another's writer, with bounded room of its own, which
// nothing else waits for. A stream ends with the term that it was opened in.
package session
