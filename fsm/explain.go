package fsm

import (
	musterv1 "muster/proto/muster/v1"
)

// Explain tells why a world, or one member of it, is what it is, and what happens next; nil where the world is unknown.
func (s *State) Explain(q *musterv1.ExplainRequest) *musterv1.ExplainResponse {
	return nil
}

// ViewStop is one page of a stop operation; nil where it is unknown.
func (s *State) ViewStop(q *musterv1.ViewStopRequest) *musterv1.ViewStopResponse {
	return nil
}

// HeldOrder is the spawn order under which a rank's host runs it; 0 where no host does.
func (s *State) HeldOrder(world string, rank uint32) uint64 {
	return 0
}

// HeldVerdict is what a host hears of a rank that it runs under a spawn order; nil where it may go on.
func (s *State) HeldVerdict(p *musterv1.ProcRef, order uint64) *musterv1.Verdict {
	return nil
}
