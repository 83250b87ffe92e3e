package client

import (
	"context"
	"slices"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// stopping is a member's stop orders and what came of them. Operations may join: the program is stopped once, and each
// operation is answered.
type stopping struct {
	operations []uint64
	reason     string
	outcome    *StopOutcome
	// limit ends the handler's time, or a member without one whose answer nobody acknowledges. It fires at until, which a later order may
	// only bring nearer.
	limit *time.Timer
	until time.Time
}

// defaultProcTimeout is what a proc is given by an order that does not say.
const defaultProcTimeout = 30 * time.Second

// beginStop takes a stop order that has been accepted.
func (m *Member) beginStop(order *musterv1.StopOrder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	begun := len(m.stop.operations) > 0
	if !slices.Contains(m.stop.operations, order.GetOperation()) {
		m.stop.operations = append(m.stop.operations, order.GetOperation())
	}
	timeout := time.Duration(order.GetProcTimeoutNs())
	if timeout <= 0 {
		timeout = defaultProcTimeout
	}
	until := time.Now().Add(timeout)
	if begun {
		if m.stop.limit != nil && until.Before(m.stop.until) && m.stop.limit.Stop() {
			m.stop.until = until
			m.stop.limit.Reset(timeout)
		}
		m.poke()
		return
	}
	m.stop.reason, m.stop.until = order.GetReason(), until
	if m.cfg.Handler == nil {
		m.stop.outcome = &StopOutcome{}
		stopped := &Stopped{Operation: order.GetOperation(), Reason: order.GetReason()}
		m.stop.limit = time.AfterFunc(timeout, func() { m.cancel(stopped) })
		m.poke()
		return
	}
	ctx, cancel := context.WithTimeout(m.ctx, timeout)
	m.stop.limit = time.AfterFunc(timeout, cancel)
	m.handlers.Go(func() {
		defer cancel()
		outcome := m.cfg.Handler.Stop(ctx, order)
		m.mu.Lock()
		m.stop.outcome = &outcome
		m.mu.Unlock()
		m.poke()
	})
}

// endStop leaves no timer behind.
func (m *Member) endStop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stop.limit != nil {
		m.stop.limit.Stop()
	}
}

// stopResults are the answers that can be given by now.
func (m *Member) stopResults() []*musterv1.StopResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stop.outcome == nil {
		return nil
	}
	var results []*musterv1.StopResult
	for _, operation := range m.stop.operations {
		results = append(results, &musterv1.StopResult{
			Proc: m.joined.GetProc(), Operation: operation,
			ActorsStopped: m.stop.outcome.ActorsStopped, ActorsAborted: m.stop.outcome.ActorsAborted,
		})
	}
	return results
}

// stopped is the *Stopped that the member ends with if it has been asked to stop; nil if it has not.
func (m *Member) stopped() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.stop.operations) == 0 {
		return nil
	}
	return &Stopped{Operation: m.stop.operations[0], Reason: m.stop.reason}
}
