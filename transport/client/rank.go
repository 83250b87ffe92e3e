package client

import (
	"context"
	"fmt"
	"slices"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// Rank is one run of a rank's program on this host. Safe for concurrent use.
type Rank struct {
	// Number is the spawn order's: it names this run for ever.
	Number uint64
	// Order says what to run. Not to be changed. MasterPort is filled in.
	Order *musterv1.SpawnOrder

	host *hosting

	// Guarded by host.mu.
	started bool
	exit    *musterv1.Exit
	spawned bool // the handler has it
	ending  bool // the handler has been asked to end it, with a time that it is given
}

// Started tells the cluster that the program runs. It does not block.
func (r *Rank) Started() {
	r.host.mu.Lock()
	r.started = true
	r.host.mu.Unlock()
	r.host.poke()
}

// Exited tells the cluster how the program ended, or that it could not be started. Only the first call counts. It does not block.
func (r *Rank) Exited(exit *musterv1.Exit) {
	h := r.host
	h.mu.Lock()
	if r.exit == nil {
		r.exit = exit
		for _, next := range h.sorted() {
			if next.number() == r.number() && !next.spawned && len(h.before(next)) == 0 {
				h.push(task{kind: taskSpawn, rank: next})
			}
		}
	}
	h.mu.Unlock()
	h.poke()
}

// before are the earlier runs of r's rank that have not ended, oldest first: r may not begin while there is one. Called with mu held.
func (h *hosting) before(r *Rank) []*Rank {
	var older []*Rank
	for _, one := range h.sorted() {
		if one.Number < r.Number && one.number() == r.number() && one.exit == nil {
			older = append(older, one)
		}
	}
	return older
}

// held is what the host holds, in order of the spawn orders, for a hello: with the ranks as runs.
func (h *hosting) held() (ranks []*musterv1.HeldRank, runs []byte, port uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var numbers []uint32
	for _, r := range h.sorted() {
		ranks = append(ranks, &musterv1.HeldRank{Proc: r.proc(), Order: r.Number, Started: r.started, Exit: r.exit})
		numbers = append(numbers, r.number())
	}
	slices.Sort(numbers)
	return ranks, id.AppendRuns(nil, slices.Compact(numbers)), h.port
}

// running are the ranks whose programs run, as runs.
func (h *hosting) running() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	var numbers []uint32
	for _, r := range h.runs {
		if r.started && r.exit == nil {
			numbers = append(numbers, r.number())
		}
	}
	slices.Sort(numbers)
	return id.AppendRuns(nil, slices.Compact(numbers))
}

// sorted is called with mu held.
func (h *hosting) sorted() []*Rank {
	all := make([]*Rank, 0, len(h.runs))
	for _, r := range h.runs {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *Rank) int {
		if a.Number < b.Number {
			return -1
		}
		return 1
	})
	return all
}

func (r *Rank) number() uint32 { return r.Order.GetProc().GetRank() }

// proc is the rank without its incarnation, which may have changed.
func (r *Rank) proc() *musterv1.ProcRef {
	p := r.Order.GetProc()
	return &musterv1.ProcRef{World: p.GetWorld(), Role: musterv1.Role_ROLE_WORKER, Rank: p.GetRank()}
}

// acknowledge forgets a run whose end the cluster knows.
func (h *hosting) acknowledge(number uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.runs, number)
	close(h.told)
	h.told = make(chan struct{})
}

// untold is how many runs have ended without the cluster's knowing yet, and a channel that is closed when that may have changed.
func (h *hosting) untold() (count int, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.runs {
		if r.exit != nil {
			count++
		}
	}
	return count, h.told
}

// AwaitTold waits until the cluster knows how every run of a host has ended that has: what is not known when the host leaves is lost.
// Without a leader it goes on; the error is ctx's then, and says how many exits are not known. It waits for nothing where the member has
// ended or is no host.
func (m *Member) AwaitTold(ctx context.Context) error {
	if m.host == nil {
		return nil
	}
	for {
		count, changed := m.host.untold()
		if count == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-m.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%d exits have not been told: %w", count, outOfTime(ctx))
		}
	}
}
