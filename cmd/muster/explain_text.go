package main

import (
	"fmt"
	"strings"
	"time"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// mostRuns is how many runs of ranks one line names.
const mostRuns = 20

// explanation is what the cluster says of a world or of one member, for people. A part that has nothing to say is left out.
func explanation(req *musterv1.ExplainRequest, r *musterv1.ExplainResponse) string {
	s := &story{r: r}
	if req.GetOneRank() {
		s.member(&musterv1.ProcRef{World: req.GetWorld(), Role: req.GetRole(), Rank: req.GetRank()})
		s.worldHead()
		if reason := r.GetWorld().GetCondition().GetReason(); reason != "" {
			s.line("  why: %s", oneLine(reason))
		}
		s.missingHosts()
	} else {
		s.worldHead()
		s.why()
		s.missing()
		s.unhealthy()
	}
	s.orders()
	for _, next := range r.GetNext() {
		when := "now"
		if next.GetAtNs() > r.GetClockNs() {
			when = "in " + ageText(next.GetAtNs()-r.GetClockNs())
		}
		s.line("next: %s: %s", when, oneLine(next.GetWhat()))
	}
	if age := stalenessText(r.GetStaleness()); age != "" {
		s.line("note: %s", age)
	}
	for _, note := range r.GetNotes() {
		s.line("note: %s", oneLine(note))
	}
	s.events()
	return s.text.String()
}

// story is the text as far as it has come.
type story struct {
	r    *musterv1.ExplainResponse
	text strings.Builder
}

func (s *story) line(format string, args ...any) {
	fmt.Fprintf(&s.text, format+"\n", args...)
}

// worldHead: world train, generation 7: Failed since … (41s ago).
func (s *story) worldHead() {
	world := s.r.GetWorld()
	condition := world.GetCondition()
	age := ageText(s.r.GetClockNs() - condition.GetSinceNs())
	since := "for " + age
	if condition.GetSinceUnixMs() > 0 {
		since = time.UnixMilli(condition.GetSinceUnixMs()).UTC().Format("since 2006-01-02 15:04:05 UTC") + " (" + age + " ago)"
	}
	s.line("world %s, generation %d: %s %s", world.GetWorld(), world.GetGeneration(), statusText(world), since)
}

// why is the reason of the status and what began it, once where both say the same.
func (s *story) why() {
	condition, cause := s.r.GetWorld().GetCondition(), s.r.GetWorld().GetFirstCause()
	reason := condition.GetReason()
	switch {
	case cause == nil && reason != "":
		s.line("why: %s", oneLine(reason))
	case cause != nil && (reason == "" || strings.HasPrefix(reason, causeSentence(cause))):
		s.line("why: %s", causeSentence(cause))
	case cause != nil:
		s.line("why: %s", oneLine(reason))
		s.line("first cause: %s", causeSentence(cause))
	}
	s.text.WriteString(lastLines(cause.GetExit()))
}

func (s *story) missing() {
	if s.r.GetMissingCount() == 0 {
		s.missingHosts()
		return
	}
	word := "ranks"
	if s.r.GetMissingCount() == 1 {
		word = "rank"
	}
	text := fmt.Sprintf("missing: %s %s (%d of %d)", word, runsText(s.r.GetMissing()), s.r.GetMissingCount(), s.r.GetWorld().GetWanted())
	if hosts := s.hostsText(); hosts != "" {
		text += " - " + hosts
	}
	s.line("%s", text)
}

func (s *story) missingHosts() {
	if hosts := s.hostsText(); hosts != "" {
		s.line("missing: %s", hosts)
	}
}

// hostsText: no host for host ranks 1-3 has joined.
func (s *story) hostsText() string {
	switch s.r.GetMissingHostCount() {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("no host for host rank %s has joined", runsText(id.AppendRuns(nil, s.r.GetMissingHosts())))
	}
	text := "no host for host ranks " + runsText(id.AppendRuns(nil, s.r.GetMissingHosts()))
	if more := int(s.r.GetMissingHostCount()) - len(s.r.GetMissingHosts()); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text + " has joined"
}

// unhealthy lists the members that are not healthy, as far as they were told.
func (s *story) unhealthy() {
	if len(s.r.GetProcs()) == 0 {
		return
	}
	s.line("not healthy:")
	for _, proc := range s.r.GetProcs() {
		s.line("  %s", procLine(proc))
	}
}

// procLine: train[3] on node-b: Failed (17), incarnation 1763, last heard 41s ago: exited with code 17.
func procLine(proc *musterv1.ProcView) string {
	text := procText(proc.GetProc())
	if proc.GetMachine() != "" {
		text += " on " + oneLine(proc.GetMachine())
	}
	text += fmt.Sprintf(": %s, incarnation %d", oneLine(healthText(proc)), proc.GetProc().GetIncarnation())
	if proc.GetHealth() != musterv1.Health_HEALTH_UNSPECIFIED {
		text += ", last heard " + ageText(proc.GetReportAgeNs()) + " ago"
	}
	if cause := causeText(proc); cause != "" {
		text += ": " + oneLine(cause)
	}
	return text
}

// member tells of the one member asked for.
func (s *story) member(ref *musterv1.ProcRef) {
	cause := s.r.GetWorld().GetFirstCause()
	if len(s.r.GetProcs()) == 0 {
		switch {
		case !isEnded(s.r.GetWorld()):
			s.line("%s: has not joined", procText(ref))
		case cause != nil && cause.GetRank() == ref.GetRank() && ref.GetRole() != musterv1.Role_ROLE_HOST:
			s.line("%s: %s", procText(ref), causeSentence(cause))
			s.text.WriteString(lastLines(cause.GetExit()))
		default:
			s.line("%s: its world has ended", procText(ref))
		}
		return
	}
	proc := s.r.GetProcs()[0]
	s.line("%s", procLine(proc))
	for _, actor := range proc.GetFailedActors() {
		s.line("  failed: %s[%d]: %s", oneLine(actor.GetActor()), actor.GetPid(), oneLine(actor.GetCause()))
	}
	assignment := proc.GetAssignment()
	s.text.WriteString(lastLines(assignment.GetExit()))
	if assignment == nil {
		return
	}
	text := "assignment: " + word(assignment.GetState(), "STATE_")
	if assignment.GetOrder() == 0 {
		text += ", no order is due yet"
	} else {
		text += fmt.Sprintf(", order %d of %s ago", assignment.GetOrder(), ageText(s.r.GetClockNs()-assignment.GetDueNs()))
	}
	if assignment.GetClaimed() {
		text += ", the program speaks for itself"
	}
	s.line("%s", text)
}

// orders is what has been ordered and not confirmed.
func (s *story) orders() {
	for _, order := range s.r.GetOrders() {
		s.line("to be told: %s -> %s, order %d, for %s", oneLine(order.GetWhat()), procText(order.GetTo()), order.GetId(), ageText(order.GetAgeNs()))
	}
	if more := int(s.r.GetOrderCount()) - len(s.r.GetOrders()); more > 0 {
		s.line("to be told: %d more", more)
	}
}

func (s *story) events() {
	if len(s.r.GetEvents()) == 0 {
		return
	}
	s.line("lately:")
	for _, event := range s.r.GetEvents() {
		s.line("  %s ago: %s", ageText(s.r.GetClockNs()-event.GetClockNs()), eventText(event))
	}
}

// eventText: ranks 0-7 started: on node-b.
func eventText(event *musterv1.Event) string {
	what := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(event.GetKind().String(), "KIND_"), "_", " "))
	if event.GetKind() == musterv1.Event_KIND_WORLD_STATUS {
		what = word(event.GetStatus(), "STATUS_")
	}
	if len(event.GetRanks()) > 0 {
		who := "rank"
		if event.GetRole() == musterv1.Role_ROLE_HOST {
			who = "host rank"
		}
		runs := runsText(event.GetRanks())
		if strings.ContainsAny(runs, "-,") {
			who += "s"
		}
		what = who + " " + runs + " " + strings.TrimPrefix(what, "proc ")
	}
	if event.GetText() == "" {
		return what
	}
	return what + ": " + oneLine(event.GetText())
}

// runsText names packed ranks, the first of them where there are many runs: "3, 5-7".
func runsText(runs []byte) string {
	var text []string
	for from, to := range id.Intervals(runs) {
		if len(text) == mostRuns {
			text = append(text, "…")
			break
		}
		text = append(text, runText(from, to))
	}
	return strings.Join(text, ", ")
}
