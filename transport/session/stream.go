package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	musterv1 "muster/proto/muster/v1"
	"muster/system"
	"muster/transport/rpcstatus"
)

const (
	// helloTimeout is what a client has to say hello.
	helloTimeout = 5 * time.Second
	// sendPatience is what a client is given to read a last message.
	sendPatience = time.Second
)

// stream is one member's process on this node.
type stream struct {
	hub     *Hub
	grpc    grpc.BidiStreamingServer[musterv1.SessionRequest, musterv1.SessionResponse]
	out     *outbox
	over    *connection // from Hub.enter on
	session *system.Session
	apply   func(context.Context, *musterv1.Answers) (*musterv1.Outcome, error) // session.Answer
	end     context.CancelFunc
	greeted atomic.Bool // a hello was applied

	members []member // guarded by hub.mu
}

// Serve serves one stream until it, its term or the Hub ends. Without a published term here it answers a redirect.
func (h *Hub) Serve(g grpc.BidiStreamingServer[musterv1.SessionRequest, musterv1.SessionResponse]) error {
	s := &stream{hub: h, grpc: g, out: newOutbox(&h.relayed)}
	defer s.out.discard()
	session, err := h.sys.Attach(s.out.ack, s.out.tell)
	if errors.Is(err, system.ErrUnbuilt) {
		return rpcstatus.New(musterv1.Reason_REASON_NOT_SERVING, "%v", err)
	}
	if err != nil {
		return s.redirect()
	}
	s.session, s.apply = session, session.Answer
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	s.end = cancel
	if !h.enter(s) {
		return s.redirect()
	}
	defer func() {
		if silent := h.leave(s); session.Context().Err() == nil {
			session.Close(silent)
		}
	}()
	return s.serve(ctx)
}

// serve reads, writes and, once there is something to answer, answers in a goroutine each. They end behind serve: its caller ends ctx, and
// gRPC the stream, which frees a Recv or a Send that waits for a client which does neither. ctx is not bound to the term: ten thousand
// streams at once would wait for each other at its list of contexts.
func (s *stream) serve(ctx context.Context) error {
	broken := make(chan error, 2)
	written := make(chan error, 1)
	go func() { broken <- s.read(ctx, &answerer{broken: broken}) }()
	go func() { written <- s.write(ctx, broken) }()
	err, ended := error(nil), false
	select {
	case err = <-written:
	case <-ctx.Done():
		ended = true
	case <-s.session.Context().Done():
		ended = true
	}
	if ended {
		select {
		case err = <-written:
		case <-time.After(sendPatience): // the client does not read; ending the stream frees the writer
			return rpcstatus.New(musterv1.Reason_REASON_NOT_SERVING, "the term or the node ends, and nothing is read here: ask another node")
		}
	}
	if errors.Is(err, errEnded) {
		return s.redirect()
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// errEnded: the term or the node ends; the client is told where to go.
var errEnded = errors.New("the term has ended")

// write sends what waits, and a frame when it is this stream's turn to show one.
func (s *stream) write(ctx context.Context, broken <-chan error) error {
	greet := time.NewTimer(helloTimeout)
	defer greet.Stop()
	for {
		select {
		case <-ctx.Done():
			if s.grpc.Context().Err() == nil {
				return errEnded
			}
			return ctx.Err()
		case <-s.session.Context().Done():
			return errEnded
		case err := <-broken:
			if errors.Is(err, system.ErrNotApplied) || errors.Is(err, system.ErrOutcomeUnknown) {
				return errEnded
			}
			return err
		case <-s.out.wake:
			responses, overflow := s.out.take()
			if overflow {
				return rpcstatus.New(musterv1.Reason_REASON_FULL, "%d messages wait to be read: read faster, then connect again", maxQueued)
			}
			if due := s.out.frameDue(); due && len(responses) == 0 {
				responses = []*musterv1.SessionResponse{frame(s.hub.Open())}
			}
			for _, r := range responses {
				if err := s.grpc.Send(r); err != nil {
					return err
				}
			}
			s.over.wrote()
		case <-greet.C:
			if !s.greeted.Load() {
				return invalid("hello", "none was applied within %v: say hello first", helloTimeout)
			}
		}
	}
}

// read hands messages on until the stream breaks.
func (s *stream) read(ctx context.Context, answers *answerer) error {
	for {
		m, err := s.grpc.Recv()
		if err != nil {
			return err
		}
		if err := checkForm(m); err != nil {
			return err
		}
		if err := s.handle(ctx, m, answers); err != nil {
			return err
		}
	}
}

// handle hands one message on, whose form is right.
func (s *stream) handle(ctx context.Context, m *musterv1.SessionRequest, answers *answerer) error {
	if hello := m.GetHello(); hello != nil {
		if err := s.hello(ctx, hello); err != nil {
			return err
		}
		s.greeted.Store(true)
		return nil
	}
	if !s.greeted.Load() {
		return rpcstatus.Error(&musterv1.Refusal{
			Reason: musterv1.Reason_REASON_INVALID, Field: "hello", Message: "the first message of a session must be a hello",
		})
	}
	if report := m.GetReport(); report != nil {
		if err := s.session.Report(report); err != nil {
			return rpcstatus.New(musterv1.Reason_REASON_FULL, "%v: connect again and say it slower", err)
		}
		return nil
	}
	if s.relay(m) {
		return nil
	}
	return answers.hand(ctx, s, s.take(m))
}

// hello has who speaks applied, answers, and has the members' due orders delivered.
func (s *stream) hello(ctx context.Context, h *musterv1.Hello) error {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	verdicts, speaksFor, number, err := s.session.Hello(ctx, h)
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	epoch, raftTerm := s.session.Term()
	s.out.put(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Welcome{Welcome: &musterv1.Welcome{
		Epoch: epoch, RaftTerm: raftTerm, Number: number, Node: s.hub.node, Relays: true,
	}}})
	if len(verdicts) > 0 {
		s.out.tell(verdicts)
	}
	s.out.forgetOrders()
	s.hub.speakFor(s, speaksFor) // behind the welcome, so that nothing is said before it
	s.session.DeliverOrders()
	return nil
}

// redirect ends the stream with the leader's address, or, where nobody knows one, with an error.
func (s *stream) redirect() error {
	hint := s.hub.leader()
	if hint == nil || hint.Node == s.hub.node {
		return rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "this node leads no more and knows of no other leader yet: ask the others")
	}
	if err := s.grpc.Send(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Redirect{Redirect: hint}}); err != nil {
		return err
	}
	return nil
}
