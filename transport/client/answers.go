package client

import (
	musterv1 "muster/proto/muster/v1"
)

// answers are what one session has said about orders. The leader tells how many of them are in the state, in the order they were sent. What a
// session that broke has not seen acknowledged is said again in the next, by its hello or here.
type answers struct {
	sent    uint64
	waiting []answered // ascending

	confirmed uint64 // the highest order that was confirmed here
	port      uint32 // and the port that was told
	results   int    // stop results that were sent
	started   map[uint64]bool
	exited    map[uint64]bool
}

// answered is what to do when an answer is in the state.
type answered struct {
	number uint64
	done   func() error
}

func newAnswers() answers {
	return answers{started: map[uint64]bool{}, exited: map[uint64]bool{}}
}

// say sends one answer. done is called when it is in the state; it may be nil.
func (s *session) say(m *musterv1.SessionRequest, done func() error) error {
	s.answers.sent++
	if done != nil {
		s.answers.waiting = append(s.answers.waiting, answered{s.answers.sent, done})
	}
	return s.send(m)
}

// applied takes that so many answers are in the state.
func (s *session) applied(count uint64) error {
	for len(s.answers.waiting) > 0 && s.answers.waiting[0].number <= count {
		done := s.answers.waiting[0].done
		s.answers.waiting = s.answers.waiting[1:]
		if err := done(); err != nil {
			return err
		}
	}
	return nil
}

// answer says what has come up since: orders accepted, what became of ranks, results of stops, actors that failed, the end, and last what
// is posted.
func (s *session) answer() error {
	if s.leader == nil {
		return nil // the welcome brings it back here
	}
	for _, say := range []func() error{s.confirm, s.sayRanks, s.sayResults, s.sayFailures, s.sayInterests, s.sayEnd, s.sayPosts} {
		if err := say(); err != nil {
			return err
		}
	}
	return nil
}

// confirm says which orders have been accepted, if that is news here.
func (s *session) confirm() error {
	m := s.member
	m.mu.Lock()
	highest := m.highest
	m.mu.Unlock()
	var port uint32
	if m.host != nil {
		_, _, port = m.host.held()
	}
	if highest <= s.answers.confirmed && port == s.answers.port {
		return nil
	}
	s.answers.confirmed, s.answers.port = highest, port
	return s.say(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Confirm{
		Confirm: &musterv1.Confirm{Proc: m.Proc(), HighestOrder: highest, MasterPort: port},
	}}, nil)
}

// sayRanks says what has become of the ranks that are held here.
func (s *session) sayRanks() error {
	h := s.member.host
	if h == nil {
		return nil
	}
	ranks, _, _ := h.held()
	for _, r := range ranks {
		if r.GetStarted() && !s.answers.started[r.GetOrder()] {
			s.answers.started[r.GetOrder()] = true
			if err := s.say(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Started{
				Started: &musterv1.Started{Proc: r.GetProc(), Order: r.GetOrder()},
			}}, nil); err != nil {
				return err
			}
		}
		if r.GetExit() != nil && !s.answers.exited[r.GetOrder()] {
			s.answers.exited[r.GetOrder()] = true
			if err := s.say(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Exited{
				Exited: &musterv1.Exited{Proc: r.GetProc(), Order: r.GetOrder(), Exit: r.GetExit()},
			}}, func() error { h.acknowledge(r.GetOrder()); return nil }); err != nil {
				return err
			}
		}
	}
	return nil
}

// sayResults sends results of stops. A member without a handler ends when its last one has come through.
func (s *session) sayResults() error {
	m := s.member
	results := m.stopResults()
	for s.answers.results < len(results) {
		result := results[s.answers.results]
		s.answers.results++
		last := s.answers.results == len(results)
		if err := s.say(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_StopResult{StopResult: result}}, func() error {
			if last && m.cfg.Handler == nil {
				return m.stopped()
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// sayFailures reports actors that failed, which cannot wait for the next report.
func (s *session) sayFailures() error {
	m := s.member
	m.mu.Lock()
	failed, waiting := m.failures.added, len(m.failures.waiting)
	m.mu.Unlock()
	if waiting > 0 && (len(s.unacked) == 0 || s.unacked[len(s.unacked)-1].failures < failed) {
		return s.report()
	}
	return nil
}
