package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// detectionPatience is what the cluster is given beyond a lease to expire those that have died.
const detectionPatience = 15 * time.Second

// deaths are the procs of a fleet that are not reported any more, and what became of them. Safe for concurrent use.
type deaths struct {
	lease time.Duration

	mu sync.Mutex
	// alive says of each that has not expired, by world and rank, when the latest report was sent that named it and was acknowledged.
	alive map[string]map[uint32]time.Time
	left  int             // of those chosen, who have not expired
	took  []time.Duration // from the end of the lease of each that has expired until its expiry was heard of
	none  chan struct{}   // closed when nobody is left
}

func newDeaths(lease time.Duration, n int) *deaths {
	d := &deaths{lease: lease, alive: map[string]map[uint32]time.Time{}, left: n, none: make(chan struct{})}
	if n == 0 {
		close(d.none)
	}
	return d
}

// died notes that ranks are not reported any more, and when the latest report that named them was sent.
func (d *deaths) died(world string, ranks []uint32, reported time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	of := make(map[uint32]time.Time, len(ranks))
	for _, rank := range ranks {
		of[rank] = reported
	}
	d.alive[world] = of
}

// expired notes an event that is heard of now. Whoever did not die, or not yet, is left alone: it is counted as not alive at the end.
func (d *deaths) expired(e *musterv1.Event, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	of, before := d.alive[e.GetWorld()], d.left
	for rank := range id.Ranks(e.GetRanks()) {
		if reported, ok := of[rank]; ok {
			delete(of, rank)
			d.left--
			d.took = append(d.took, now.Sub(reported)-d.lease)
		}
	}
	if d.left == 0 && before > 0 {
		close(d.none)
	}
}

// await waits for so long at most until all have expired, and says how long that took for each, and how many have not.
func (d *deaths) await(ctx context.Context, patience time.Duration) (took []time.Duration, undetected int, err error) {
	select {
	case <-d.none:
	case <-time.After(patience):
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.took), d.left, nil
}

// dying is how many of a fleet die.
func (cfg FleetConfig) dying() int {
	if cfg.Die == 0 {
		return 0
	}
	return max(1, int(math.Round(cfg.Die*float64(cfg.Procs))))
}

// mayDie is an error where the brake of the cluster would hold those back that die.
func (t *target) mayDie(ctx context.Context, share float64) error {
	if share == 0 {
		return nil
	}
	status, err := t.client.Cluster().Status(ctx, &musterv1.StatusRequest{})
	if err != nil {
		return err
	}
	if percent := status.GetState().GetSettings().GetBrakePercent(); share*100 > float64(percent) {
		return fmt.Errorf("the mass-expiry brake of this cluster holds back the expiry of more than %d %% of all agents at once, and %g %% are to die: "+
			"let fewer die, or say `muster cluster set brake-percent=100` first", percent, share*100)
	}
	return nil
}

// kill draws who dies, of all sessions, each of which leaves its own out of its next report.
func (f *crews) kill() {
	ranks := make([][]uint32, len(f.all))
	drawn := rand.Perm(f.cfg.Procs)[:f.cfg.dying()]
	slices.Sort(drawn)
	number, first := 0, 0
	for _, n := range drawn {
		for n-first >= len(f.all[number].joined) {
			first += len(f.all[number].joined)
			number++
		}
		ranks[number] = append(ranks[number], uint32(n-first))
	}
	for i, c := range f.all {
		if ranks[i] != nil {
			c.toDie.Store(&ranks[i])
		}
	}
}
