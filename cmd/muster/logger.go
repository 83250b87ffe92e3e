package main

import (
	"io"

	"github.com/hashicorp/go-hclog"
)

// ordinary are what Raft complains about although nothing is wrong: connections end when a node ends, a new cluster has no peers yet,
// and a peer that is down is tried many times a second. What follows from it is logged by us.
var ordinary = []string{
	"failed to decode incoming command",
	"failed to flush response",
	"failed to get previous log",
	"failed to heartbeat to",
	"failed to appendEntries to",
	"failed to pipeline appendEntries",
	"failed to make requestVote RPC",
	"failed to pre-vote request",
	"no known peers, aborting election",
	"appendEntries rejected, sending older logs",
	"pipelining replication",
	"aborting pipeline replication",
}

// newLogger returns the log of one node. level is one of trace, debug, info, warn and error; at debug and below nothing is left out.
func newLogger(node, level string, out io.Writer) (hclog.Logger, error) {
	l := hclog.LevelFromString(level)
	if l == hclog.NoLevel {
		return nil, usagef("--log-level %q: give trace, debug, info, warn or error", level)
	}
	options := &hclog.LoggerOptions{Name: node, Level: l, Output: out}
	if l >= hclog.Info {
		quiet := &hclog.ExcludeByMessage{}
		for _, message := range ordinary {
			quiet.Add(message)
		}
		options.Exclude = quiet.Exclude
	}
	return hclog.New(options), nil
}
