package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/system"
)

const (
	// proposalTimeout bounds how long answers wait to be applied.
	proposalTimeout = 10 * time.Second
	// maxAnswers is how many answers may wait, behind which the reader waits, and how many are applied together.
	maxAnswers = 256
	// maxAnswerBytes bounds those, so that they fit in an entry beside others.
	maxAnswerBytes = 64 << 10
	// answerPause is between attempts while the state takes no answers.
	answerPause = 250 * time.Millisecond
)

// take makes an answer of a message. From a rank's start to its end the session reports it alive.
func (s *stream) take(m *musterv1.SessionRequest) *musterv1.Answer {
	switch body := m.Body.(type) {
	case *musterv1.SessionRequest_Confirm:
		return &musterv1.Answer{Body: &musterv1.Answer_Confirm{Confirm: body.Confirm}}
	case *musterv1.SessionRequest_StopResult:
		return &musterv1.Answer{Body: &musterv1.Answer_StopResult{StopResult: body.StopResult}}
	case *musterv1.SessionRequest_Started:
		s.session.Hold(body.Started.GetProc(), body.Started.GetOrder())
		return &musterv1.Answer{Body: &musterv1.Answer_Started{Started: body.Started}}
	case *musterv1.SessionRequest_Exited:
		s.session.Release(body.Exited.GetProc(), body.Exited.GetOrder())
		return &musterv1.Answer{Body: &musterv1.Answer_Exited{Exited: body.Exited}}
	}
	return nil // checkForm lets nothing else through
}

// answerer hands a stream's answers to the goroutine that has them applied. It belongs to the stream's reader.
type answerer struct {
	broken  chan<- error // gets how that goroutine has ended
	waiting chan *musterv1.Answer
}

// hand waits for room. The goroutine begins with the first answer: most sessions never have one, and there may be tens of thousands.
func (a *answerer) hand(ctx context.Context, s *stream, answer *musterv1.Answer) error {
	if a.waiting == nil {
		a.waiting = make(chan *musterv1.Answer, maxAnswers)
		go func() { a.broken <- s.answer(ctx, a.waiting) }()
	}
	select {
	case a.waiting <- answer:
		return nil
	case <-ctx.Done():
		return errEnded
	}
}

// answer has answers applied in the order they came, all that wait together, until the stream ends or one of them may be lost.
func (s *stream) answer(ctx context.Context, answers <-chan *musterv1.Answer) error {
	b := &answerBatches{answers: answers}
	said := uint64(0)
	for {
		batch, err := b.next(ctx)
		if err != nil {
			return err
		}
		out, err := s.propose(ctx, batch)
		if err != nil {
			return fmt.Errorf("answers: %w", err)
		}
		if refusal := out.GetRefusal(); refusal != nil { // it would be again
			s.out.put(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Refused{Refused: refusal}})
		}
		if verdicts := out.GetVerdicts().GetVerdicts(); len(verdicts) > 0 {
			s.out.tell(verdicts)
		}
		said += uint64(len(batch))
		s.out.applied(said)
	}
}

// propose has one batch applied, as often as the state has no room or no time for it.
func (s *stream) propose(ctx context.Context, batch []*musterv1.Answer) (*musterv1.Outcome, error) {
	for {
		out, err := s.proposeOnce(ctx, batch)
		reason := out.GetRefusal().GetReason()
		switch {
		case errors.Is(err, system.ErrFull), reason == musterv1.Reason_REASON_FULL, reason == musterv1.Reason_REASON_RESTORING:
		case reason == musterv1.Reason_REASON_DROPPED:
			return nil, fmt.Errorf("%s: %w", out.GetRefusal().GetMessage(), system.ErrNotApplied)
		default:
			return out, err
		}
		pause := time.NewTimer(answerPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, errEnded
		}
	}
}

func (s *stream) proposeOnce(ctx context.Context, batch []*musterv1.Answer) (*musterv1.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, proposalTimeout)
	defer cancel()
	return s.apply(ctx, &musterv1.Answers{Answers: batch})
}

// answerBatches cuts what waits into batches.
type answerBatches struct {
	answers <-chan *musterv1.Answer
	// first of the next batch, for which the one before had no room.
	first *musterv1.Answer
}

// next waits for an answer and takes what waits behind it. The error is errEnded, with ctx.
func (b *answerBatches) next(ctx context.Context) ([]*musterv1.Answer, error) {
	if b.first == nil {
		select {
		case b.first = <-b.answers:
		case <-ctx.Done():
			return nil, errEnded
		}
	}
	batch, bytes := []*musterv1.Answer{b.first}, proto.Size(b.first)
	b.first = nil
	for len(batch) < maxAnswers {
		select {
		case a := <-b.answers:
			if bytes += proto.Size(a) + 4; bytes > maxAnswerBytes {
				b.first = a
				return batch, nil
			}
			batch = append(batch, a)
		default:
			return batch, nil
		}
	}
	return batch, nil
}
