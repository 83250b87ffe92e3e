package system

import (
	"context"

	"google.golang.org/protobuf/proto"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// Session is one member's process on the leader, in one term. Hello, Report, Confirm and StopResult are called by its stream;
// Report by one goroutine at a time.
type Session struct {
	l        *leadership
	acked    func(uint64)
	verdicts func([]*musterv1.Verdict)

	members  []*musterv1.HelloMember
	reporter *Reporter
}

// Attach opens a session in the published term. acked and verdicts must not block.
func (s *System) Attach(acked func(seq uint64), verdicts func([]*musterv1.Verdict)) (*Session, error) {
	l := s.published.Load()
	if l == nil {
		return nil, ErrNotLeading
	}
	return &Session{l: l, acked: acked, verdicts: verdicts}, nil
}

// Context ends with the term.
func (s *Session) Context() context.Context { return s.l.term.Context() }

// Term is the pair that clients compare sessions by.
func (s *Session) Term() (epoch, raftTerm uint64) { return s.l.epoch, s.l.term.Number() }

// Hello has who speaks applied. The session speaks for those that got no verdict from then on; number is the state's afterwards.
func (s *Session) Hello(ctx context.Context, h *musterv1.Hello) (verdicts []*musterv1.Verdict, speaksFor []*musterv1.HelloMember, number uint64, err error) {
	for _, part := range splitHello(h) {
		out, err := s.l.term.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_Hello{Hello: part}})
		if err != nil {
			return nil, nil, 0, err
		}
		verdicts = append(verdicts, out.GetVerdicts().GetVerdicts()...)
	}
	s.l.state.Read(func(st *fsm.State) { number = st.Number() })
	refused := make(map[identity]bool, len(verdicts))
	for _, v := range verdicts {
		refused[identityOf(v.Proc)] = true
	}
	for _, m := range h.Members {
		if !refused[identityOf(m.Proc)] {
			speaksFor = append(speaksFor, m)
		}
	}
	s.l.gone.back(speaksFor)
	s.members = speaksFor
	s.reporter = s.l.collector.reporter(speaksFor, s.acked, s.verdicts)
	return verdicts, speaksFor, number, nil
}

// maxHello bounds the members of one hello in the log, in bytes; what an agent says in one message is split over entries.
const maxHello = 64 << 10

func splitHello(h *musterv1.Hello) []*musterv1.Hello {
	var parts []*musterv1.Hello
	part, size := &musterv1.Hello{Owner: h.Owner, Epoch: h.Epoch}, 0
	for _, m := range h.Members {
		if n := proto.Size(m); size+n > maxHello {
			parts = append(parts, part)
			part, size = &musterv1.Hello{Owner: h.Owner, Epoch: h.Epoch}, 0
		}
		part.Members = append(part.Members, m)
		size += proto.Size(m)
	}
	return append(parts, part)
}

// DeliverOrders sends the members what the state says they have still to be told. Call it when the session can be found.
func (s *Session) DeliverOrders() {
	for _, m := range s.members {
		s.l.orders.Add(m.Proc)
	}
}

// Report takes a message; it never blocks. Before a Hello it does nothing. The error is ErrTooMuch.
func (s *Session) Report(m *musterv1.SessionReport) error {
	if s.reporter == nil {
		return nil
	}
	return s.reporter.Report(m)
}

// Confirm has the acceptance of orders applied.
func (s *Session) Confirm(ctx context.Context, c *musterv1.Confirm) (*musterv1.Outcome, error) {
	return s.l.term.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_Confirm{Confirm: c}})
}

// StopResult has a proc's answer to a stop applied.
func (s *Session) StopResult(ctx context.Context, r *musterv1.StopResult) (*musterv1.Outcome, error) {
	return s.l.term.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_StopResult{StopResult: r}})
}

// Close tells the term that the session has ended and that nobody speaks for these members any more.
func (s *Session) Close(silent []*musterv1.HelloMember) {
	if s.l.gone.full() {
		s.l.state.Read(s.l.gone.sweep)
	}
	s.l.gone.ended(silent)
}
