package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// word is an enum's value as people write it: STATUS_AWAITING_CREATION with prefix STATUS_ is AwaitingCreation.
func word(value fmt.Stringer, prefix string) string {
	var text strings.Builder
	for part := range strings.SplitSeq(strings.TrimPrefix(value.String(), prefix), "_") {
		if part != "" {
			text.WriteString(part[:1] + strings.ToLower(part[1:]))
		}
	}
	if text.String() == "Unspecified" {
		return ""
	}
	return text.String()
}

// statusText is a world's status for people. A world that has never been Live is not shown as unhealthy: it is starting.
func statusText(world *musterv1.WorldView) string {
	condition := world.GetCondition()
	switch {
	case condition.GetStatus() == musterv1.Status_STATUS_UNHEALTHY && !condition.GetWasLive():
		return "Starting " + joinedText(world)
	case condition.GetStatus() == musterv1.Status_STATUS_AWAITING_CREATION:
		return "AwaitingCreation " + joinedText(world)
	}
	return word(condition.GetStatus(), "STATUS_")
}

func joinedText(world *musterv1.WorldView) string {
	if world.GetWanted() == 0 {
		return fmt.Sprintf("(%d joined)", world.GetJoined())
	}
	return fmt.Sprintf("(%d/%d joined)", world.GetJoined(), world.GetWanted())
}

// counted is so many things: 1 world, 2 worlds.
func counted(n uint32, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// outOf is a count with what is wanted: 5/6, or 5 where that is open.
func outOf(count, wanted uint32) string {
	if wanted == 0 {
		return strconv.FormatUint(uint64(count), 10)
	}
	return fmt.Sprintf("%d/%d", count, wanted)
}

func shapeText(spec *musterv1.WorldSpec) string {
	switch {
	case spec == nil:
		return ""
	case spec.GetShape().GetOpen():
		return "open"
	case len(spec.GetShape().GetDims()) == 0:
		return "1"
	}
	var dims []string
	for _, dim := range spec.GetShape().GetDims() {
		dims = append(dims, strconv.FormatUint(uint64(dim), 10))
	}
	return strings.Join(dims, ",")
}

// onFailureText is what a failed rank does to the others; unspecified takes the environment's default.
func onFailureText(spec *musterv1.WorldSpec) string {
	switch {
	case spec.GetOnFailure() != musterv1.FailurePolicy_FAILURE_POLICY_UNSPECIFIED:
		return strings.ToLower(word(spec.GetOnFailure(), "FAILURE_POLICY_"))
	case spec.GetExec() != nil:
		return "stop"
	}
	return "keep"
}

// ageText is a duration in nanoseconds, as exact as people care.
func ageText(ns int64) string {
	age := time.Duration(ns)
	switch {
	case age < 0:
		return "0s"
	case age < 10*time.Second:
		return age.Round(100 * time.Millisecond).String()
	case age < time.Hour:
		return age.Round(time.Second).String()
	}
	text := age.Round(time.Minute).String()
	return strings.TrimSuffix(text, "0s")
}

// timeoutText is a timeout of a world; -1 is never.
func timeoutText(ns int64) string {
	if ns == -1 {
		return "never"
	}
	return time.Duration(ns).String()
}

func labelsText(labels []*musterv1.Label) string {
	var pairs []string
	for _, label := range labels {
		pairs = append(pairs, label.GetKey()+"="+label.GetValue())
	}
	return strings.Join(pairs, ",")
}

// rankText is how a table of one world names a member.
func rankText(proc *musterv1.ProcRef) string {
	if proc.GetRole() == musterv1.Role_ROLE_HOST {
		return procText(proc)
	}
	return strconv.FormatUint(uint64(proc.GetRank()), 10)
}

// procText is a member's whole name.
func procText(proc *musterv1.ProcRef) string {
	text := fmt.Sprintf("%s[%d]", proc.GetWorld(), proc.GetRank())
	if proc.GetRole() == musterv1.Role_ROLE_HOST {
		return "host:" + text
	}
	return text
}

// healthText is a member's health; Alive with failed actors is not healthy, and says so. A rank that a host has been given and
// that has no health yet shows how far it is: Assigned, Accepted, Started.
func healthText(proc *musterv1.ProcView) string {
	health := word(proc.GetHealth(), "HEALTH_")
	switch proc.GetHealth() {
	case musterv1.Health_HEALTH_UNSPECIFIED:
		health = word(proc.GetAssignment().GetState(), "STATE_")
	case musterv1.Health_HEALTH_FAILED, musterv1.Health_HEALTH_EXPIRED, musterv1.Health_HEALTH_CONNECTION_FAILURE:
		if code := codeText(proc.GetAssignment().GetExit()); code != "" {
			health += " (" + code + ")"
		}
	}
	if n := proc.GetFailedActorCount(); n > 0 {
		health += fmt.Sprintf(" (%d actors failed)", n)
	}
	return health
}

// codeText is how a program ended in a word: its signal, or its exit code unless that is 0.
func codeText(exit *musterv1.Exit) string {
	switch {
	case exit.GetSignal() != 0:
		return fsm.SignalName(exit.GetSignal())
	case exit.GetCode() != 0:
		return strconv.FormatUint(uint64(exit.GetCode()), 10)
	}
	return ""
}

// causeText is why a member is not healthy.
func causeText(proc *musterv1.ProcView) string {
	if proc.GetCause() != "" || len(proc.GetFailedActors()) == 0 {
		return proc.GetCause()
	}
	first := proc.GetFailedActors()[0]
	return fmt.Sprintf("%s[%d]: %s", first.GetActor(), first.GetPid(), first.GetCause())
}

// causeSentence is what began a world's trouble. Of a program's end it leaves out the last lines, which lastLines has.
func causeSentence(cause *musterv1.Cause) string {
	who := fmt.Sprintf("rank %d", cause.GetRank())
	if cause.GetMachine() != "" {
		who += " on " + oneLine(cause.GetMachine())
	}
	exit := cause.GetExit()
	switch {
	case exit.GetFailure() != "" || exit == nil:
		return oneLine(cause.GetText())
	case exit.GetSignal() != 0:
		return who + " was ended by " + codeText(exit)
	}
	return fmt.Sprintf("%s exited with code %d", who, exit.GetCode())
}

// lastLines is what a program wrote last, indented, each line with its end; empty if it wrote nothing.
func lastLines(exit *musterv1.Exit) string {
	var text strings.Builder
	for line := range strings.Lines(exit.GetLastLines()) {
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			text.WriteString("  |\n")
			continue
		}
		text.WriteString("  | " + oneLine(line) + "\n")
	}
	return text.String()
}

// isEnded says whether a world has ended. Its members are kept no longer.
func isEnded(world *musterv1.WorldView) bool {
	switch world.GetCondition().GetStatus() {
	case musterv1.Status_STATUS_COMPLETED, musterv1.Status_STATUS_FAILED, musterv1.Status_STATUS_STOPPED:
		return true
	}
	return false
}

// missing are the wanted workers that have not joined or started, as runs: "3", "5-7".
func missing(world *musterv1.WorldView) []string {
	return without(world, func(proc *musterv1.ProcView) bool {
		return proc.GetHealth() != musterv1.Health_HEALTH_UNSPECIFIED || proc.GetAssignment() == nil
	})
}

// unlisted are the wanted workers that are not among the members.
func unlisted(world *musterv1.WorldView) []string {
	return without(world, func(*musterv1.ProcView) bool { return true })
}

// without are the wanted workers of a world that has not ended, but for those that are there, as runs.
func without(world *musterv1.WorldView, there func(*musterv1.ProcView) bool) []string {
	if isEnded(world) {
		return nil
	}
	var ranks []uint32
	for _, proc := range world.GetProcs() {
		if proc.GetProc().GetRole() != musterv1.Role_ROLE_HOST && there(proc) {
			ranks = append(ranks, proc.GetProc().GetRank())
		}
	}
	slices.Sort(ranks)
	var runs []string
	next := uint32(0)
	for _, rank := range append(ranks, world.GetWanted()) {
		if rank > world.GetWanted() {
			break
		}
		if rank > next {
			runs = append(runs, runText(next, rank))
		}
		next = rank + 1
	}
	return runs
}

// runText is the ranks of a run: "3", or "5-7" for 5 to 8, exclusive.
func runText(from, to uint32) string {
	if to == from+1 {
		return strconv.FormatUint(uint64(from), 10)
	}
	return fmt.Sprintf("%d-%d", from, to-1)
}

// stalenessText tells how old an answer may be that the leader was not asked for; empty where it was.
func stalenessText(s *musterv1.Staleness) string {
	switch {
	case s == nil:
		return ""
	case s.GetAgeNs() < 0:
		return fmt.Sprintf("as node %s has it, which has heard of no leader since its start", oneLine(s.GetNode()))
	case s.GetAgeNs() == 0:
		return fmt.Sprintf("as node %s has it, which leads", oneLine(s.GetNode()))
	}
	return fmt.Sprintf("as node %s has it, which last heard from the leader %s ago", oneLine(s.GetNode()), ageText(s.GetAgeNs()))
}
