package client

import (
	"context"
	"errors"
	"fmt"

	musterv1 "muster/proto/muster/v1"
)

// Complete tells the cluster that the member's work is done, and ends the member: its rank is healthy for good, and a world whose ranks have
// all completed is Completed. A program that a host has started need not say so: it completes by exiting with code 0. Where the cluster could
// not be told in time the member has ended all the same and the error says so; it counts as silent when its lease ends. A member that had
// ended before gives why.
func (m *Member) Complete(ctx context.Context) error {
	return m.sayEndOf(ctx, &musterv1.ProcReport{Health: musterv1.Health_HEALTH_COMPLETED})
}

// Fail tells the cluster that the member has failed, with the first KiB of the cause, and ends the member. What that does to the others is
// their world's policy. Otherwise as Complete.
func (m *Member) Fail(ctx context.Context, cause error) error {
	return m.sayEndOf(ctx, &musterv1.ProcReport{Health: musterv1.Health_HEALTH_FAILED, Cause: toldCause(cause)})
}

// sayEndOf has the session say how the member has ended. The first word counts.
func (m *Member) sayEndOf(ctx context.Context, end *musterv1.ProcReport) error {
	switch {
	case m.host != nil:
		return errors.New("a host leaves; how its ranks have ended it tells rank by rank")
	case m.cfg.Mode == musterv1.Mode_MODE_DETACHED:
		return m.Leave(ctx)
	}
	m.mu.Lock()
	if m.end == nil {
		m.end = end
	}
	m.mu.Unlock()
	m.poke()
	select {
	case <-m.done:
		return m.Err()
	case <-ctx.Done():
		m.cancel(errLeft)
		<-m.done
		return fmt.Errorf("tell how it ended: %w; it counts as silent when its lease ends", outOfTime(ctx))
	}
}

func (m *Member) isEnding() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.end != nil
}

// sayEnd reports the member's end, which cannot wait for the next report.
func (s *session) sayEnd() error {
	if s.member.isEnding() && (len(s.unacked) == 0 || !s.unacked[len(s.unacked)-1].end) {
		return s.report()
	}
	return nil
}
