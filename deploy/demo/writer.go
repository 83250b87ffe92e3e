package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"muster/deploy/fleet"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

const (
	// writes is how many the writer does in all. Each adds a label, and a world has at most 64.
	writes = 40
	// writesBefore of them are acknowledged before the leader is killed.
	writesBefore = 5
)

// write is one acknowledged write.
type write struct {
	label        *musterv1.Label
	revision     uint64
	begun, acked time.Time
}

// writer adds label after label to a world. A goroutine writes, and ends with the last write or the first error.
type writer struct {
	acks chan write // closed behind the last one; it has room for all
	err  error      // read behind that
}

// startWriter writes through the SDK, which has to find the new leader by itself.
func startWriter(ctx context.Context, cluster *client.Cluster, world *musterv1.WorldView) *writer {
	w := &writer{acks: make(chan write, writes)}
	go func() {
		defer close(w.acks)
		for i := range writes {
			label := &musterv1.Label{Key: fmt.Sprintf("write-%02d", i), Value: "acknowledged"}
			begun := time.Now()
			answer, err := cluster.UpsertWorld(ctx, &musterv1.UpsertWorldRequest{Spec: world.GetSpec(), Labels: []*musterv1.Label{label}})
			if err != nil {
				w.err = fmt.Errorf("write %d: %w", i, err)
				return
			}
			w.acks <- write{label: label, revision: answer.GetLabelRevision(), begun: begun, acked: time.Now()}
		}
	}()
	return w
}

// next is the next acknowledged write.
func (w *writer) next() (write, error) {
	ack, ok := <-w.acks
	if !ok && w.err != nil {
		return write{}, w.err
	}
	if !ok {
		return write{}, fmt.Errorf("all %d writes were done too early", writes)
	}
	return ack, nil
}

// rest is all writes that were not taken by next.
func (w *writer) rest() ([]write, error) {
	var rest []write
	for ack := range w.acks {
		rest = append(rest, ack)
	}
	return rest, w.err
}

// withLabels is the view as it must be when a world has got the labels of these writes, and had none before.
func withLabels(view *musterv1.ViewResponse, name string, acked []write) *musterv1.ViewResponse {
	view = proto.CloneOf(view)
	w := fleet.World(view, name)
	for _, write := range acked {
		w.Labels = append(w.Labels, write.label)
		w.LabelRevision = write.revision
	}
	return view
}
