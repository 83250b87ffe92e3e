package system

import (
	"time"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// Seal completes an entry: what the collector holds goes behind the requests, and observations of the leader go last, so that every
// report received before a deadline was judged is applied before the judgement. When not all reports fit, the judgement waits
// for the entry that carries the last of them. One stamp is put on the whole.
func (l *leadership) Seal(e *musterv1.Entry, room int) (settle func([]*musterv1.Outcome, error)) {
	requests := len(e.Commands)
	l.mu.Lock()
	observations := l.observations
	l.observations = nil
	tick := l.tickDue
	l.tickDue = false
	l.mu.Unlock()

	batch := l.collector.take(room)
	if batch != nil {
		e.Commands = append(e.Commands, &musterv1.Command{Body: &musterv1.Command_Report{Report: batch.report}})
		room -= proto.Size(batch.report)
	}
	for len(observations) > 0 && l.collector.empty() && room > proto.Size(observations[0]) {
		room -= proto.Size(observations[0])
		e.Commands = append(e.Commands, observations[0])
		observations = observations[1:]
	}
	if len(observations) > 0 {
		l.mu.Lock()
		l.observations = append(observations, l.observations...)
		l.mu.Unlock()
	}
	if len(observations) > 0 || !l.collector.empty() {
		l.term.Poke()
	}
	if len(e.Commands) == 0 && tick {
		e.Commands = append(e.Commands, &musterv1.Command{Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}})
	}
	if len(e.Commands) == 0 {
		return nil
	}
	now := time.Now()
	e.Epoch, e.StampNs, e.WallMs = l.epoch, l.clock.NowNs(), now.UnixMilli()
	l.mu.Lock()
	l.lastSeal = now
	l.mu.Unlock()
	if batch == nil || len(e.Commands) == requests {
		return nil
	}
	return func(outcomes []*musterv1.Outcome, err error) {
		if err == nil && len(outcomes) > 0 {
			batch.settle(outcomes[0])
		}
	}
}
