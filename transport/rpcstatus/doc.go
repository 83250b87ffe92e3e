// Package rpcstatus is the one table between the Reasons of the published API and gRPC's codes, in both directions.
//
// A server turns a Refusal into a status error with Error (or New); a client gets the same Refusal back with Refusal. The
// Refusal travels as the detail of the status, so nothing is ever told by the text of a message.
//
// Definite and OutcomeUnknown answer the question behind every failed call: may it have been applied? All functions are pure
// and safe for concurrent use.
package rpcstatus
