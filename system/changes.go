package system

import "sync"

// changes wakes those who wait for the state to go on. The zero value is ready. Safe for concurrent use.
type changes struct {
	mu      sync.Mutex
	waiting chan struct{} // nil while nobody waits
}

// wait returns a channel that is closed when something is applied after the call.
func (c *changes) wait() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting = make(chan struct{})
	}
	return c.waiting
}

// happened is called with the state's lock held and does not block.
func (c *changes) happened() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting != nil {
		close(c.waiting)
		c.waiting = nil
	}
}
