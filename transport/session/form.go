package session

import (
	"fmt"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

// Limits of one message. They bound what a message costs, not what a member may do: more goes into the next one.
const (
	maxMembers = 1 << 20
	maxRuns    = 256 << 10
	maxOwner   = 256
	maxFailed  = 64
	maxCause   = 1024
	maxActor   = 256
)

// checkForm tells what is malformed in a message, naming the field.
func checkForm(m *musterv1.SessionRequest) error {
	switch body := m.GetBody().(type) {
	case *musterv1.SessionRequest_Hello:
		return checkHello(body.Hello)
	case *musterv1.SessionRequest_Report:
		return checkReport(body.Report)
	case *musterv1.SessionRequest_Confirm:
		return checkProc("confirm.proc", body.Confirm.GetProc())
	case *musterv1.SessionRequest_StopResult:
		return checkProc("stop_result.proc", body.StopResult.GetProc())
	}
	return invalid("body", "holds nothing that this version knows")
}

func invalid(field, format string, args ...any) error {
	return rpcstatus.Error(&musterv1.Refusal{
		Reason: musterv1.Reason_REASON_INVALID, Field: field, Message: field + ": " + fmt.Sprintf(format, args...),
	})
}

func checkProc(field string, p *musterv1.ProcRef) error {
	if err := id.WorldID(p.GetWorld()).Validate(); err != nil {
		return invalid(field+".world", "%v", err)
	}
	if p.GetRank() >= id.MaxProcs {
		return invalid(field+".rank", "%d: must be below %d", p.GetRank(), id.MaxProcs)
	}
	if p.GetIncarnation() == 0 {
		return invalid(field+".incarnation", "is missing: take it from the answer to the join")
	}
	return nil
}

func checkHello(h *musterv1.Hello) error {
	if len(h.GetOwner()) > maxOwner {
		return invalid("hello.owner", "%d bytes: at most %d", len(h.GetOwner()), maxOwner)
	}
	if len(h.GetMembers()) > maxMembers {
		return invalid("hello.members", "%d: at most %d", len(h.GetMembers()), maxMembers)
	}
	for _, m := range h.GetMembers() {
		if err := checkProc("hello.members.proc", m.GetProc()); err != nil {
			return err
		}
	}
	return nil
}

func checkReport(r *musterv1.SessionReport) error {
	for _, runs := range r.GetAlive() {
		if err := id.WorldID(runs.GetWorld()).Validate(); err != nil {
			return invalid("report.alive.world", "%v", err)
		}
		if len(runs.GetRuns()) > maxRuns {
			return invalid("report.alive.runs", "%d bytes: at most %d", len(runs.GetRuns()), maxRuns)
		}
		if err := id.CheckRuns(runs.GetRuns()); err != nil {
			return invalid("report.alive.runs", "%v", err)
		}
	}
	for _, p := range r.GetReports() {
		if err := checkProc("report.reports.proc", p.GetProc()); err != nil {
			return err
		}
		if len(p.GetFailedActors()) > maxFailed {
			return invalid("report.reports.failed_actors", "%d: at most %d in one message", len(p.GetFailedActors()), maxFailed)
		}
		for _, f := range p.GetFailedActors() {
			if f.GetActor() == "" || len(f.GetActor()) > maxActor {
				return invalid("report.reports.failed_actors.actor", "%d bytes: must be 1 to %d", len(f.GetActor()), maxActor)
			}
			if len(f.GetCause()) > maxCause {
				return invalid("report.reports.failed_actors.cause", "%d bytes: at most %d", len(f.GetCause()), maxCause)
			}
		}
	}
	return nil
}
