package session

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/system"
)

func confirmed(order uint64) *musterv1.Answer {
	return &musterv1.Answer{Body: &musterv1.Answer_Confirm{Confirm: &musterv1.Confirm{HighestOrder: order}}}
}

func refusal(reason musterv1.Reason) *musterv1.Outcome {
	return &musterv1.Outcome{Body: &musterv1.Outcome_Refusal{Refusal: &musterv1.Refusal{Reason: reason, Message: "no"}}}
}

// answering runs a stream's answerer. apply is asked for each batch.
func answering(t *testing.T, apply func(*musterv1.Answers) (*musterv1.Outcome, error)) (s *stream, answers chan *musterv1.Answer, ended chan error, end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	s = &stream{out: newOutbox(&share{}), apply: func(_ context.Context, a *musterv1.Answers) (*musterv1.Outcome, error) { return apply(a) }}
	answers, ended = make(chan *musterv1.Answer, maxAnswers), make(chan error, 1)
	go func() { ended <- s.answer(ctx, answers) }()
	return s, answers, ended, cancel
}

// What waits while one batch is applied is applied together, in order, and acknowledged cumulatively, behind the verdicts.
func TestAnswer_BatchesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var batches []string
		applied := make(chan bool)
		s, answers, ended, end := answering(t, func(a *musterv1.Answers) (*musterv1.Outcome, error) {
			batch := ""
			for _, answer := range a.Answers {
				batch += fmt.Sprint(answer.GetConfirm().GetHighestOrder(), " ")
			}
			batches = append(batches, batch)
			<-applied
			return &musterv1.Outcome{Body: &musterv1.Outcome_Verdicts{Verdicts: &musterv1.Verdicts{
				Verdicts: []*musterv1.Verdict{{Kind: musterv1.Verdict_KIND_UNKNOWN, HeldOrder: 7}},
			}}}, nil
		})
		answers <- confirmed(1)
		synctest.Wait()
		answers <- confirmed(2)
		answers <- confirmed(3)
		applied <- true
		synctest.Wait()
		require.Equal(t, []string{"1 ", "2 3 "}, batches)
		out, _ := s.out.take()
		require.Len(t, out, 2)
		require.Equal(t, uint64(7), out[0].GetVerdicts().GetVerdicts()[0].GetHeldOrder())
		require.Equal(t, uint64(1), out[1].GetAppliedAnswers())
		applied <- true
		synctest.Wait()
		out, _ = s.out.take()
		require.Equal(t, uint64(3), out[1].GetAppliedAnswers())
		end()
		require.ErrorIs(t, <-ended, errEnded)
	})
}

// A batch is bounded in answers and in bytes; nothing is lost between two.
func TestAnswer_BatchesAreBounded(t *testing.T) {
	large := &musterv1.Answer{Body: &musterv1.Answer_Exited{Exited: &musterv1.Exited{
		Exit: &musterv1.Exit{LastLines: strings.Repeat("x", maxLastLines)},
	}}}
	answers := make(chan *musterv1.Answer, maxAnswers+20)
	for range 20 {
		answers <- large
	}
	for range maxAnswers {
		answers <- confirmed(1)
	}
	b := &answerBatches{answers: answers}
	var sizes []int
	for total := 0; total < 20+maxAnswers; {
		batch, err := b.next(t.Context())
		require.NoError(t, err)
		sizes = append(sizes, len(batch))
		total += len(batch)
	}
	require.Equal(t, []int{15, maxAnswers, 5}, sizes)
}

// While the state takes nothing, or has no room, the same batch is said again; where it may be lost the stream ends; what is refused for
// good is told and holds nothing up.
func TestAnswer_Refusals(t *testing.T) {
	type outcome struct {
		out *musterv1.Outcome
		err error
	}
	for _, c := range []struct {
		name     string
		outcomes []outcome
		ends     error
		applied  uint64
		took     time.Duration
	}{
		{"restoring", []outcome{{refusal(musterv1.Reason_REASON_RESTORING), nil}, {refusal(musterv1.Reason_REASON_RESTORING), nil}, {&musterv1.Outcome{}, nil}}, nil, 1, 2 * answerPause},
		{"full", []outcome{{refusal(musterv1.Reason_REASON_FULL), nil}, {nil, fmt.Errorf("%w: %w", system.ErrNotApplied, system.ErrFull)}, {&musterv1.Outcome{}, nil}}, nil, 1, 2 * answerPause},
		{"refused", []outcome{{refusal(musterv1.Reason_REASON_INTERNAL), nil}}, nil, 1, 0},
		{"dropped", []outcome{{refusal(musterv1.Reason_REASON_DROPPED), nil}}, system.ErrNotApplied, 0, 0},
		{"not applied", []outcome{{nil, system.ErrNotApplied}}, system.ErrNotApplied, 0, 0},
		{"unknown", []outcome{{nil, system.ErrOutcomeUnknown}}, system.ErrOutcomeUnknown, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s, answers, ended, end := answering(t, func(*musterv1.Answers) (*musterv1.Outcome, error) {
					o := c.outcomes[0]
					c.outcomes = c.outcomes[1:]
					return o.out, o.err
				})
				answers <- confirmed(1)
				if c.ends != nil {
					require.ErrorIs(t, <-ended, c.ends)
				} else {
					<-s.out.wake
					synctest.Wait()
				}
				require.Equal(t, c.took, time.Since(began))
				require.Equal(t, c.applied, s.out.answers.reached)
				if end(); c.ends == nil {
					<-ended
				}
			})
		})
	}
}

// What hosts say is checked like everything else: the field is named.
func TestCheckForm_Hosts(t *testing.T) {
	rank := &musterv1.ProcRef{World: "w", Rank: 3}
	host := &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_HOST, Incarnation: 7}
	started := func(p *musterv1.ProcRef, order uint64) *musterv1.SessionRequest {
		return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Started{Started: &musterv1.Started{Proc: p, Order: order}}}
	}
	exited := func(e *musterv1.Exit) *musterv1.SessionRequest {
		return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Exited{Exited: &musterv1.Exited{Proc: rank, Order: 9, Exit: e}}}
	}
	hello := func(m *musterv1.HelloMember, ranks ...*musterv1.HeldRank) *musterv1.SessionRequest {
		m.Proc = host
		return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Hello{Hello: &musterv1.Hello{Members: []*musterv1.HelloMember{m}, Ranks: ranks}}}
	}
	says := func(r *musterv1.ProcReport) *musterv1.SessionRequest {
		return &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Report{Report: &musterv1.SessionReport{Reports: []*musterv1.ProcReport{r}}}}
	}
	worker := &musterv1.ProcRef{World: "w", Incarnation: 8}
	for _, c := range []struct {
		name  string
		m     *musterv1.SessionRequest
		wrong string
	}{
		{"failed", says(&musterv1.ProcReport{Proc: worker, Health: musterv1.Health_HEALTH_FAILED, Cause: strings.Repeat("x", 1024)}), ""},
		{"cause", says(&musterv1.ProcReport{Proc: worker, Health: musterv1.Health_HEALTH_FAILED, Cause: strings.Repeat("x", 1025)}), "report.reports.cause"},
		{"expired by its own word", says(&musterv1.ProcReport{Proc: worker, Health: musterv1.Health_HEALTH_EXPIRED}), "report.reports.health"},
		{"a host failed", says(&musterv1.ProcReport{Proc: host, Health: musterv1.Health_HEALTH_FAILED}), "report.reports.health"},
		{"a rank completed by its host's word", says(&musterv1.ProcReport{Proc: rank, HeldOrder: 9, Health: musterv1.Health_HEALTH_COMPLETED}), "report.reports.health"},
		{"started", started(rank, 9), ""},
		{"started in no world", started(&musterv1.ProcRef{}, 9), "started.proc.world"},
		{"started by no order", started(rank, 0), "started.order"},
		{"a host started", started(host, 9), "started.proc.role"},
		{"exited", exited(&musterv1.Exit{Code: 255, Signal: 64}), ""},
		{"exited without exit", exited(nil), "exited.exit: is missing"},
		{"code", exited(&musterv1.Exit{Code: 256}), "exited.exit.code"},
		{"signal", exited(&musterv1.Exit{Signal: 65}), "exited.exit.signal"},
		{"failure", exited(&musterv1.Exit{Failure: strings.Repeat("x", 1025)}), "exited.exit.failure"},
		{"last lines", exited(&musterv1.Exit{LastLines: strings.Repeat("x", 4097)}), "exited.exit.last_lines"},
		{"hello", hello(&musterv1.HelloMember{Held: []byte{3, 1}, MasterPort: 65535}, &musterv1.HeldRank{Proc: rank, Order: 9}), ""},
		{"malformed held", hello(&musterv1.HelloMember{Held: []byte{3}}), "hello.members.held"},
		{"much held", hello(&musterv1.HelloMember{Held: make([]byte, maxHeld+1)}), "hello.members.held"},
		{"port", hello(&musterv1.HelloMember{MasterPort: 65536}), "hello.members.master_port"},
		{"rank without order", hello(&musterv1.HelloMember{}, &musterv1.HeldRank{Proc: rank}), "hello.ranks.order"},
		{"rank with exit", hello(&musterv1.HelloMember{}, &musterv1.HeldRank{Proc: rank, Order: 9, Exit: &musterv1.Exit{Code: 256}}), "hello.ranks.exit.code"},
		{"port confirmed", &musterv1.SessionRequest{Body: &musterv1.SessionRequest_Confirm{
			Confirm: &musterv1.Confirm{Proc: host, MasterPort: 1 << 16},
		}}, "confirm.master_port"},
		{"report for a rank", says(&musterv1.ProcReport{Proc: rank, HeldOrder: 9}), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := checkForm(c.m); c.wrong == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.wrong)
			}
		})
	}
}
