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
	waiting []failure
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

// failure is one failed actor: of a rank that a host runs, or, with rank nil, of the member itself.
type failure struct {
	rank  *Rank
	actor *musterv1.FailedActor
}

// reports are what a report says of failures, those of the member itself apart.
func (f *failures) reports() (own []*musterv1.FailedActor, ranks []*musterv1.ProcReport) {
	for _, one := range f.waiting {
		if one.rank == nil {
			own = append(own, one.actor)
			continue
		}
		p := one.rank.Order.GetProc()
		ranks = append(ranks, &musterv1.ProcReport{
			Proc: &musterv1.ProcRef{World: p.GetWorld(), Rank: p.GetRank()}, HeldOrder: one.rank.Number, FailedActors: []*musterv1.FailedActor{one.actor},
		})
	}
	return own, ranks
}

// maxCause is how many bytes of a cause are told.
const maxCause = 1024

// ReportFailure reports that an actor of this member, "name" or "name[pid]", failed: the member is not healthy any more. It does not wait
// for the report, which has the first KiB of the cause. The error says that the name is malformed, or that 64 such reports wait already,
// as no leader has answered.
func (m *Member) ReportFailure(actor string, cause error) error {
	return m.reportFailure(nil, m.procID(), actor, cause)
}

// ReportFailure is Member.ReportFailure for an actor of a program that this host runs. What a program says itself, once it has joined,
// counts instead.
func (r *Rank) ReportFailure(actor string, cause error) error {
	p := r.Order.GetProc()
	return r.host.member.reportFailure(r, id.ProcID{World: id.WorldID(p.GetWorld()), Rank: p.GetRank()}, actor, cause)
}

func (m *Member) reportFailure(rank *Rank, of id.ProcID, actor string, cause error) error {
	failed, err := id.ParseActorOf(of, actor)
	if err != nil {
		return fmt.Errorf("report failure: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.failures.waiting) >= maxFailures {
		return fmt.Errorf("report failure of %s: %d failures wait to be reported already", failed, maxFailures)
	}
	m.failures.added++
	m.failures.waiting = append(m.failures.waiting, failure{rank, &musterv1.FailedActor{Actor: failed.Actor, Pid: failed.PID, Cause: toldCause(cause)}})
	m.poke()
	return nil
}

// toldCause is what is told of a cause.
func toldCause(cause error) string {
	text := strings.ToValidUTF8(cause.Error(), "?")
	if len(text) > maxCause {
		text = strings.ToValidUTF8(text[:maxCause], "") // a rune that was cut
	}
	return text
}
