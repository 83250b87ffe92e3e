package session

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/fsmtest"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/system"
)

// oneTerm is a leadership over a state in memory, sealed at every proposal and when the test says so.
type oneTerm struct {
	ctx context.Context

	mu      sync.Mutex
	machine *fsmtest.Machine
	sys     *system.System
	sealer  system.Sealer
	begun   chan struct{}
	broken  []string
}

func (o *oneTerm) Context() context.Context          { return o.ctx }
func (o *oneTerm) Number() uint64                    { return o.machine.Term }
func (o *oneTerm) Begin(s system.Sealer)             { o.sealer = s; close(o.begun) }
func (o *oneTerm) Resign(string)                     {}
func (o *oneTerm) Poke()                             {}
func (o *oneTerm) OldestInFlight() (time.Time, bool) { return time.Time{}, false }
func (o *oneTerm) ReadBarrier(context.Context) error { return nil }
func (o *oneTerm) Read(read func(*fsm.State)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	read(o.machine.State)
}

func (o *oneTerm) Propose(_ context.Context, c *musterv1.Command) (*musterv1.Outcome, error) {
	return o.seal(c)[0], nil
}

func (o *oneTerm) Submit(ctx context.Context, c *musterv1.Command) (wait func() (*musterv1.Outcome, error)) {
	out, err := o.Propose(ctx, c)
	return func() (*musterv1.Outcome, error) { return out, err }
}

func (o *oneTerm) seal(commands ...*musterv1.Command) []*musterv1.Outcome {
	e := &musterv1.Entry{Format: fsm.EntryFormat, Commands: commands}
	settle := o.sealer.Seal(e, 256<<10)
	if len(e.Commands) == 0 {
		return nil
	}
	e.RaftTerm = o.machine.Term
	o.mu.Lock()
	a := o.machine.Append(e)
	o.broken = append(o.broken, a.Broken...)
	o.sys.Applied(a.Effects)
	o.mu.Unlock()
	if settle != nil {
		settle(a.Outcomes[len(commands):], nil)
	}
	return a.Outcomes
}

// lead has a System lead over a state file. The session it returns the stream of ends with the test.
func lead(t *testing.T, file []byte) (*oneTerm, *stream) {
	state, err := fsm.Decode(bytes.NewReader(file))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	o := &oneTerm{ctx: ctx, machine: fsmtest.NewMachine(), begun: make(chan struct{})}
	o.machine.State = state
	o.machine.Start(nil)
	hub := NewHub("n1", func() *musterv1.LeaderHint { return nil }, hclog.NewNullLogger())
	o.sys = system.New(o, hub, hclog.NewNullLogger())
	hub.Bind(o.sys)
	published, ended := make(chan struct{}), make(chan struct{})
	o.sys.OnLeading(func(leading bool) {
		if leading {
			close(published)
		}
	})
	go func() { o.sys.Lead(o); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	<-published
	s := &stream{hub: hub, out: newOutbox(&hub.relayed), end: func() {}}
	s.session, err = o.sys.Attach(s.out.ack, s.out.tell)
	require.NoError(t, err)
	s.apply = s.session.Answer
	require.True(t, hub.enter(s))
	return o, s
}

// FuzzSession: whatever a client sends on its stream, behind a hello of a member, is refused for its form or changes the state by its
// rules.
func FuzzSession(f *testing.F) {
	g := fsmtest.NewGenerator(1)
	for range 60 {
		g.Step()
	}
	g.Start(nil)
	file, err := fsmtest.Encode(g.State)
	require.NoError(f, err)
	seeds := toEachOther(everybody(g.State).Members)
	for _, l := range g.Log {
		seeds = append(seeds, said(f, l)...)
	}
	for _, m := range seeds {
		b, err := proto.Marshal(m)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &musterv1.SessionRequest{}
		if proto.Unmarshal(b, m) != nil || checkForm(m) != nil || manyRanks(m) {
			return
		}
		o, s := lead(t, file)
		answers := &answerer{waiting: make(chan *musterv1.Answer, maxAnswers)} // which nobody takes out but the test
		hello := &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Hello{Hello: everybody(g.State)}}
		require.NoError(t, s.handle(t.Context(), hello, answers))
		require.NoError(t, s.handle(t.Context(), m, answers))
		close(answers.waiting)
		for a := range answers.waiting {
			_, err := s.propose(t.Context(), []*musterv1.Answer{a})
			require.NoError(t, err)
		}
		o.seal() // reports
		s.out.take()
		require.Empty(t, o.broken)
		o.Read(func(state *fsm.State) { require.NoError(t, state.Check()) })
	})
}

// said is what clients would have sent for an entry.
func said(f *testing.F, l fsmtest.Logged) (out []*musterv1.SessionRequest) {
	e := &musterv1.Entry{}
	require.NoError(f, proto.Unmarshal(l.Entry, e))
	for _, c := range e.Commands {
		switch b := c.Body.(type) {
		case *musterv1.Command_Hello:
			out = append(out, &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Hello{Hello: b.Hello}})
		case *musterv1.Command_Confirm:
			out = append(out, &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Confirm{Confirm: b.Confirm}})
		case *musterv1.Command_StopResult:
			out = append(out, &musterv1.SessionRequest{Body: &musterv1.SessionRequest_StopResult{StopResult: b.StopResult}})
		case *musterv1.Command_Report:
			r := &musterv1.SessionReport{Seq: 1, Reports: b.Report.Reports}
			for _, group := range b.Report.Groups {
				r.Alive = append(r.Alive, group.Ranks)
			}
			out = append(out, &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Report{Report: r}})
		case *musterv1.Command_Answers:
			for _, a := range b.Answers.Answers {
				if started := a.GetStarted(); started != nil {
					out = append(out, &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Started{Started: started}})
				} else if exited := a.GetExited(); exited != nil {
					out = append(out, &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Exited{Exited: exited}})
				}
			}
		}
	}
	return out
}

// toEachOther is what members say to each other: each posts to the next, has its post, and wants to know its address.
func toEachOther(members []*musterv1.HelloMember) (out []*musterv1.SessionRequest) {
	for i, m := range members {
		next := members[(i+1)%len(members)].Proc
		out = append(out,
			&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Post{Post: &musterv1.Post{
				Stream: 7, Seq: 1, From: &musterv1.Endpoint{Proc: m.Proc, Actor: "a"}, To: &musterv1.Endpoint{Proc: next, Actor: "b"}, Payload: []byte("hello"),
			}}},
			&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Receipt{Receipt: &musterv1.Receipt{
				From: next, Stream: 7, Seq: 1, By: m.Proc, Delivery: musterv1.Delivery_DELIVERY_DELIVERED,
			}}},
			&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Interest{Interest: &musterv1.Interest{
				Who: m.Proc, Known: []*musterv1.Located{{Proc: next, Address: "sim:tcp:a,tcp:b"}}, Ask: []*musterv1.ProcRef{next},
			}}},
		)
	}
	return out
}

// everybody is a hello of all members of a state.
func everybody(s *fsm.State) *musterv1.Hello {
	h := &musterv1.Hello{Owner: "fuzz", Epoch: s.Epoch()}
	v, err := s.View(&musterv1.ViewRequest{})
	if err != nil {
		panic(err)
	}
	for _, w := range v.Worlds {
		for _, p := range w.Procs {
			if a := p.Assignment; a == nil || a.Claimed {
				h.Members = append(h.Members, &musterv1.HelloMember{Proc: p.Proc})
			} else if a.Order != 0 {
				h.Ranks = append(h.Ranks, &musterv1.HeldRank{Proc: p.Proc, Order: a.Order})
			}
		}
	}
	return h
}

// manyRanks: a few bytes may name millions of ranks, which is allowed, and slow here.
func manyRanks(m *musterv1.SessionRequest) bool {
	n := uint32(0)
	count := func(runs []byte) {
		for from, to := range id.Intervals(runs) {
			n += min(to-from, 1<<20)
		}
	}
	for _, r := range m.GetReport().GetAlive() {
		count(r.GetRuns())
	}
	for _, hm := range m.GetHello().GetMembers() {
		count(hm.GetHeld())
	}
	return n > 1<<12
}
