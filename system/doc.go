// Package system is what a leader does: the verbs that clients call, and one value per leadership term that keeps time, collects
// reports, watches deadlines, delivers orders, relays what members post to each other, and tells them each other's addresses.
//
// A System is the same on every node. While this node leads, and has built everything that a term needs from the state, it
// holds a published leadership; verbs and sessions go through that one and fail with ErrNotLeading without it. What cannot be built is given
// away; where leadership has come to nothing three times in a row whoever leads stays, serves reads, and goes on trying. When the
// leadership ends everything that belongs to it is cancelled, waited for and dropped: no part of it outlives its term, so
// there is nothing to reset.
//
// The package proposes; it never decides. What clients send goes into the log as it came, observations of the leader (deadlines
// that passed) beside it, and the state machine concludes.
//
// What it needs from outside it declares in ports.go.
package system
