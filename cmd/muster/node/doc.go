// Package node is one Muster server: the wiring of raftnode, fsm, system, transport and metrics, from a Config. Listener and dialer are given
// from outside, so that the same node runs behind a TCP port, three times in one process, and in tests without a network.
package node
