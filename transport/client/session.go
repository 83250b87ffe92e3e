package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/rpcstatus"
)

// silence is how long a session may be mute before the leader is looked for elsewhere; it speaks every 250 ms.
const silence = 750 * time.Millisecond

// maxSilences in a row end a session whose leader says all the while that it leads: it is slow, and a session begun anew would make it
// slower, but a stream may also be stuck.
const maxSilences = 4

// defaultInterval is for a member whose join was not told how often to report.
const defaultInterval = 2 * time.Second

// Why a session ended, where it was not a broken connection.
var (
	errNowhere = errors.New("nobody is known to lead")
	errSilent  = fmt.Errorf("heard nothing for %v", silence)
	errStuck   = errors.New("heard nothing for a lease, while others did")
	errMoved   = errors.New("a newer leader is known")
	errOlder   = errors.New("it leads an older term than one already known")
	errRejoin  = errors.New("has to join again")
	errExpired = fmt.Errorf("was silent for too long: %w", errRejoin)
)

// session is one stream to one server. Everything in it belongs to the goroutine that runs it; another one only receives.
type session struct {
	member  *Member
	address string
	stream  musterv1grpc.MemberService_SessionClient
	frames  chan *musterv1.SessionResponse
	broken  chan error
	beside  sync.WaitGroup // the reader, and whoever asks
	began   time.Time
	heard   *lastHeard // of its connection
	own     *lastHeard // of this session alone

	helloSent time.Time
	// leader is nil before the welcome; nothing is obeyed before it.
	leader *musterv1.LeaderHint
	relays bool // the leader does
	seq    uint64
	// unacked reports, ascending.
	unacked []sentReport
	answers answers
	// epoch is the one that the hello was said in. A leader of another has taken nothing of it: the member joins again first.
	epoch uint64
	// Runs whose end the hello tells: they are forgotten with the welcome.
	ended []uint64
}

// sentReport is what has to be known when a report is acknowledged.
type sentReport struct {
	seq      uint64
	sent     time.Time
	failures uint64
	end      bool // it says how the member has ended
}

// session runs one session until it breaks or ends. It tells whether it was welcome.
func (m *Member) session(address string) (welcome bool, err error) {
	if address == "" {
		return false, errNowhere
	}
	conn, err := m.client.servers.connect(m.ctx, address)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(m.ctx)
	stream, err := musterv1grpc.NewMemberServiceClient(conn).Session(ctx)
	if err != nil {
		cancel()
		return false, err
	}
	s := &session{
		member: m, address: address, stream: stream, began: time.Now(), heard: m.client.servers.heardFrom(address), own: newLastHeard(),
		frames: make(chan *musterv1.SessionResponse), broken: make(chan error, 1), answers: newAnswers(),
	}
	s.beside.Go(func() { s.read(ctx) })
	defer s.beside.Wait()
	defer cancel()
	err = s.run(ctx)
	return s.leader != nil, err
}

// read hands on what is received, but for frames that only show that the leader is there.
func (s *session) read(ctx context.Context) {
	for {
		frame, err := s.stream.Recv()
		if err != nil {
			s.broken <- err
			return
		}
		s.heard.now()
		s.own.now()
		if frame.GetBody() == nil {
			s.member.client.crowd.told(frame.GetReturnWithinMs())
			continue
		}
		select {
		case s.frames <- frame:
		case <-ctx.Done():
			return
		}
	}
}

func (s *session) run(ctx context.Context) error {
	if err := s.hello(); err != nil {
		return err
	}
	silent := s.heard.silence()
	silences, before := 0, time.Time{} // in a row: nothing was heard since before
	stays := make(chan bool)
	interval := time.Duration(s.member.Timeouts().GetReportIntervalNs())
	if interval <= 0 {
		interval = defaultInterval
	}
	report := time.NewTimer(s.member.client.untilReport(interval))
	defer report.Stop()
	for {
		known, newer := s.member.client.leader.news()
		if s.leader != nil && compareLeaders(known, s.leader) > 0 {
			return errMoved
		}
		select {
		case <-newer:
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.broken:
			if s.member.client.learn(rpcstatus.Refusal(err)) {
				return errMoved
			}
			return err
		case <-silent:
			if silent = nil; s.quiet() < silence { // it has just begun
				silent = s.heard.silence()
				continue
			}
			if last := s.heard.at(); last != before {
				silences, before = 0, last
			}
			if silences++; s.leader == nil || silences >= maxSilences {
				return errSilent
			}
			leader := s.leader
			s.beside.Go(func() {
				select {
				case stays <- s.member.client.stillLeads(ctx, leader):
				case <-ctx.Done():
				}
			})
		case still := <-stays:
			if !still && s.quiet() >= silence {
				return errSilent
			}
			silent = s.heard.silence()
		case frame := <-s.frames:
			if err := s.obey(frame); err != nil {
				return err
			}
		case <-s.member.wake:
			if err := s.answer(); err != nil {
				return err
			}
		case <-report.C:
			if s.stuck() {
				return errStuck
			}
			report.Reset(s.member.client.untilReport(interval))
			if err := s.answer(); err != nil {
				return err
			}
			if err := s.report(); err != nil {
				return err
			}
		}
	}
}

// untilReport is the time to the client's next moment for reports with that interval. All members of a client report together: that is
// one message's work for the connection.
func (c *Client) untilReport(interval time.Duration) time.Duration {
	return interval - time.Since(c.began)%interval
}

// quiet is how long nothing has been received from the leader, in this session or another one of the client.
func (s *session) quiet() time.Duration {
	last := s.heard.at()
	if last.Before(s.began) {
		last = s.began
	}
	return time.Since(last)
}

// stuck: other sessions hear the leader, and this one has heard nothing for a whole lease. No report of it was acknowledged then, either.
func (s *session) stuck() bool {
	lease := time.Duration(s.member.Timeouts().GetLeaseNs())
	return time.Since(s.own.at()) > max(lease, maxSilences*silence)
}

// stillLeads asks everybody who leads, and tells whether a leader says that it does and nobody knows a greater one.
func (c *Client) stillLeads(ctx context.Context, leader *musterv1.LeaderHint) bool {
	greatest, confirmed := c.findTogether(ctx)
	return confirmed && compareLeaders(greatest, leader) == 0
}

// send sends one message. Where the stream has ended already it does nothing: what the server said last, and why it ended, is
// still to be received.
func (s *session) send(message *musterv1.SessionRequest) error {
	if err := s.stream.Send(message); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// hello says who speaks.
func (s *session) hello() error {
	m := s.member
	m.mu.Lock()
	self := &musterv1.HelloMember{Proc: m.joined.GetProc(), HighestOrder: m.highest}
	hello := &musterv1.Hello{Owner: m.cfg.Key, Epoch: m.joined.GetEpoch(), Members: []*musterv1.HelloMember{self}}
	m.mu.Unlock()
	s.epoch = hello.GetEpoch()
	if m.host != nil {
		// Read behind the highest order: what it covers is held by now.
		hello.Ranks, self.Held, self.MasterPort = m.host.held()
		for _, r := range hello.Ranks {
			s.answers.started[r.GetOrder()] = r.GetStarted()
			s.answers.exited[r.GetOrder()] = r.GetExit() != nil
			if r.GetExit() != nil {
				s.ended = append(s.ended, r.GetOrder())
			}
		}
	}
	s.answers.confirmed, s.answers.port = self.GetHighestOrder(), self.GetMasterPort()
	s.helloSent = time.Now()
	return s.send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Hello{Hello: hello}})
}

// report says that the member is alive, and which of its actors failed.
func (s *session) report() error {
	if s.leader == nil {
		return nil // the hello is a report, and not in the state yet
	}
	m := s.member
	s.seq++
	report := &musterv1.SessionReport{Seq: s.seq}
	m.mu.Lock()
	proc := m.joined.GetProc()
	end := m.end
	own, ofRanks := m.failures.reports()
	if len(own) > 0 || end != nil {
		report.Reports = []*musterv1.ProcReport{{Proc: proc, FailedActors: own, Health: end.GetHealth(), Cause: end.GetCause()}}
	} else {
		runs := id.AppendRuns(nil, []uint32{proc.GetRank()})
		report.Alive = []*musterv1.RankRuns{{World: proc.GetWorld(), Role: proc.GetRole(), Runs: runs}}
	}
	report.Reports = append(report.Reports, ofRanks...)
	failed := m.failures.added
	m.mu.Unlock()
	if m.host != nil {
		if runs := m.host.running(); len(runs) > 0 {
			report.Alive = append(report.Alive, &musterv1.RankRuns{World: proc.GetWorld(), Role: musterv1.Role_ROLE_WORKER, Runs: runs})
		}
	}
	s.unacked = append(s.unacked, sentReport{seq: s.seq, sent: time.Now(), failures: failed, end: end != nil})
	return s.send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Report{Report: report}})
}
