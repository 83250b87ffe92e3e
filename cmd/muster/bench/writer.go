package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

const (
	// writePause is between an acknowledged write and the next.
	writePause = 2 * time.Millisecond
	// writePatience is how long a write may take before it has failed.
	writePatience = 15 * time.Second
	// labelsPerWorld is as many as a world takes.
	labelsPerWorld = 64
)

// writer adds label after label to worlds of its own, each only if the labels are as it left them. A write that is applied twice would be
// refused the second time, or change nothing; one that is lost is missing when its world is full and looked at.
//
// The counts are read when run has ended; its methods but run are safe for concurrent use.
type writer struct {
	cluster *client.Cluster
	name    string

	mu   sync.Mutex
	acks []timed // acknowledged writes, in order
	errs []error

	failed, lost, doubled int
}

// run writes until ctx ends.
func (w *writer) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		spec := &musterv1.WorldSpec{World: fmt.Sprintf("%s-%d", w.name, n), Shape: &musterv1.Shape{Dims: []uint32{1}}, ProcsPerHost: 1}
		acked := w.fill(ctx, spec)
		// Its end is looked at, and made, whether or not time is up.
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), writePatience)
		w.check(ending, spec.World, acked)
		w.drop(ending, spec.World)
		cancel()
	}
}

// fill writes labels until the world has all it takes. It returns the keys that were acknowledged.
func (w *writer) fill(ctx context.Context, spec *musterv1.WorldSpec) map[string]bool {
	acked := map[string]bool{}
	revision := uint64(0)
	for i := range labelsPerWorld {
		if ctx.Err() != nil {
			break
		}
		label := &musterv1.Label{Key: fmt.Sprintf("w%02d", i), Value: "written"}
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), writePatience)
		began := time.Now()
		answer, err := w.cluster.UpsertWorld(limited, &musterv1.UpsertWorldRequest{Spec: spec, Labels: []*musterv1.Label{label}, LabelRevision: revision})
		cancel()
		switch {
		case err != nil && client.RefusalOf(err) != nil && !client.OutcomeUnknown(err):
			w.doubled++ // nobody else writes here: its first copy was applied
			w.note(err)
			return acked
		case err != nil:
			w.failed++
			w.note(err)
			return acked
		case !answer.GetChanged():
			w.doubled++
			w.note(fmt.Errorf("write %s of %s was there already", label.Key, spec.World))
		}
		revision = answer.GetLabelRevision()
		acked[label.Key] = true
		w.mu.Lock()
		w.acks = append(w.acks, timed{began, time.Now()})
		w.mu.Unlock()
		time.Sleep(writePause)
	}
	return acked
}

// check looks for every acknowledged write.
func (w *writer) check(ctx context.Context, world string, acked map[string]bool) {
	view, err := w.cluster.View(ctx, &musterv1.ViewRequest{Worlds: []string{world}})
	if err != nil {
		w.failed++
		w.note(err)
		return
	}
	for _, there := range view.GetWorlds() {
		for _, l := range there.GetLabels() {
			delete(acked, l.GetKey())
		}
	}
	w.lost += len(acked)
}

// drop ends the world, whose answers do not count as writes.
func (w *writer) drop(ctx context.Context, world string) {
	_, err := w.cluster.Stop(ctx, &musterv1.StopRequest{Worlds: []string{world}, Reason: "its writes were counted"})
	if err == nil {
		_, err = w.cluster.DeleteWorld(ctx, &musterv1.DeleteWorldRequest{World: world})
	}
	if err != nil {
		w.failed++
		w.note(err)
	}
}

// note keeps an error, and keeps a writer whose every write fails from going on too fast.
func (w *writer) note(err error) {
	time.Sleep(writePause)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, err)
}

// trouble is what has failed so far.
func (w *writer) trouble() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.errs[:min(len(w.errs), maxErrors)]...)
}

// writes is how many are acknowledged that began at since or later.
func (w *writer) writes(since time.Time) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for i := len(w.acks) - 1; i >= 0 && !w.acks[i].began.Before(since); i-- {
		n++
	}
	return n
}

// first is when the first write was acknowledged behind a moment.
func (w *writer) first(behind time.Time) (at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.acks) - 1; i >= 0 && w.acks[i].ended.After(behind); i-- {
		at = w.acks[i].ended
	}
	return at
}

// pause is the longest time between two acknowledged writes, from the last one before from until to.
func (w *writer) pause(from, to time.Time) (longest timed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.acks) - 1; i > 0; i-- {
		gap := timed{w.acks[i-1].ended, w.acks[i].ended}
		if gap.ended.Before(from) {
			break
		}
		if gap.began.Before(to) && gap.took() > longest.took() {
			longest = gap
		}
	}
	return longest
}
