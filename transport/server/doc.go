// Package server is gRPC on a node: it checks the form of requests, hands them to the system, and turns outcomes into answers.
//
// Calls that only the leader can answer are forwarded, once, by whoever else is asked (forward.go); session streams are
// redirected instead. Errors are made in one place (errors.go) from the reasons of the state machine and the sentinels of the
// system. The health service says "muster.v1.leader" exactly while a term is published here, and overall readiness.
package server
