package client

import (
	"fmt"

	musterv1 "muster/proto/muster/v1"
)

// maxFailures is how many failed actors one report may carry, and so how many may wait to be acknowledged.
const maxFailures = 64

// failures are failed actors that no acknowledged report has carried yet, oldest first.
type failures struct {
	waiting []*musterv1.FailedActor
	// added counts all that ever were; the last one waiting has this number.
	added uint64
}

// acknowledge forgets all up to a number.
func (f *failures) acknowledge(number uint64) {
	first := f.added - uint64(len(f.waiting)) // number of the last one that is not waiting any more
	if number > first {
		f.waiting = f.waiting[number-first:]
	}
}

// ActorFailed reports that an actor of this member failed: the member is not healthy any more. It does not wait for the
// report. actor is at most 256 bytes, pid is 0 for a root actor, cause is at most 1 KiB. The error says that 64 such reports
// wait already, as no leader has answered.
func (m *Member) ActorFailed(actor string, pid uint64, cause string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.failures.waiting) >= maxFailures {
		return fmt.Errorf("actor %s[%d] failed: %d failures wait to be reported already", actor, pid, maxFailures)
	}
	m.failures.added++
	m.failures.waiting = append(m.failures.waiting, &musterv1.FailedActor{Actor: actor, Pid: pid, Cause: cause})
	m.poke()
	return nil
}
