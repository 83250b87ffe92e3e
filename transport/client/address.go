package client

import (
	"context"
	"fmt"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// Address is where a rank of a world listens ("scheme:rest"). It waits until that rank has joined with an address and is
// alive, or ctx ends.
func (c *Cluster) Address(ctx context.Context, world string, rank uint32) (string, error) {
	pause := newDelay(50*time.Millisecond, 500*time.Millisecond)
	for {
		proc, err := c.worker(ctx, world, rank)
		if err != nil {
			return "", fmt.Errorf("address of %s[%d]: %w", world, rank, err)
		}
		if proc.GetHealth() == musterv1.Health_HEALTH_ALIVE && proc.GetAddress() != "" {
			return proc.GetAddress(), nil
		}
		if pause.wait(ctx) != nil {
			return "", fmt.Errorf("address of %s[%d]: it has not joined with an address: %w", world, rank, outOfTime(ctx))
		}
	}
}

// worker is one worker of a world; nil if it has not joined.
func (c *Cluster) worker(ctx context.Context, world string, rank uint32) (*musterv1.ProcView, error) {
	var found *musterv1.ProcView
	err := c.pages(ctx, &musterv1.ViewRequest{Worlds: []string{world}}, func(page *musterv1.ViewResponse) bool {
		for _, w := range page.GetWorlds() {
			for _, proc := range w.GetProcs() {
				if proc.GetProc().GetRole() == musterv1.Role_ROLE_HOST || proc.GetProc().GetRank() > rank {
					return false // workers come first, by rank
				}
				if proc.GetProc().GetRank() == rank {
					found = proc
					return false
				}
			}
		}
		return true
	})
	return found, err
}
