package fsm

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// rankEnded: a rank's program has ended, or counts as ended. Asked for by an open stop it is Stopped whatever the code.
func (s *State) rankEnded(w *world, slot Slot, present *record, exit *musterv1.Exit) {
	s.cancelSpawn(w, present)
	m := present.member()
	exit = proto.CloneOf(exit)
	exit.Failure = clip(exit.Failure)
	lines := exit.LastLines
	exit.LastLines = clip(lines) // all of them are kept for the first cause only
	text := describeExit(exit)
	rec := present.clone()
	rec.assignment.State, rec.assignment.Exit = musterv1.Assignment_STATE_ENDED, exit
	switch {
	case rec.health == musterv1.Health_HEALTH_EXPIRED || rec.health == musterv1.Health_HEALTH_CONNECTION_FAILURE:
		rec.setHealth(rec.health, clip(rec.cause()+"; then it "+text))
	case hasBegun(rec) && rec.health != musterv1.Health_HEALTH_ALIVE:
	case s.isAsked(w, rec):
		rec.setHealth(musterv1.Health_HEALTH_STOPPED, s.stops[w.rec.Stop].rec.Reason)
		if text == completedText {
			text = "stopped"
		} else {
			text = "stopped: " + text
		}
	case exit.Code == 0 && exit.Signal == 0 && exit.Failure == "":
		rec.setHealth(musterv1.Health_HEALTH_COMPLETED, "")
	default:
		rec.setHealth(musterv1.Health_HEALTH_FAILED, text)
	}
	s.replaceMember(w, slot, rec)
	s.emitMember(w, musterv1.Event_KIND_ENDED, m, clip(fmt.Sprintf("on %s: %s", rec.machine(), text)))
	full := proto.CloneOf(exit)
	full.LastLines = clipTo(lines, maxLines)
	if rec.health == musterv1.Health_HEALTH_FAILED {
		s.blame(w, rec, full, fmt.Sprintf("rank %d on %s %s", m.rank, rec.machine(), text))
	}
	s.targetDone(w, rec.ref(), text)
	s.settle(w, fmt.Sprintf("rank %d on %s %s", m.rank, rec.machine(), text))
}

// isAsked: the rank's world is stopping and has asked it to end.
func (s *State) isAsked(w *world, rec *record) bool {
	op := s.stops[w.rec.Stop]
	if op == nil {
		return false
	}
	i, ok := op.index[rec.member()]
	return ok && op.targets[i].Proc.Incarnation == rec.incarnation
}

// completedText is how an exit with success is told.
const completedText = "completed"

// describeExit goes on from "rank 3 ".
func describeExit(e *musterv1.Exit) string {
	last := strings.TrimRight(e.GetLastLines(), "\n")
	last = last[strings.LastIndexByte(last, '\n')+1:]
	var text string
	switch {
	case e.GetFailure() != "" && (e.GetCode() == 126 || e.GetCode() == 127):
		return "could not be started: " + e.Failure
	case e.GetFailure() != "":
		text = "ended: " + e.Failure
	case e.GetSignal() != 0:
		text = "was ended by " + SignalName(e.Signal)
	case e.GetCode() == 0:
		return completedText
	default:
		text = fmt.Sprintf("exited with code %d", e.GetCode())
	}
	if last != "" {
		text += ": " + last
	}
	return text
}

// blame notes the first cause of w's trouble.
func (s *State) blame(w *world, rec *record, exit *musterv1.Exit, text string) {
	if w.rec.FirstCause != nil && !s.outweighs(w, rec) || !s.knowsHosts() || rec.role != musterv1.Role_ROLE_WORKER {
		return
	}
	wrec := proto.CloneOf(w.rec)
	keepCause(wrec, wrec.FirstCause)
	wrec.FirstCause = &musterv1.Cause{
		Rank: rec.rank, Machine: rec.machine(), Exit: exit, Text: clip(text), AtNs: s.core.ClockNs, AtUnixMs: s.entry.wallMs,
	}
	s.putWorld(w, wrec)
}

// outweighs: what ends the world is its cause, though something else went wrong before.
func (s *State) outweighs(w *world, rec *record) bool {
	return s.HasBrake() && rec.health == musterv1.Health_HEALTH_FAILED && w.rec.FirstCause.GetExit() == nil && w.rec.Stop == 0 && stopsOnFailure(w.rec.Spec)
}

// stopIfFailed stops a world whose policy says so once a rank of it has failed.
func (s *State) stopIfFailed(w *world) {
	if s.worlds[w.rec.World] != w || w.rec.Stop != 0 || !stopsOnFailure(w.rec.Spec) {
		return
	}
	rec := s.firstFailed(w)
	if rec == nil {
		return
	}
	text := clip(fmt.Sprintf("rank %d on %s %s", rec.rank, rec.machine(), rec.cause()))
	s.beginStop([]*world{w}, w.rec.Timeouts.GetProcTimeoutNs(), text, &musterv1.Condition{Status: musterv1.Status_STATUS_FAILED, Reason: text})
}

// firstFailed is the rank that failed first, or, where the trouble began otherwise, the lowest; nil if none has failed.
func (s *State) firstFailed(w *world) *record {
	if c := w.rec.FirstCause; c != nil {
		if _, rec := s.lookup(member{w.rec.World, musterv1.Role_ROLE_WORKER, c.Rank}); rec != nil && rec.health == musterv1.Health_HEALTH_FAILED {
			return rec
		}
	}
	for _, slot := range w.workers.from(0) {
		if s.recs.at(slot).health == musterv1.Health_HEALTH_FAILED {
			return s.recs.at(slot)
		}
	}
	return nil
}

func stopsOnFailure(spec *musterv1.WorldSpec) bool {
	switch spec.GetOnFailure() {
	case musterv1.FailurePolicy_FAILURE_POLICY_STOP:
		return true
	case musterv1.FailurePolicy_FAILURE_POLICY_KEEP:
		return false
	}
	return spec.GetExec() != nil
}

// applyUndeliverable: who has not confirmed an order in time, and was not heard either, is out of reach.
func (s *State) applyUndeliverable(u *musterv1.Undeliverable) *musterv1.Outcome {
	if s.Braked() {
		return &musterv1.Outcome{}
	}
	for _, o := range u.GetOrders() {
		m := memberOf(o.GetProc())
		slot, rec := s.lookup(m)
		waiting := s.pending[m]
		if rec == nil || rec.incarnation != o.GetProc().GetIncarnation() || len(waiting) == 0 || waiting[0].id != o.GetOrder() {
			continue
		}
		if at, ok := s.deliveryDeadline(slot); !ok || s.entry.stampNs <= at {
			continue
		}
		w := s.worlds[m.world]
		rec = rec.clone()
		rec.setHealth(musterv1.Health_HEALTH_CONNECTION_FAILURE,
			fmt.Sprintf("order %d could not be delivered within %v", o.GetOrder(), nanoseconds(rec.timeouts.GetDeliveryNs())))
		s.replaceMember(w, slot, rec)
		s.verdict(rec.ref(), musterv1.Verdict_KIND_EXPIRED, 0)
		text := fmt.Sprintf("%s on %s: %s", printMember(m), rec.machine(), rec.cause())
		s.emitMember(w, musterv1.Event_KIND_UNDELIVERABLE, m, clip(text))
		s.blame(w, rec, nil, text)
		s.targetDone(w, rec.ref(), "could not be reached")
		if m.role == musterv1.Role_ROLE_HOST && s.worlds[m.world] == w {
			s.hostTargetsDone(w, m.rank)
		}
		s.settle(w, text)
		if rec.mode == musterv1.Mode_MODE_MANAGING_SYSTEM && s.core.Phase == musterv1.Phase_PHASE_RUNNING {
			s.stopEverything(s.ownTimeouts(), text)
		}
	}
	return &musterv1.Outcome{}
}

// SignalName is a signal as people know it ("SIGKILL"), or its number.
func SignalName(n uint32) string {
	if name, ok := signalNames[n]; ok {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}

// signalNames are Linux's, spelt out so that every binary stores the same words.
var signalNames = map[uint32]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
	10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}
