package bench

import (
	"context"
	"fmt"
	"time"

	"muster/deploy/fleet"
	musterv1 "muster/proto/muster/v1"
)

// The modes of a failover.
const (
	Kill      = "kill"      // the leader is killed, and started again afterwards
	Pause     = "pause"     // the leader is stopped for two seconds
	Partition = "partition" // the leader's network is cut for two seconds
	Transfer  = "transfer"  // the leader is asked to hand leadership over
	Rolling   = "rolling"   // each node in turn is asked to end, and started again
)

// outage is how long a leader is paused or cut off.
const outage = 2 * time.Second

// happening is one change of leader: what is done to it, when it was begun, and until when the client's pauses count as its.
type happening struct {
	name string
	do   func(context.Context) error
	// after puts things in order again, behind what is measured.
	after func(context.Context) error
}

// happenings are what one trial of a mode does, one after the other.
func (r *run) happenings(ctx context.Context) ([]happening, error) {
	leader, err := r.fleet.Leader(ctx)
	if err != nil {
		return nil, err
	}
	nothing := func(context.Context) error { return nil }
	again := func(s *fleet.Server) func(context.Context) error {
		return func(context.Context) error { return r.fleet.StartServer(s) }
	}
	switch r.cfg.Mode {
	case Kill:
		return []happening{{leader.Name, func(context.Context) error { return leader.Process.Kill() }, again(leader)}}, nil
	case Pause:
		return []happening{{leader.Name, during(leader.Process.Pause, leader.Process.Continue), nothing}}, nil
	case Partition:
		cut := func() error { return r.network.cut(leader.Name, true) }
		mend := func() error { return r.network.cut(leader.Name, false) }
		return []happening{{leader.Name, during(cut, mend), nothing}}, nil
	case Transfer:
		transfer := func(ctx context.Context) error {
			_, err := r.load.cluster.TransferLeader(ctx, &musterv1.TransferLeaderRequest{})
			return err
		}
		return []happening{{leader.Name, transfer, nothing}}, nil
	case Rolling:
		var all []happening
		for _, s := range r.fleet.Servers {
			all = append(all, happening{s.Name, func(ctx context.Context) error { return terminate(ctx, s) }, again(s)})
		}
		return all, nil
	}
	return nil, fmt.Errorf("mode %q: give kill, pause, partition, transfer or rolling", r.cfg.Mode)
}

// during does something and, after the outage, undoes it.
func during(do, undo func() error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := do(); err != nil {
			return err
		}
		err := rest(ctx, outage)
		if undone := undo(); undone != nil {
			return undone
		}
		return err
	}
}

func terminate(ctx context.Context, s *fleet.Server) error {
	if err := s.Process.Terminate(); err != nil {
		return err
	}
	return s.Process.Wait(ctx, fleet.Patience)
}

// rest waits.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
