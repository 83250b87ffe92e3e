package clustertest

import (
	"context"
	"slices"
	"sync"
	"testing"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// Watched collects what a watch tells until it is ended.
type Watched struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	events []*musterv1.Event
	number uint64
	err    error
}

// Watch begins a watch; from now on is from before it returns.
func Watch(t *testing.T, cl *client.Client, req *musterv1.WatchRequest) *Watched {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watched{cancel: cancel, done: make(chan struct{})}
	begun := make(chan struct{})
	go func() {
		defer close(w.done)
		err := cl.Cluster().Watch(ctx, req, func(answer *musterv1.WatchResponse) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.number == 0 && answer.GetNumber() != 0 { // before the first leader there is no number to go on from
				close(begun)
			}
			w.events, w.number = append(w.events, answer.GetEvents()...), answer.GetNumber()
			return nil
		})
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}()
	t.Cleanup(cancel)
	if req.From == 0 {
		<-begun
	}
	return w
}

// UpTo is the number up to which everything has been told.
func (w *Watched) UpTo() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.number
}

// Events are those told so far.
func (w *Watched) Events() []*musterv1.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// Done is closed when the watch has ended.
func (w *Watched) Done() <-chan struct{} { return w.done }

// End ends it and gives all that it was told.
func (w *Watched) End() ([]*musterv1.Event, error) {
	w.cancel()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events, w.err
}
