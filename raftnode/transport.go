package raftnode

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// rpcTimeout bounds dialling, one message of Raft and its answer; it must exceed the slowest disk write of a follower that is
	// to be kept.
	rpcTimeout = 3 * time.Second
	// pooledConnections is how many used connections per peer Raft keeps.
	pooledConnections = 3
)

// transport is Raft's own over our connections, with pipelines that cannot jam and a memory of who answered. The concrete type is
// embedded on purpose: embedding the interface would hide pre-vote, and Raft would do without.
type transport struct {
	*raft.NetworkTransport
	contacts contacts
	fence    *fence

	rpcs     chan raft.RPC // what Raft reads
	preVotes func(*raft.RequestPreVoteRequest) (granted, ok bool)
	closed   chan struct{}
	close    func() error

	heartbeats sync.RWMutex // read: a heartbeat is being answered
	ended      bool
}

var (
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

func newTransport(layer raft.StreamLayer, fence *fence, preVotes func(*raft.RequestPreVoteRequest) (granted, ok bool), logger hclog.Logger) *transport {
	t := &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:                  layer,
			MaxPool:                 pooledConnections,
			Timeout:                 rpcTimeout,
			Logger:                  logger,
			MsgpackUseNewTimeFormat: true,
		}),
		fence: fence, rpcs: make(chan raft.RPC), closed: make(chan struct{}), preVotes: preVotes,
	}
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		t.pass()
	}()
	t.close = sync.OnceValue(func() error {
		close(t.closed)
		<-passed
		return t.NetworkTransport.Close()
	})
	return t
}

// Consumer yields what others ask of Raft.
func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// Close ends the transport and its goroutine.
func (t *transport) Close() error { return t.close() }

// pass hands on to Raft what others ask, but for what is answered here.
func (t *transport) pass() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			if t.answered(rpc) {
				continue
			}
			select {
			case t.rpcs <- rpc:
			case <-t.closed:
				return
			}
		case <-t.closed:
			return
		}
	}
}

// answered answers what must not come to Raft: questions for a vote while the disk is at fault, orders to stand for election too, and
// questions before a vote while the leader is suspected.
func (t *transport) answered(rpc raft.RPC) bool {
	switch q := rpc.Command.(type) {
	case *raft.RequestVoteRequest:
		if t.fence.closed() {
			rpc.Respond(&raft.RequestVoteResponse{RPCHeader: t.header(""), Term: q.Term}, nil)
			return true
		}
	case *raft.TimeoutNowRequest:
		if !t.fence.mayStand() {
			rpc.Respond(nil, errSilent)
			return true
		}
	case *raft.RequestPreVoteRequest:
		granted, ok := false, true
		if !t.fence.closed() {
			granted, ok = t.preVotes(q)
		}
		if ok {
			rpc.Respond(&raft.RequestPreVoteResponse{RPCHeader: t.header(""), Term: q.Term, Granted: granted}, nil)
		}
		return ok
	}
	return false
}

// header is what messages of this node begin with.
func (t *transport) header(id string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(t.LocalAddr())}
}

// standNow tells this node's own Raft to stand for election.
func (t *transport) standNow(ctx context.Context, id string) error {
	resp := make(chan raft.RPCResponse, 1)
	select {
	case t.rpcs <- raft.RPC{Command: &raft.TimeoutNowRequest{RPCHeader: t.header(id)}, RespChan: resp}:
	case <-t.closed:
		return raft.ErrTransportShutdown
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case r := <-resp:
		return r.Error
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// SetHeartbeatHandler sets who answers heartbeats, which Raft has done beside its own goroutines.
func (t *transport) SetHeartbeatHandler(answer func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		t.heartbeats.RLock()
		defer t.heartbeats.RUnlock()
		if t.ended {
			rpc.Respond(nil, raft.ErrRaftShutdown)
			return
		}
		answer(rpc)
	})
}

// endHeartbeats returns when no heartbeat is being answered, nor will be. Raft's end does not wait for them, and one that comes
// late writes a term into a log that is closed, which is a panic.
func (t *transport) endHeartbeats() {
	t.heartbeats.Lock()
	defer t.heartbeats.Unlock()
	t.ended = true
}

// resent sends a message, which may arrive twice, again while its connection turns out to be broken. Those that Raft keeps are watched by
// nobody: after a peer was started anew each of them would cost a vote, or a round of asking, before a new one is made.
func resent(send func() error) error {
	for range pooledConnections {
		if err := send(); !brokenConnection(err) {
			return err
		}
	}
	return send()
}

func brokenConnection(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// AppendEntries sends entries, or a heartbeat, and remembers a follower that agreed.
func (t *transport) AppendEntries(id raft.ServerID, address raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.fence.closed() {
		return errSilent
	}
	asked := t.contacts.clock.Load()
	err := resent(func() error { return t.NetworkTransport.AppendEntries(id, address, req, resp) })
	if err == nil && resp.Success && resp.Term == req.Term {
		t.contacts.agreed(id, asked)
	}
	return err
}

// AppendEntriesPipeline returns a pipeline whose answers are always taken.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, address raft.ServerAddress) (raft.AppendPipeline, error) {
	if t.fence.closed() {
		return nil, errSilent
	}
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, address)
	if err != nil {
		return nil, err
	}
	return newDrainedPipeline(p, t.fence), nil
}

// InstallSnapshot sends a snapshot.
func (t *transport) InstallSnapshot(id raft.ServerID, address raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if t.fence.closed() {
		return errSilent
	}
	return t.NetworkTransport.InstallSnapshot(id, address, req, resp, data)
}

// RequestVote asks for a vote.
func (t *transport) RequestVote(id raft.ServerID, address raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if !t.fence.mayStand() {
		return errSilent
	}
	return resent(func() error { return t.NetworkTransport.RequestVote(id, address, req, resp) })
}

// RequestPreVote asks whether a vote would be given.
func (t *transport) RequestPreVote(id raft.ServerID, address raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if !t.fence.mayStand() {
		return errSilent
	}
	return resent(func() error { return t.NetworkTransport.RequestPreVote(id, address, req, resp) })
}

// drainedPipeline takes answers from the inner pipeline whether or not Raft is ready for them. Raft stops reading answers
// while it sends; when a follower then rejects an entry, sender and reader wait for each other for ever, behind a leader whose
// heartbeats go on (raft#611, raft#612).
type drainedPipeline struct {
	raft.AppendPipeline
	fence *fence
	out   chan raft.AppendFuture
	stop  func()
	done  chan struct{}
}

func newDrainedPipeline(inner raft.AppendPipeline, fence *fence) *drainedPipeline {
	stop := make(chan struct{})
	p := &drainedPipeline{
		AppendPipeline: inner,
		fence:          fence,
		out:            make(chan raft.AppendFuture),
		stop:           sync.OnceFunc(func() { close(stop) }),
		done:           make(chan struct{}),
	}
	go p.drain(stop)
	return p
}

func (p *drainedPipeline) drain(stop <-chan struct{}) {
	defer close(p.done)
	var waiting []raft.AppendFuture // as many as Raft has sent and not looked at; it sends few
	for {
		var out chan raft.AppendFuture
		var head raft.AppendFuture
		if len(waiting) > 0 {
			out, head = p.out, waiting[0]
		}
		select {
		case f := <-p.AppendPipeline.Consumer():
			waiting = append(waiting, f)
		case out <- head:
			waiting = waiting[1:]
		case <-stop:
			return
		}
	}
}

// AppendEntries sends entries; their answer comes through the Consumer.
func (p *drainedPipeline) AppendEntries(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.fence.closed() {
		return nil, errSilent
	}
	return p.AppendPipeline.AppendEntries(req, resp)
}

// Consumer returns the answers.
func (p *drainedPipeline) Consumer() <-chan raft.AppendFuture { return p.out }

// Close ends the pipeline and waits for its goroutine.
func (p *drainedPipeline) Close() error {
	p.stop()
	<-p.done
	return p.AppendPipeline.Close()
}
