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
	// maxHeld bounds the packed ranks of one host: its hello must fit in an entry.
	maxHeld      = 64 << 10
	maxCode      = 255
	maxSignal    = 64
	maxFailure   = 1024
	maxLastLines = 4 << 10
	maxPort      = 1<<16 - 1
)

// checkForm tells what is malformed in a message, naming the field.
func checkForm(m *musterv1.SessionRequest) error {
	switch body := m.GetBody().(type) {
	case *musterv1.SessionRequest_Hello:
		return checkHello(body.Hello)
	case *musterv1.SessionRequest_Report:
		return checkReport(body.Report)
	case *musterv1.SessionRequest_Confirm:
		return checkConfirm(body.Confirm)
	case *musterv1.SessionRequest_StopResult:
		return checkProc("stop_result.proc", body.StopResult.GetProc())
	case *musterv1.SessionRequest_Started:
		return checkRank("started", body.Started.GetProc(), body.Started.GetOrder())
	case *musterv1.SessionRequest_Exited:
		return checkExited(body.Exited)
	case *musterv1.SessionRequest_Post:
		return checkPost(body.Post)
	case *musterv1.SessionRequest_Receipt:
		return checkReceipt(body.Receipt)
	case *musterv1.SessionRequest_Interest:
		return checkInterest(body.Interest)
	}
	return invalid("body", "holds nothing that this version knows")
}

func invalid(field, format string, args ...any) error {
	return rpcstatus.Error(&musterv1.Refusal{
		Reason: musterv1.Reason_REASON_INVALID, Field: field, Message: field + ": " + fmt.Sprintf(format, args...),
	})
}

func checkPlace(field string, p *musterv1.ProcRef) error {
	if err := id.WorldID(p.GetWorld()).Validate(); err != nil {
		return invalid(field+".world", "%v", err)
	}
	if p.GetRank() >= id.MaxProcs {
		return invalid(field+".rank", "%d: must be below %d", p.GetRank(), id.MaxProcs)
	}
	return nil
}

func checkProc(field string, p *musterv1.ProcRef) error {
	if err := checkPlace(field, p); err != nil {
		return err
	}
	if p.GetIncarnation() == 0 {
		return invalid(field+".incarnation", "is missing: take it from the answer to the join")
	}
	return nil
}

// checkRank is for what a host says about one of its ranks, whose incarnation is not looked at.
func checkRank(field string, p *musterv1.ProcRef, order uint64) error {
	if err := checkPlace(field+".proc", p); err != nil {
		return err
	}
	if p.GetRole() == musterv1.Role_ROLE_HOST {
		return invalid(field+".proc.role", "is a host: hosts run workers")
	}
	if order == 0 {
		return invalid(field+".order", "is missing: it is the spawn order's id")
	}
	return nil
}

func checkConfirm(c *musterv1.Confirm) error {
	if err := checkProc("confirm.proc", c.GetProc()); err != nil {
		return err
	}
	return checkPort("confirm.master_port", c.GetMasterPort())
}

func checkPort(field string, port uint32) error {
	if port > maxPort {
		return invalid(field, "%d: at most %d", port, maxPort)
	}
	return nil
}

func checkExited(e *musterv1.Exited) error {
	if err := checkRank("exited", e.GetProc(), e.GetOrder()); err != nil {
		return err
	}
	if e.GetExit() == nil {
		return invalid("exited.exit", "is missing: say how the program ended")
	}
	return checkExit("exited.exit", e.GetExit())
}

func checkExit(field string, e *musterv1.Exit) error {
	if e.GetCode() > maxCode {
		return invalid(field+".code", "%d: at most %d", e.GetCode(), maxCode)
	}
	if e.GetSignal() > maxSignal {
		return invalid(field+".signal", "%d: at most %d", e.GetSignal(), maxSignal)
	}
	if len(e.GetFailure()) > maxFailure {
		return invalid(field+".failure", "%d bytes: at most %d", len(e.GetFailure()), maxFailure)
	}
	if len(e.GetLastLines()) > maxLastLines {
		return invalid(field+".last_lines", "%d bytes: at most %d", len(e.GetLastLines()), maxLastLines)
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
	if len(h.GetRanks()) > maxMembers {
		return invalid("hello.ranks", "%d: at most %d", len(h.GetRanks()), maxMembers)
	}
	for _, m := range h.GetMembers() {
		if err := checkHelloMember(m); err != nil {
			return err
		}
	}
	for _, r := range h.GetRanks() {
		if err := checkRank("hello.ranks", r.GetProc(), r.GetOrder()); err != nil {
			return err
		}
		if err := checkExit("hello.ranks.exit", r.GetExit()); err != nil {
			return err
		}
	}
	return nil
}

func checkHelloMember(m *musterv1.HelloMember) error {
	if err := checkProc("hello.members.proc", m.GetProc()); err != nil {
		return err
	}
	if len(m.GetHeld()) > maxHeld {
		return invalid("hello.members.held", "%d bytes: at most %d", len(m.GetHeld()), maxHeld)
	}
	if err := id.CheckRuns(m.GetHeld()); err != nil {
		return invalid("hello.members.held", "%v", err)
	}
	return checkPort("hello.members.master_port", m.GetMasterPort())
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
		if err := checkReporter(p); err != nil {
			return err
		}
		if err := checkEnd(p); err != nil {
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

// checkEnd is for what a member says of its own end.
func checkEnd(p *musterv1.ProcReport) error {
	switch p.GetHealth() {
	case musterv1.Health_HEALTH_UNSPECIFIED:
	case musterv1.Health_HEALTH_COMPLETED, musterv1.Health_HEALTH_FAILED:
		if p.GetHeldOrder() != 0 || p.GetProc().GetRole() == musterv1.Role_ROLE_HOST {
			return invalid("report.reports.health", "is for workers that speak for themselves: a host says that a rank has exited, or leaves")
		}
	default:
		return invalid("report.reports.health", "%v: a member says that it has completed or failed, and nothing else", p.GetHealth())
	}
	if len(p.GetCause()) > maxCause {
		return invalid("report.reports.cause", "%d bytes: at most %d", len(p.GetCause()), maxCause)
	}
	return nil
}

func checkReporter(p *musterv1.ProcReport) error {
	if p.GetHeldOrder() != 0 {
		return checkRank("report.reports", p.GetProc(), p.GetHeldOrder())
	}
	return checkProc("report.reports.proc", p.GetProc())
}
