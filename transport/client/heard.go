package client

import (
	"sync"
	"sync/atomic"
	"time"
)

// lastHeard is when any session with an address has received something: a leader shows on one of them that it is there for all. Safe for
// concurrent use.
type lastHeard struct {
	began time.Time
	last  atomic.Int64 // nanoseconds since began

	// mu guards the rest.
	mu sync.Mutex
	// silent is closed when nothing has been heard for the length of silence; nil while nobody waits for that.
	silent chan struct{}
	look   *time.Timer
}

func newLastHeard() *lastHeard { return &lastHeard{began: time.Now()} }

func (h *lastHeard) now() { h.last.Store(int64(time.Since(h.began))) }

func (h *lastHeard) at() time.Time { return h.began.Add(time.Duration(h.last.Load())) }

// silence is closed when nothing has been heard for so long, from now on. All sessions with an address wait for the same.
func (h *lastHeard) silence() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.silent == nil {
		h.silent = make(chan struct{})
		asked := time.Now()
		h.look = time.AfterFunc(silence, func() { h.ended(asked) })
	}
	return h.silent
}

// ended looks whether the silence that somebody began to wait for has been long enough.
func (h *lastHeard) ended(asked time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := h.at()
	if since.Before(asked) {
		since = asked
	}
	if left := silence - time.Since(since); left > 0 {
		h.look.Reset(left)
		return
	}
	close(h.silent)
	h.silent = nil
}
