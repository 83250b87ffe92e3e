package client

import (
	"context"
	"fmt"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// Orphaned is why a member has ended that reached no leader for longer than the cluster's settings allow.
type Orphaned struct {
	// Silent is how long ago the cluster had last heard it.
	Silent time.Duration
}

func (o *Orphaned) Error() string {
	return fmt.Sprintf("no leader was reached for %v, and the cluster's settings say that a member ends then (orphan-stop)", o.Silent.Round(time.Millisecond))
}

// OrphanTimeout is for how long the member goes on while it reaches no leader, counted from when it was last heard; 0 = for ever. Then
// it ends itself with *Orphaned, after its Handler's Stop if it has one. A host ends nothing by itself: that is its owner's to do.
func (m *Member) OrphanTimeout() time.Duration {
	return time.Duration(m.membership().GetOrphanNs())
}

// orphanCheck is how often a member without an orphan timeout looks whether it has got one by joining again.
const orphanCheck = 10 * time.Second

// watchOrphan ends the member when it has been out of touch for too long. It returns then, or with the member's end.
func (m *Member) watchOrphan() {
	t := time.NewTimer(orphanCheck)
	defer t.Stop()
	for {
		next := orphanCheck
		if limit := m.OrphanTimeout(); limit > 0 {
			silent := m.silent()
			if silent > limit {
				m.endOrphan(silent)
				return
			}
			next = min(next, limit-silent+time.Millisecond)
		}
		t.Reset(next)
		select {
		case <-t.C:
		case <-m.ctx.Done():
			return
		}
	}
}

// silent is how long ago what the cluster has last acknowledged was sent.
func (m *Member) silent() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.lease) + time.Duration(m.joined.GetTimeouts().GetLeaseNs())
}

func (m *Member) endOrphan(silent time.Duration) {
	orphaned := &Orphaned{Silent: silent}
	m.client.logger.Error("ending", "reason", orphaned)
	if m.cfg.Handler != nil {
		timeout := m.Timeouts().GetProcTimeoutNs()
		if timeout <= 0 {
			timeout = int64(defaultProcTimeout)
		}
		ctx, cancel := context.WithTimeout(m.ctx, time.Duration(timeout))
		defer cancel()
		m.cfg.Handler.Stop(ctx, &musterv1.StopOrder{ProcTimeoutNs: timeout, Reason: orphaned.Error()})
	}
	m.cancel(orphaned)
}
