package system

import (
	"maps"
	"slices"
	"sync"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// maxGone bounds what is remembered of sessions that ended; beyond it a holder's lease has to run out.
const maxGone = 1 << 16

// sweepAtOnce bounds those of them that are looked up with the state's lock held.
const sweepAtOnce = 4096

// goneHolders remembers whose session ended in this term, so that another machine need not wait for the lease of a holder that
// the leader has seen go.
type goneHolders struct {
	sweeping sync.Mutex // held by whoever makes room

	mu   sync.Mutex
	gone map[identity]struct{}
}

func newGoneHolders() *goneHolders { return &goneHolders{gone: map[identity]struct{}{}} }

func (g *goneHolders) ended(members []*musterv1.HelloMember) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range members {
		if len(g.gone) < maxGone {
			g.gone[identityOf(m.Proc)] = struct{}{}
		}
	}
}

func (g *goneHolders) full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.gone) >= maxGone
}

// makeRoom sweeps where there is no room for others. Where very many sessions end at once, one of them does it.
func (g *goneHolders) makeRoom(state State) {
	g.sweeping.Lock()
	defer g.sweeping.Unlock()
	if g.full() {
		g.sweep(state)
	}
}

// sweep forgets those who hold nothing any more, part by part, so that the state is not held for long. Nobody holds it again under the
// same incarnation.
func (g *goneHolders) sweep(state State) {
	g.mu.Lock()
	all := slices.Collect(maps.Keys(g.gone))
	g.mu.Unlock()
	for part := range slices.Chunk(all, sweepAtOnce) {
		var over []identity
		state.Read(func(s *fsm.State) {
			for _, m := range part {
				if s.Present(&musterv1.ProcRef{World: m.world, Role: m.role, Rank: m.rank}) != m.number {
					over = append(over, m)
				}
			}
		})
		g.mu.Lock()
		for _, m := range over {
			delete(g.gone, m)
		}
		g.mu.Unlock()
	}
}

func (g *goneHolders) back(members []*musterv1.HelloMember) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range members {
		delete(g.gone, identityOf(m.Proc))
	}
}

func (g *goneHolders) has(p *musterv1.ProcRef) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.gone[identityOf(p)]
	return ok
}

// holderGone is the leader's observation for a Join: the incarnation that holds the place, if its session ended in this term, or
// if it is from before this term and has not come within the grace. 0: nothing of the kind.
func (l *leadership) holderGone(j *musterv1.JoinRequest) uint64 {
	p := &musterv1.ProcRef{World: j.GetWorld(), Role: j.GetRole(), Rank: j.GetRank()}
	l.state.Read(func(s *fsm.State) { p.Incarnation = s.Present(p) })
	if p.Incarnation == 0 || l.sessions.Attached(p) {
		return 0
	}
	late := p.Incarnation <= l.number && l.clock.NowNs() > l.graceNs
	if late || l.gone.has(p) {
		return p.Incarnation
	}
	return 0
}
