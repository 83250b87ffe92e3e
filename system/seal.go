package system

import (
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// observation is something that the leader saw, to be sealed behind every report that was received before it looked.
type observation struct {
	command *musterv1.Command
	size    int
	mark    uint64 // of the collector, when it looked
}

// Seal completes an entry: what the collector holds goes behind the requests, and observations of the leader go last, so that every
// report received before a deadline was judged is applied before the judgement. When not all of those fit, the judgement waits
// for the entry that carries the last of them; reports that came later do not hold it up. One stamp is put on the whole.
func (l *leadership) Seal(e *musterv1.Entry, room int) (settle func([]*musterv1.Outcome, error)) {
	l.mu.Lock()
	tick := l.tickDue
	l.tickDue = false
	reserved := 0 // for the first observation, so that a flood of reports does not push judgements out
	if len(l.observations) > 0 {
		reserved = l.observations[0].size
	}
	l.mu.Unlock()

	batch := l.collector.take(room - reserved)
	if batch != nil {
		e.Commands = append(e.Commands, &musterv1.Command{Body: &musterv1.Command_Report{Report: batch.report}})
		room -= proto.Size(batch.report)
	}
	e.Commands = append(e.Commands, l.judgements(max(room, reserved))...)
	if l.more() {
		l.term.Poke()
	}
	if len(e.Commands) == 0 && tick {
		e.Commands = append(e.Commands, &musterv1.Command{Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}})
	}
	if len(e.Commands) == 0 {
		return nil
	}
	now := l.now()
	e.Epoch, e.StampNs, e.WallMs = l.epoch, l.clock.NowNs(), now.UnixMilli()
	l.mu.Lock()
	l.lastSeal = now
	l.mu.Unlock()
	if batch == nil {
		return nil
	}
	return func(outcomes []*musterv1.Outcome, err error) {
		if err == nil && len(outcomes) > 0 {
			batch.settle(outcomes[0])
		}
		l.collector.giveBack(batch)
	}
}

// judgements takes the observations whose reports have all been taken, as many as fit.
func (l *leadership) judgements(room int) []*musterv1.Command {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*musterv1.Command
	for len(l.observations) > 0 {
		o := l.observations[0]
		if o.size > room || !l.collector.sealed(o.mark) {
			break
		}
		room -= o.size
		out = append(out, o.command)
		l.observations = l.observations[1:]
	}
	return out
}

// more tells whether anything waits for the next entry.
func (l *leadership) more() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.observations) > 0 || l.collector.crowded()
}
