// Package raftnodetest has what tests of replicated things need: a network in memory that can be cut and healed, and a cluster
// of Raft nodes on it. Everything runs inside a testing/synctest bubble, where timeouts cost no time, and ends cleanly, so that
// the bubble ends too.
package raftnodetest
