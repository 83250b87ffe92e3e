package client

import (
	"math/rand/v2"
	"sync"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// longestReturn bounds what a leader may tell; of a lease, a member waits at most the leaseShare-th part for its turn.
const (
	longestReturn = 5 * time.Second
	leaseShare    = 4
)

// crowd is how many have sessions with the leader: in the time that their return to the next one is to be spread over. All who came in the
// same moment would keep each other waiting, and Raft with them. The members of one client come together: over the same connection that
// costs a good deal less. Safe for concurrent use.
type crowd struct {
	mu     sync.Mutex
	within time.Duration
	turn   time.Time // of this client
}

// told takes what the leader says, in milliseconds.
func (c *crowd) told(within uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.within = min(time.Duration(within)*time.Millisecond, longestReturn)
}

// wait is what a member with these timeouts waits before it comes back.
func (c *crowd) wait(of *musterv1.Timeouts) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.within == 0 {
		return 0
	}
	if time.Until(c.turn) <= 0 {
		c.turn = time.Now().Add(rand.N(c.within))
	}
	wait := time.Until(c.turn)
	if lease := time.Duration(of.GetLeaseNs()); lease > 0 && wait > lease/leaseShare {
		wait = rand.N(lease / leaseShare)
	}
	return wait
}
