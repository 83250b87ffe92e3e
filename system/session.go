package system

import (
	"context"

	"google.golang.org/protobuf/proto"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// Session is one member's process on the leader, in one term. Its methods are called by its stream: Hello, Report, Hold, Release
// and what relay.go has by one goroutine at a time, Answer by another.
type Session struct {
	l        *leadership
	acked    func(uint64)
	verdicts func([]*musterv1.Verdict)

	members  []*musterv1.HelloMember // from Hello until DeliverOrders
	reporter *Reporter
}

// Attach opens a session in the published term. acked and verdicts must not block. The error is
// ErrNotLeading, or wraps ErrUnbuilt.
func (s *System) Attach(acked func(seq uint64), verdicts func([]*musterv1.Verdict)) (*Session, error) {
	l, err := s.admitted()
	if err != nil {
		return nil, err
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
	var held []*musterv1.HeldRank
	speaksFor, held = accepted(h, verdicts)
	s.l.gone.back(speaksFor)
	s.l.routes.End(speaksFor) // the session says anew what they are interested in
	s.members = speaksFor
	s.reporter = s.l.collector.reporter(speaksFor, held, s.acked, s.verdicts)
	return verdicts, speaksFor, number, nil
}

// accepted are the members of a hello that got no verdict, and the ranks that are to be reported for them.
func accepted(h *musterv1.Hello, verdicts []*musterv1.Verdict) (members []*musterv1.HelloMember, held []*musterv1.HeldRank) {
	judged := make(map[identity]musterv1.Verdict_Kind, len(verdicts))
	for _, v := range verdicts {
		judged[judgedBy(v)] = v.Kind
	}
	for _, m := range h.Members {
		if _, refused := judged[identityOf(m.Proc)]; !refused {
			members = append(members, m)
		}
	}
	for _, r := range h.Ranks {
		// An expired one is joined again while this session lasts, and hears it again with each report until then.
		kind, refused := judged[heldIdentity(r.Proc, r.Order)]
		if r.Exit == nil && (!refused || kind == musterv1.Verdict_KIND_EXPIRED) {
			held = append(held, r)
		}
	}
	return members, held
}

// maxHello bounds what one hello in the log lists, in bytes; what an agent says in one message is split over entries.
const maxHello = 64 << 10

// splitHello cuts a hello into parts, each of which tells who speaks: members first, then ranks.
func splitHello(h *musterv1.Hello) []*musterv1.Hello {
	var parts []*musterv1.Hello
	part, size := &musterv1.Hello{Owner: h.Owner, Epoch: h.Epoch}, 0
	room := func(m proto.Message) {
		n := proto.Size(m) + 4
		if size > 0 && size+n > maxHello {
			parts = append(parts, part)
			part, size = &musterv1.Hello{Owner: h.Owner, Epoch: h.Epoch}, 0
		}
		size += n
	}
	for _, m := range h.Members {
		room(m)
		part.Members = append(part.Members, m)
	}
	for _, r := range h.Ranks {
		room(r)
		part.Ranks = append(part.Ranks, r)
	}
	return append(parts, part)
}

// DeliverOrders sends the members what the state says they have still to be told. Call it when the session can be found.
func (s *Session) DeliverOrders() {
	for _, m := range s.members {
		s.l.orders.Add(m.Proc)
	}
	s.members = nil
}

// Report takes a message; it never blocks. Before a Hello it does nothing. The error is ErrTooMuch.
func (s *Session) Report(m *musterv1.SessionReport) error {
	if s.reporter == nil {
		return nil
	}
	return s.reporter.Report(m)
}

// Hold has a rank reported as alive by its host, which runs it under a spawn order. Before a Hello it does nothing.
func (s *Session) Hold(p *musterv1.ProcRef, order uint64) {
	if s.reporter != nil {
		s.reporter.Hold(p, order)
	}
}

// Release undoes Hold.
func (s *Session) Release(p *musterv1.ProcRef, order uint64) {
	if s.reporter != nil {
		s.reporter.Release(p, order)
	}
}

// Answer has what members say to orders applied, all or nothing. The outcome may hold verdicts.
func (s *Session) Answer(ctx context.Context, a *musterv1.Answers) (*musterv1.Outcome, error) {
	return s.l.term.Propose(ctx, &musterv1.Command{Body: &musterv1.Command_Answers{Answers: a}})
}

// Close tells the term that the session has ended and that nobody speaks for these members any more.
func (s *Session) Close(silent []*musterv1.HelloMember) {
	s.l.gone.makeRoom(s.l.state)
	s.l.gone.ended(silent)
	s.l.routes.End(silent)
}
