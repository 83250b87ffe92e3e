package raftnode_test

import (
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"muster/raftnode"
)

// TestResent_OverBrokenConnections: each connection that Raft has kept may be of a process that has ended; behind them there is a new one.
func TestResent_OverBrokenConnections(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	reset := fmt.Errorf("read: %w", syscall.ECONNRESET)
	for name, c := range map[string]struct {
		answers []error
		want    error
	}{
		"at once":         {[]error{nil}, nil},
		"behind three":    {[]error{io.EOF, net.ErrClosed, reset, nil}, nil},
		"nobody is there": {[]error{io.EOF, refused}, refused},
		"for ever":        {[]error{io.EOF, io.EOF, io.EOF, io.EOF}, io.EOF},
		"another fault":   {[]error{io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			sent := 0
			require.Equal(t, c.want, raftnode.Resent(func() error { sent++; return c.answers[sent-1] }))
			require.Len(t, c.answers, sent)
		})
	}
}
