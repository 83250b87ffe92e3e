package client

import (
	"fmt"
	"strings"

	"muster/fsm/id"
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

// maxCause is how many bytes of a cause are told.
const maxCause = 1024

// ReportFailure reports that an actor of this member, "name" or "name[pid]", failed: the member is not healthy any more. It does not wait
// for the report, which has the first KiB of the cause. The error says that the name is malformed, or that 64 such reports wait already,
// as no leader has answered.
func (m *Member) ReportFailure(actor string, cause error) error {
	failed, err := id.ParseActorOf(m.procID(), actor)
	if err != nil {
		return fmt.Errorf("report failure: %w", err)
	}
	text := strings.ToValidUTF8(cause.Error(), "?")
	if len(text) > maxCause {
		text = strings.ToValidUTF8(text[:maxCause], "") // a rune that was cut
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.failures.waiting) >= maxFailures {
		return fmt.Errorf("report failure of %s: %d failures wait to be reported already", failed, maxFailures)
	}
	m.failures.added++
	m.failures.waiting = append(m.failures.waiting, &musterv1.FailedActor{Actor: failed.Actor, Pid: failed.PID, Cause: text})
	m.poke()
	return nil
}
