package client

import (
	"time"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// obey takes one frame of the leader. An error ends the session.
func (s *session) obey(frame *musterv1.SessionResponse) error {
	c := s.member.client
	switch body := frame.GetBody().(type) {
	case *musterv1.SessionResponse_Welcome:
		return s.welcome(body.Welcome)
	case *musterv1.SessionResponse_Redirect:
		if c.follow(body.Redirect) {
			return errMoved
		}
		return errNowhere
	}
	if s.leader == nil {
		return nil
	}
	switch body := frame.GetBody().(type) {
	case *musterv1.SessionResponse_AckedSeq:
		return s.acknowledged(body.AckedSeq)
	case *musterv1.SessionResponse_Verdicts:
		return s.judged(body.Verdicts)
	case *musterv1.SessionResponse_Order:
		return s.ordered(body.Order)
	case *musterv1.SessionResponse_AppliedAnswers:
		return s.applied(body.AppliedAnswers)
	case *musterv1.SessionResponse_Post:
		return s.posted(body.Post)
	case *musterv1.SessionResponse_Receipt:
		s.member.posts.receipt(body.Receipt)
	case *musterv1.SessionResponse_Address:
		return s.located(body.Address)
	}
	return nil
}

func (s *session) welcome(welcome *musterv1.Welcome) error {
	m, c := s.member, s.member.client
	c.numbers.observe(welcome.GetNumber())
	leader := &musterv1.LeaderHint{
		Node: welcome.GetNode(), Address: s.address, Epoch: welcome.GetEpoch(), RaftTerm: welcome.GetRaftTerm(),
	}
	if compareLeaders(leader, c.leader.greatest()) < 0 {
		return errOlder
	}
	c.leader.observe(leader)
	c.leader.trust(s.address)
	s.leader, s.relays = leader, welcome.GetRelays()
	if s.epoch == leader.GetEpoch() {
		m.extend(s.helloSent)
		for _, order := range s.ended {
			m.host.acknowledge(order)
		}
	}
	if s.relays {
		if err := s.beginRelay(); err != nil {
			return err
		}
	}
	return s.answer() // and no report: the hello was one
}

// acknowledged takes that all reports up to seq are in the state.
func (s *session) acknowledged(seq uint64) error {
	m := s.member
	for len(s.unacked) > 0 && s.unacked[0].seq <= seq {
		m.extend(s.unacked[0].sent)
		m.mu.Lock()
		m.failures.acknowledge(s.unacked[0].failures)
		m.mu.Unlock()
		if s.unacked[0].end {
			m.cancel(errLeft)
		}
		s.unacked = s.unacked[1:]
	}
	return nil
}

// extend counts the lease from when a report was sent that the cluster has acknowledged.
func (m *Member) extend(sent time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	until := sent.Add(time.Duration(m.joined.GetTimeouts().GetLeaseNs()))
	if until.After(m.lease) {
		m.lease = until
	}
}

func (s *session) judged(verdicts *musterv1.Verdicts) error {
	m := s.member
	m.mu.Lock()
	leaving := m.leaving
	m.mu.Unlock()
	for _, verdict := range verdicts.GetVerdicts() {
		if verdict.GetHeldOrder() != 0 {
			if m.host != nil {
				m.host.judged(verdict)
			}
			continue
		}
		// A verdict on an earlier incarnation came late; who leaves has no more to do with any.
		if leaving || !proto.Equal(verdict.GetProc(), m.Proc()) {
			continue
		}
		switch verdict.GetKind() {
		case musterv1.Verdict_KIND_EXPIRED, musterv1.Verdict_KIND_REJOIN:
			if stopped := m.stopped(); stopped != nil {
				return stopped // what has been told to stop does not come back
			}
			if verdict.GetKind() == musterv1.Verdict_KIND_EXPIRED {
				return errExpired
			}
			return errRejoin
		case musterv1.Verdict_KIND_SUPERSEDED, musterv1.Verdict_KIND_ENDED, musterv1.Verdict_KIND_UNKNOWN:
			if verdict.GetKind() == musterv1.Verdict_KIND_ENDED && m.isEnding() {
				m.cancel(errLeft) // its word ended the world, or came too late to matter
				return nil
			}
			stopped := m.stopped()
			if verdict.GetKind() == musterv1.Verdict_KIND_ENDED && m.cfg.Handler == nil && stopped != nil {
				return stopped // its answer to the stop ended the world, and the acknowledgement is still on its way
			}
			return &Ended{Kind: verdict.GetKind(), Status: verdict.GetStatus(), Proc: verdict.GetProc()}
		}
	}
	return nil
}

func (s *session) ordered(order *musterv1.Order) error {
	m := s.member
	if !proto.Equal(order.GetProc(), m.Proc()) {
		return nil // for another incarnation
	}
	if m.host != nil {
		m.host.take(order)
	} else if m.accept(order.GetId()) {
		if stop := order.GetStop(); stop != nil {
			m.beginStop(stop)
		} else {
			m.client.logger.Warn("an order that this version does not know is left alone", "order", order.GetId())
		}
	}
	s.answers.confirmed = min(s.answers.confirmed, order.GetId()-1) // whoever sends it has not seen it confirmed
	return s.answer()
}
