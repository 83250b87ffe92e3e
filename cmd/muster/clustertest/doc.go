// Package clustertest runs whole clusters for tests, with what lives in them (members, agents, watchers): here nodes in one process
// over a network in memory, meant for testing/synctest bubbles, in which hours cost nothing; in package process real processes over
// loopback.
package clustertest
