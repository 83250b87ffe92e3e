package server

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

const (
	// frameInterval is how often a watcher hears that there is nothing.
	frameInterval = 250 * time.Millisecond
	// gatherEvents is what lies between two looks at what has happened: a busy cluster applies thousands of entries a second.
	gatherEvents = 5 * time.Millisecond
	maxKinds     = 64
)

// Watch tells what is applied here, until the watcher goes, falls behind what is held, or the server stops.
func (v *systemService) Watch(q *musterv1.WatchRequest, stream grpc.ServerStreamingServer[musterv1.WatchResponse]) error {
	if err := checkWatch(q); err != nil {
		return err
	}
	ctx, cancel := v.s.untilStopped(stream.Context())
	defer cancel()
	frames := time.NewTicker(frameInterval)
	defer frames.Stop()
	for {
		looked := time.Now()
		changed := v.s.cfg.System.Changed() // before the state is read, or a change between the two is missed
		var next *musterv1.WatchResponse
		var more bool
		if _, err := v.s.read(ctx, true, func(st *fsm.State) {
			next = st.Watch(q)
			more = next.Number < st.Number() && next.Number > q.From
		}); err != nil {
			return err
		}
		if len(next.Events) > 0 || q.From == 0 || next.Compacted != 0 || next.Restored != 0 {
			if err := stream.Send(next); err != nil {
				return err
			}
		}
		q.From = next.Number
		switch {
		case next.Compacted != 0 || next.Restored != 0:
			return nil
		case more:
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			if !pause(ctx, time.Until(looked.Add(gatherEvents))) {
				return nil
			}
		case <-frames.C:
			if err := stream.Send(&musterv1.WatchResponse{Number: q.From, ClockNs: next.ClockNs}); err != nil {
				return err
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (v *systemService) History(ctx context.Context, q *musterv1.HistoryRequest) (*musterv1.HistoryResponse, error) {
	if err := checkWorld("world", q.GetWorld()); err != nil {
		return nil, err
	}
	var resp *musterv1.HistoryResponse
	age, err := v.s.read(ctx, q.GetStale(), func(st *fsm.State) { resp = st.History(q.GetWorld()) })
	if err != nil {
		return nil, err
	}
	if resp == nil {
		return nil, notFound("world", "nothing is known of a world %s: it was never created, or is forgotten", q.GetWorld())
	}
	resp.Staleness = age
	return resp, nil
}
