package server

import (
	"context"
	"sync"
)

// gate lets pass while it is open. Safe for concurrent use.
type gate struct {
	mu     sync.Mutex
	open   bool
	opened chan struct{} // closed when the gate is opened, made anew when it is closed
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case open && !g.open:
		close(g.opened)
	case !open && g.open:
		g.opened = make(chan struct{})
	}
	g.open = open
}

// wait waits until the gate is open, and tells whether it was before ctx ended.
func (g *gate) wait(ctx context.Context) bool {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return true
	case <-ctx.Done():
		return false
	}
}
