package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// recorder is a host that notes what it is called for. Tests end its ranks.
type recorder struct {
	heard *timeline
	port  error

	mu    sync.Mutex
	ranks map[uint64]*Rank
}

func newRecorder(heard *timeline) *recorder {
	return &recorder{heard: heard, ranks: map[uint64]*Rank{}}
}

func (r *recorder) Port(*musterv1.SpawnOrder) (uint32, error) {
	r.heard.add("port")
	return 29500, r.port
}

func (r *recorder) Spawn(rank *Rank) {
	r.mu.Lock()
	r.ranks[rank.Number] = rank
	r.mu.Unlock()
	r.heard.add("spawn %d port %d", rank.Number, rank.Order.GetMasterPort())
	rank.Started()
}

func (r *recorder) StopRank(rank *Rank, timeout time.Duration, reason string) {
	r.heard.add("stop %d in %v: %s", rank.Number, timeout, reason)
}

func (r *recorder) Kill(rank *Rank, _ string) { r.heard.add("kill %d", rank.Number) }

func (r *recorder) Stop(context.Context, *musterv1.StopOrder) StopOutcome {
	r.heard.add("stop all")
	return StopOutcome{}
}

func (r *recorder) exit(number uint64, code uint32) {
	r.mu.Lock()
	rank := r.ranks[number]
	r.mu.Unlock()
	rank.Exited(&musterv1.Exit{Code: code})
}

func theHost(incarnation uint64) *musterv1.ProcRef {
	return &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_HOST, Incarnation: incarnation}
}

func rankOf(rank uint32) *musterv1.ProcRef {
	return &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Incarnation: 600}
}

func spawn(number uint64, rank, port uint32) *musterv1.Order {
	return &musterv1.Order{Id: number, Proc: theHost(501), What: &musterv1.Order_Spawn{Spawn: &musterv1.SpawnOrder{
		Proc: rankOf(rank), Generation: 1, Exec: &musterv1.Exec{Program: "p"}, MasterPort: port, ProcTimeoutNs: int64(5 * time.Second),
	}}}
}

func stopRank(number, spawnedBy uint64) *musterv1.Order {
	return &musterv1.Order{Id: number, Proc: theHost(501), What: &musterv1.Order_StopRank{StopRank: &musterv1.StopRankOrder{
		Proc: rankOf(0), SpawnedBy: spawnedBy, Operation: 699, ProcTimeoutNs: int64(3 * time.Second), Reason: "enough",
	}}}
}

func (s *fakeSession) order(o *musterv1.Order) error {
	return s.Send(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Order{Order: o}})
}

// said notes what a host says.
func said(heard *timeline, message *musterv1.SessionRequest) {
	switch {
	case message.GetHello() != nil:
		member := message.GetHello().GetMembers()[0]
		text := fmt.Sprintf("hello highest=%d port=%d", member.GetHighestOrder(), member.GetMasterPort())
		for _, r := range message.GetHello().GetRanks() {
			text += fmt.Sprintf(" [%d started=%v", r.GetOrder(), r.GetStarted())
			if r.GetExit() != nil {
				text += fmt.Sprintf(" exit=%d", r.GetExit().GetCode())
			}
			text += "]"
		}
		heard.add("%s", text)
	case message.GetConfirm() != nil:
		heard.add("confirm %d port %d", message.GetConfirm().GetHighestOrder(), message.GetConfirm().GetMasterPort())
	case message.GetStarted() != nil:
		heard.add("started %d", message.GetStarted().GetOrder())
	case message.GetExited() != nil:
		heard.add("exited %d: %d %d", message.GetExited().GetOrder(), message.GetExited().GetExit().GetCode(), message.GetExited().GetExit().GetSignal())
	}
}

// hosted runs a host whose sessions are those given, one after the other; the last goes on. steps are for the time behind each second.
func hosted(t *testing.T, r *recorder, sessions []func(*fakeSession) error, steps ...func()) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		n1 := f.nodes["n1"]
		n1.admit(501)
		f.lead("n1", 100, 2, "n1")
		next := 0
		n1.session = func(s *fakeSession) error {
			session := sessions[min(next, len(sessions)-1)]
			next++
			return session(s)
		}
		m, err := f.client(t, "n1").Join(t.Context(), MemberConfig{World: "w", Role: musterv1.Role_ROLE_HOST, Key: "machine-a", Host: r})
		require.NoError(t, err)
		for _, step := range steps {
			time.Sleep(time.Second)
			step()
		}
		time.Sleep(5 * time.Second)
		require.NoError(t, m.Leave(t.Context()))
	})
}

// orders is a session that sends orders when it begins, and goes on.
func orders(heard *timeline, all ...*musterv1.Order) func(*fakeSession) error {
	return func(s *fakeSession) error {
		return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
			said(heard, message)
			if message.GetHello() != nil {
				for _, o := range all {
					if err := s.order(o); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
}

var errSessionEnds = errors.New("the session ends")

// An order that comes twice, and again in the next session, starts one program. What has become of it is said in each session, until the
// cluster has it.
func TestHosting_StartedOnceToldUntilKnown(t *testing.T) {
	var heard timeline
	r := newRecorder(&heard)
	// The first session breaks when it has been told of the start, the second when it has been told of the exit, the third when it has been
	// told of it by the hello. The fourth welcomes, which says that the hello is in the state.
	breaking := func(breaks func(*musterv1.SessionRequest) bool) func(*fakeSession) error {
		return func(s *fakeSession) error {
			return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
				said(&heard, message)
				switch {
				case breaks(message):
					return errSessionEnds
				case message.GetHello() != nil:
					return errors.Join(s.order(spawn(700, 0, 7)), s.order(spawn(700, 0, 7)))
				}
				return nil
			})
		}
	}
	started := func(m *musterv1.SessionRequest) bool { return m.GetStarted() != nil }
	exited := func(m *musterv1.SessionRequest) bool { return m.GetExited() != nil }
	unwelcome := func(s *fakeSession) error {
		said(&heard, <-s.received)
		return errSessionEnds
	}
	acknowledged := func(m *musterv1.SessionRequest) bool { return m.GetReport().GetSeq() >= 2 }
	hosted(t, r, []func(*fakeSession) error{breaking(started), breaking(exited), unwelcome, breaking(acknowledged), orders(&heard)},
		func() {}, func() { r.exit(700, 9) })
	var told []string
	for _, one := range heard.all() {
		if one != "confirm 700 port 0" { // an order that comes again is confirmed again
			told = append(told, one)
		}
	}
	require.Equal(t, []string{
		"hello highest=0 port=0", "spawn 700 port 7", "started 700",
		"hello highest=700 port=0 [700 started=true]", "exited 700: 9 0",
		"hello highest=700 port=0 [700 started=true exit=9]",
		"hello highest=700 port=0 [700 started=true exit=9]",
		"hello highest=700 port=0",
	}, told)
	require.Contains(t, heard.all(), "confirm 700 port 0")
}

// One that is asked to end while it still waits is never started.
func TestHosting_StopBeforeItBegins(t *testing.T) {
	var heard timeline
	r := newRecorder(&heard)
	hosted(t, r, []func(*fakeSession) error{orders(&heard, spawn(700, 0, 7), spawn(710, 0, 7), stopRank(720, 710))},
		func() { r.exit(700, 0) })
	all := heard.all()
	require.Contains(t, all, "exited 710: 0 15")
	require.NotContains(t, all, "spawn 710 port 7")
	require.Contains(t, all, "exited 700: 0 0")
	require.NotContains(t, all, "stop 710 in 3s: enough")
}

func TestHosting_StopRank(t *testing.T) {
	var heard timeline
	r := newRecorder(&heard)
	hosted(t, r, []func(*fakeSession) error{orders(&heard, spawn(700, 0, 7), stopRank(720, 700), stopRank(730, 999))})
	require.Contains(t, heard.all(), "stop 700 in 3s: enough")
	require.Contains(t, heard.all(), "confirm 730 port 0", "an order about nothing that runs here is accepted all the same")
}

// The host of rank 0 chooses the port, and tells it with its confirmation. Without one the rank fails, and nothing is started.
func TestHosting_Port(t *testing.T) {
	var heard timeline
	r := newRecorder(&heard)
	hosted(t, r, []func(*fakeSession) error{orders(&heard, spawn(700, 0, 0))})
	require.Contains(t, heard.all(), "spawn 700 port 29500")
	require.Contains(t, heard.all(), "confirm 700 port 29500")

	heard = timeline{}
	r = newRecorder(&heard)
	r.port = errors.New("no port is free")
	hosted(t, r, []func(*fakeSession) error{orders(&heard, spawn(700, 0, 0))})
	require.Contains(t, heard.all(), "exited 700: 127 0")
	require.NotContains(t, heard.all(), "spawn 700 port 0")
}

func index(all []string, what string) int {
	for i, one := range all {
		if one == what {
			return i
		}
	}
	return -1
}
