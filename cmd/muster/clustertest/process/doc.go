// Package process runs a cluster for tests as people run one: three muster servers, each a process of the operating system, on
// loopback, with host agents and whatever else of its program a test wants. They can be killed, stopped, paused, wiped and started again
// over the same data.
//
// All that a Cluster started ends with its test, and nothing else does. The methods are for the test's goroutine and fail the
// test when they cannot do their part.
package process
