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
	// frameInterval is the longest that a stream shows nothing.
	frameInterval = 250 * time.Millisecond
	// helloTimeout is what a client has to say hello.
	helloTimeout = 5 * time.Second
	// proposalTimeout bounds how long a confirmation or an answer waits to be applied.
	proposalTimeout = 10 * time.Second
	// maxAnswers is how many of those may wait; behind them the reader waits.
	maxAnswers = 256
	// sendPatience is what a client is given to read a last message.
	sendPatience = time.Second
)

// stream is one member's process on this node.
type stream struct {
	hub     *Hub
	grpc    grpc.BidiStreamingServer[musterv1.SessionRequest, musterv1.SessionResponse]
	out     *outbox
	session *system.Session
	end     context.CancelFunc
	greeted atomic.Bool // a hello was applied

	members []*musterv1.HelloMember // guarded by hub.mu
}

// Serve serves one stream until it, its term or the Hub ends. Without a published term here it answers a redirect.
func (h *Hub) Serve(g grpc.BidiStreamingServer[musterv1.SessionRequest, musterv1.SessionResponse]) error {
	s := &stream{hub: h, grpc: g, out: newOutbox()}
	session, err := h.sys.Attach(s.out.ack, s.out.tell)
	if err != nil {
		return s.redirect()
	}
	s.session = session
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	s.end = cancel
	defer context.AfterFunc(session.Context(), cancel)()
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

// serve reads, answers and writes in a goroutine each. They end when serve returns: their context ends, and gRPC ends the stream, which
// frees a Recv or a Send that waits for a client which does neither.
func (s *stream) serve(ctx context.Context) error {
	answers := make(chan *musterv1.SessionRequest, maxAnswers)
	broken := make(chan error, 1)
	written := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { broken <- s.read(ctx, answers) }()
	go s.answer(ctx, answers)
	go func() { written <- s.write(ctx, broken) }()
	var err error
	select {
	case err = <-written:
	case <-ctx.Done():
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

// write sends what waits, and a frame when nothing has been sent for a while.
func (s *stream) write(ctx context.Context, broken <-chan error) error {
	frame := time.NewTicker(frameInterval)
	defer frame.Stop()
	opened := time.Now()
	for {
		select {
		case <-ctx.Done():
			if s.grpc.Context().Err() == nil {
				return errEnded
			}
			return ctx.Err()
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
			for _, r := range responses {
				if err := s.grpc.Send(r); err != nil {
					return err
				}
			}
			frame.Reset(frameInterval)
		case <-frame.C:
			if !s.greeted.Load() && time.Since(opened) > helloTimeout {
				return invalid("hello", "none was applied within %v: say hello first", helloTimeout)
			}
			if err := s.grpc.Send(&musterv1.SessionResponse{}); err != nil {
				return err
			}
		}
	}
}

// read hands messages on until the stream breaks.
func (s *stream) read(ctx context.Context, answers chan<- *musterv1.SessionRequest) error {
	for {
		m, err := s.grpc.Recv()
		if err != nil {
			return err
		}
		if err := checkForm(m); err != nil {
			return err
		}
		switch body := m.Body.(type) {
		case *musterv1.SessionRequest_Hello:
			if err := s.hello(ctx, body.Hello); err != nil {
				return err
			}
			s.greeted.Store(true)
			continue
		case *musterv1.SessionRequest_Report:
			if s.greeted.Load() {
				if err := s.session.Report(body.Report); err != nil {
					return rpcstatus.New(musterv1.Reason_REASON_FULL, "%v: connect again and say it slower", err)
				}
				continue
			}
		default:
			if s.greeted.Load() {
				select {
				case answers <- m:
				case <-ctx.Done():
					return errEnded
				}
				continue
			}
		}
		return rpcstatus.Error(&musterv1.Refusal{
			Reason: musterv1.Reason_REASON_INVALID, Field: "hello", Message: "the first message of a session must be a hello",
		})
	}
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
		Epoch: epoch, RaftTerm: raftTerm, Number: number, Node: s.hub.node,
	}}})
	if len(verdicts) > 0 {
		s.out.tell(verdicts)
	}
	s.hub.speakFor(s, speaksFor) // behind the welcome, so that nothing is said before it
	s.session.DeliverOrders()
	return nil
}

// answer has confirmations and answers to stops applied, in the order they came. What could not be applied is given back.
func (s *stream) answer(ctx context.Context, answers <-chan *musterv1.SessionRequest) {
	for {
		var m *musterv1.SessionRequest
		select {
		case <-ctx.Done():
			return
		case m = <-answers:
		}
		ctx, cancel := context.WithTimeout(ctx, proposalTimeout)
		var out *musterv1.Outcome
		var err error
		switch body := m.Body.(type) {
		case *musterv1.SessionRequest_Confirm:
			out, err = s.session.Confirm(ctx, body.Confirm)
		case *musterv1.SessionRequest_StopResult:
			out, err = s.session.StopResult(ctx, body.StopResult)
		}
		cancel()
		refusal := out.GetRefusal()
		if err != nil {
			refusal = &musterv1.Refusal{Reason: reasonOf(err), Message: err.Error()}
		}
		if refusal != nil {
			s.out.put(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Refused{Refused: refusal}})
		}
	}
}

func reasonOf(err error) musterv1.Reason {
	switch {
	case errors.Is(err, system.ErrFull):
		return musterv1.Reason_REASON_FULL
	case errors.Is(err, system.ErrNotApplied):
		return musterv1.Reason_REASON_DROPPED
	}
	return musterv1.Reason_REASON_OUTCOME_UNKNOWN
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
