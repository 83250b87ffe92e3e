package bench

import (
	"context"
	"sync"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// orders are the spawn orders that the hosts have carried out. Safe for concurrent use.
type orders struct {
	mu      sync.Mutex
	spawned map[uint64]int // by order
}

func (o *orders) add(order uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spawned[order]++
}

// doubled is how many orders were carried out more than once.
func (o *orders) doubled() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, times := range o.spawned {
		n += times - 1
	}
	return n
}

// lost is how many ranks of a world do not run as they were ordered last.
func (o *orders) lost(w *musterv1.WorldView, ranks int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	run := 0
	for _, p := range w.GetProcs() {
		a := p.GetAssignment()
		if p.GetProc().GetRole() == musterv1.Role_ROLE_WORKER && a.GetState() == musterv1.Assignment_STATE_STARTED && o.spawned[a.GetOrder()] > 0 {
			run++
		}
	}
	return ranks - run
}

// host runs the ranks of a host without programs: they run until they are ended.
type host struct{ orders *orders }

var _ client.HostHandler = host{}

func (h host) Port(*musterv1.SpawnOrder) (uint32, error) { return 1, nil }

func (h host) Spawn(r *client.Rank) {
	h.orders.add(r.Number)
	r.Started()
}

func (h host) StopRank(r *client.Rank, _ time.Duration, _ string) { r.Exited(&musterv1.Exit{}) }
func (h host) Kill(r *client.Rank, _ string)                      { r.Exited(&musterv1.Exit{}) }

func (h host) Stop(context.Context, *musterv1.StopOrder) client.StopOutcome {
	return client.StopOutcome{}
}
