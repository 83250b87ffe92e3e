package raftnode

import (
	"errors"
	"fmt"
	"net"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// accept answers connections until the layer is closed.
func (l *peerLayer) accept() {
	pause := 5 * time.Millisecond
	for {
		c, err := l.listener.Accept()
		if err != nil {
			if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Most likely too many open files: that passes.
			l.logger.Warn("cannot accept connections of other nodes", "error", err)
			select {
			case <-time.After(pause):
			case <-l.ctx.Done():
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		if p, err := l.track(c, "", 0); err == nil {
			l.tasks.Go(func() { l.serve(p) })
		}
	}
}

// serve answers one greeting, and hands the connection to Raft if it is for Raft.
func (l *peerLayer) serve(c *peerConn) {
	_ = c.SetDeadline(time.Now().Add(helloTimeout))
	hello, err := readHello(c)
	if err != nil {
		l.logger.Debug("connection without a greeting", "from", c.RemoteAddr(), "error", err)
		_ = c.Close()
		return
	}
	welcome := l.welcome(hello)
	err = writeFrame(c, "", welcome)
	if err == nil && welcome.GetError() == "" && hello.GetPurpose() == musterv1.PeerHello_PURPOSE_DIGESTS {
		err = writeFrame(c, "", l.digests())
	}
	if err != nil || welcome.GetError() != "" || hello.GetPurpose() != musterv1.PeerHello_PURPOSE_RAFT {
		_ = c.Close()
		return
	}
	_ = c.SetDeadline(time.Time{})
	c.server, c.process = hello.GetServerId(), hello.GetProcessId()
	select {
	case l.raft <- c:
	case <-l.ctx.Done():
		_ = c.Close()
	}
}

// welcome decides about a greeting.
func (l *peerLayer) welcome(hello *musterv1.PeerHello) *musterv1.PeerWelcome {
	var refusal string
	switch hello.GetPurpose() {
	case musterv1.PeerHello_PURPOSE_PROBE:
	case musterv1.PeerHello_PURPOSE_RAFT, musterv1.PeerHello_PURPOSE_DIGESTS:
		refusal = l.admit(hello)
	case musterv1.PeerHello_PURPOSE_ADOPT:
		refusal = l.accede(hello)
	default:
		refusal = fmt.Sprintf("node %s does not know purpose %d of a connection: it needs a newer version", l.self.Name, hello.GetPurpose())
	}
	if refusal != "" {
		l.logRefusal(hello, refusal)
	}
	id := l.storage.who()
	last, applied := l.indexes()
	return &musterv1.PeerWelcome{ClusterId: id.ClusterID, ServerId: id.ServerID, ProcessId: l.processID, Name: id.Name,
		LastIndex: last, AppliedIndex: applied, Error: refusal}
}

// admit says why a caller may not speak Raft with this node, or "".
func (l *peerLayer) admit(hello *musterv1.PeerHello) string {
	id := l.storage.who()
	switch {
	case id.ClusterID == "":
		return fmt.Sprintf("node %s is empty and in no cluster: run `muster cluster rejoin %s` if it was one of yours", id.Name, id.Name)
	case hello.GetClusterId() != id.ClusterID:
		return fmt.Sprintf("node %s is in cluster %s, node %s in cluster %s: two clusters must not share addresses; correct the list of peers",
			id.Name, id.ClusterID, hello.GetName(), hello.GetClusterId())
	case !l.opened.Load():
		return fmt.Sprintf("node %s is starting", id.Name)
	}
	return ""
}

// accede takes the cluster id of a founder, or of a leader that lets this node rejoin; or says why not.
func (l *peerLayer) accede(hello *musterv1.PeerHello) string {
	id := l.storage.who()
	known := false
	for _, p := range l.peers {
		known = known || p.Name == hello.GetName()
	}
	switch {
	case !known:
		return fmt.Sprintf("node %s is not among the peers of node %s", hello.GetName(), id.Name)
	case hello.GetTargetServerId() != id.ServerID:
		return fmt.Sprintf("node %s is server %s, not %s", id.Name, id.ServerID, hello.GetTargetServerId())
	case hello.GetClusterId() == "":
		return "there is no cluster id to take"
	}
	if err := l.storage.join(hello.GetClusterId()); err != nil {
		return fmt.Sprintf("node %s: %v", id.Name, err)
	}
	l.adopted()
	return ""
}

// logRefusal logs each refusal once: a misconfigured peer tries for ever.
func (l *peerLayer) logRefusal(hello *musterv1.PeerHello, refusal string) {
	key := hello.GetServerId() + " " + refusal
	l.mu.Lock()
	known := l.logged[key]
	if len(l.logged) >= maxRefusalsKept {
		clear(l.logged)
	}
	l.logged[key] = true
	l.mu.Unlock()
	if !known {
		l.logger.Warn("refused a node", "node", hello.GetName(), "server", hello.GetServerId(), "reason", refusal)
	}
}
