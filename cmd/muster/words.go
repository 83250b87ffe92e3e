package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
	rank := strconv.FormatUint(uint64(proc.GetRank()), 10)
	if proc.GetRole() == musterv1.Role_ROLE_HOST {
		return "host:" + rank
	}
	return rank
}

// procText is a member's whole name.
func procText(proc *musterv1.ProcRef) string {
	text := fmt.Sprintf("%s[%d]", proc.GetWorld(), proc.GetRank())
	if proc.GetRole() == musterv1.Role_ROLE_HOST {
		return "host:" + text
	}
	return text
}

// healthText is a member's health; Alive with failed actors is not healthy, and says so.
func healthText(proc *musterv1.ProcView) string {
	health := word(proc.GetHealth(), "HEALTH_")
	if n := proc.GetFailedActorCount(); n > 0 {
		health += fmt.Sprintf(" (%d actors failed)", n)
	}
	return health
}

// causeText is why a member is not healthy.
func causeText(proc *musterv1.ProcView) string {
	if proc.GetCause() != "" || len(proc.GetFailedActors()) == 0 {
		return proc.GetCause()
	}
	first := proc.GetFailedActors()[0]
	return fmt.Sprintf("%s[%d]: %s", first.GetActor(), first.GetPid(), first.GetCause())
}

// missing are the wanted workers that have not joined, as runs: "3", "5-7".
func missing(world *musterv1.WorldView) []string {
	var there []uint32
	for _, proc := range world.GetProcs() {
		if proc.GetProc().GetRole() != musterv1.Role_ROLE_HOST {
			there = append(there, proc.GetProc().GetRank())
		}
	}
	slices.Sort(there)
	var runs []string
	next := uint32(0)
	for _, rank := range append(there, world.GetWanted()) {
		if rank > world.GetWanted() {
			break
		}
		switch {
		case rank == next+1:
			runs = append(runs, strconv.FormatUint(uint64(next), 10))
		case rank > next:
			runs = append(runs, fmt.Sprintf("%d-%d", next, rank-1))
		}
		next = rank + 1
	}
	return runs
}
