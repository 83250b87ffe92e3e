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

// session runs one session until it breaks or ends.
func (m *Member) session(address string) error {
	if address == "" {
		return errNowhere
	}
	conn, err := m.client.servers.connect(m.ctx, address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(m.ctx)
	stream, err := musterv1grpc.NewMemberServiceClient(conn).Session(ctx)
	if err != nil {
		cancel()
		return err
	}
	s := &session{
		member: m, address: address, stream: stream,
		frames: make(chan *musterv1.SessionResponse), broken: make(chan error, 1), answers: newAnswers(),
	}
	var reader sync.WaitGroup
	reader.Go(func() { s.read(ctx) })
	defer reader.Wait()
	defer cancel()
	return s.run(ctx)
}

func (s *session) read(ctx context.Context) {
	for {
		frame, err := s.stream.Recv()
		if err != nil {
			s.broken <- err
			return
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
	mute := time.NewTimer(silence)
	defer mute.Stop()
	silences := 0
	stays := make(chan bool)
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	interval := time.Duration(s.member.Timeouts().GetReportIntervalNs())
	if interval <= 0 {
		interval = defaultInterval
	}
	report := time.NewTicker(interval)
	defer report.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.broken:
			if s.member.client.learn(rpcstatus.Refusal(err)) {
				return errMoved
			}
			return err
		case <-mute.C:
			if silences++; s.leader == nil || silences >= maxSilences {
				return errSilent
			}
			leader := s.leader
			asking.Go(func() {
				select {
				case stays <- s.member.client.stillLeads(ctx, leader):
				case <-ctx.Done():
				}
			})
		case still := <-stays:
			if !still && silences > 0 {
				return errSilent
			}
			mute.Reset(silence)
		case frame := <-s.frames:
			silences = 0
			mute.Reset(silence)
			if err := s.obey(frame); err != nil {
				return err
			}
		case <-s.member.wake:
			if err := s.answer(); err != nil {
				return err
			}
		case <-report.C:
			if err := s.answer(); err != nil {
				return err
			}
			if err := s.report(); err != nil {
				return err
			}
		}
	}
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
