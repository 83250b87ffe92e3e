package bench

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"muster/deploy/fleet"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

const (
	crowdWorld = "crowd"
	// crowdInterval and crowdLease are the defaults of a cluster: a crowd that reports as often as the others would be another load.
	crowdInterval, crowdLease = 2 * time.Second, 10 * time.Second
	// crowdPerClient members share a client, and so a connection to each server: a process may have too few files for one each.
	crowdPerClient = 8
	// crowdJoins are under way at once.
	crowdJoins = 256
	// crowdLook is how often it is looked who has come back.
	crowdLook = 50 * time.Millisecond
)

// crowd is many members that only live, and whose return to the next leader is measured.
type crowd struct {
	members []*client.Member
	back    []time.Duration // how long after the first acknowledged write each has come back; of all trials
}

// startCrowd has so many members join.
func (l *load) startCrowd(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	spec := &musterv1.WorldSpec{
		World: crowdWorld, Shape: &musterv1.Shape{Open: true}, OnFailure: musterv1.FailurePolicy_FAILURE_POLICY_KEEP,
		Timeouts: &musterv1.Timeouts{ReportIntervalNs: int64(crowdInterval), LeaseNs: int64(crowdLease), EvictionNs: -1},
	}
	if _, err := l.cluster.UpsertWorld(ctx, &musterv1.UpsertWorldRequest{Spec: spec}); err != nil {
		return err
	}
	debug.SetGCPercent(loadGC)
	l.crowd.members = make([]*client.Member, n)
	g, joining := errgroup.WithContext(ctx)
	g.SetLimit(crowdJoins)
	var c *client.Client
	for i := range n {
		if i%crowdPerClient == 0 {
			var err error
			if c, err = l.client(); err != nil {
				return err
			}
		}
		with := c
		g.Go(func() (err error) {
			cfg := client.MemberConfig{World: crowdWorld, Rank: uint32(i), Key: fmt.Sprintf("crowd-%d", i), Machine: "bench"}
			l.crowd.members[i], err = with.Join(joining, cfg)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	_, err := l.crowd.gather(ctx, time.Now())
	return err
}

// gather waits until everybody has had something acknowledged that was said since. It tells when it found each.
func (c *crowd) gather(ctx context.Context, since time.Time) (found []time.Time, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fleet.Patience, fmt.Errorf("not within %v", fleet.Patience))
	defer cancel()
	away := c.members
	for len(away) > 0 {
		now := time.Now()
		var still []*client.Member
		for _, m := range away {
			select {
			case <-m.Done():
				return nil, fmt.Errorf("session of rank %d: %w", m.Proc().GetRank(), m.Err())
			default:
			}
			if m.Lease().Add(-crowdLease).After(since) {
				found = append(found, now)
			} else {
				still = append(still, m)
			}
		}
		away = still
		if err := rest(ctx, crowdLook); err != nil {
			return nil, fmt.Errorf("%d of %d sessions have not come back: %w", len(away), len(c.members), err)
		}
	}
	return found, nil
}

// returned notes how long after a moment those were found.
func (c *crowd) returned(found []time.Time, after time.Time) {
	for _, at := range found {
		c.back = append(c.back, max(0, at.Sub(after)))
	}
}
