package fsm

import (
	"fmt"

	musterv1 "muster/proto/muster/v1"
)

// EntryFormat is the newest entry format that this binary knows.
const EntryFormat = 1

// Applied is what became of one entry.
type Applied struct {
	// One per command, in order; nil when the entry was dropped.
	Outcomes []*musterv1.Outcome
	// The entry was sealed in another leadership term or epoch: nothing changed.
	Dropped bool
	// What the leader's volatile parts have to look at.
	Effects Effects
	// Rules that broke, in words for the node's log. Not part of the state: such words depend on the binary.
	Broken []string
}

// Effects point the leader's volatile parts at what changed. They hold no decisions: whoever misses them finds the same by
// reading the state.
type Effects struct {
	// Deadlines that are new or earlier than before.
	Timers []Timer
	// Members with new due orders.
	Orders []*musterv1.ProcRef
	// What members would learn from their next report, to tell them sooner.
	Verdicts []*musterv1.Verdict
	// How many members expired.
	Expired int
	// Workers that may be found elsewhere than before, and worlds all of whose workers may.
	Moved       []*musterv1.ProcRef
	MovedWorlds []string
	// A restore took effect: everything may be different.
	Restored bool
}

// Apply applies the entry at a Raft index, written in a Raft term. An error means that this binary cannot apply it (a newer
// format or command): nothing was changed, and nothing may be applied after it.
func (s *State) Apply(index, raftTerm uint64, e *musterv1.Entry) (Applied, error) {
	if e.GetFormat() != EntryFormat {
		return Applied{}, fmt.Errorf("entry %d has format %d, this binary knows %d: run a newer one", index, e.GetFormat(), EntryFormat)
	}
	for i, c := range e.Commands {
		if c.GetBody() == nil {
			return Applied{}, fmt.Errorf("entry %d: command %d is of a kind that this binary does not know: run a newer one", index, i)
		}
	}
	s.entry.wallMs, s.entry.effects, s.entry.broken = e.WallMs, Effects{}, nil
	s.entry.digest.begin(s.digest, index)

	var outcomes []*musterv1.Outcome
	if start := termStart(e); start != nil {
		if err := s.applyTermStart(start); err != nil {
			return Applied{}, fmt.Errorf("entry %d: %w", index, err)
		}
		outcomes = []*musterv1.Outcome{{}}
	} else {
		if e.RaftTerm != raftTerm || e.Epoch != s.core.Epoch || s.core.Epoch == 0 {
			return Applied{Dropped: true}, nil
		}
		s.core.ClockNs = max(s.core.ClockNs, e.StampNs)
		s.entry.stampNs = e.StampNs
		s.core.BareTermStarts = 0
		s.forgetStaged()
		s.forgetRequests()
		outcomes = s.applyCommands(e)
	}
	s.digest = s.entry.digest.end(s, outcomes)
	return Applied{Outcomes: outcomes, Effects: s.entry.effects, Broken: s.entry.broken}, nil
}

// applyCommands applies an entry's commands in order. What stands behind a restore that takes effect was sealed for the state
// before it, and is dropped.
func (s *State) applyCommands(e *musterv1.Entry) []*musterv1.Outcome {
	outcomes := make([]*musterv1.Outcome, len(e.Commands))
	for i, c := range e.Commands {
		if s.core.Epoch != e.Epoch {
			outcomes[i] = refuse(musterv1.Reason_REASON_DROPPED, "the state was restored just before: ask again")
			continue
		}
		outcomes[i] = s.applyGuarded(c)
	}
	return outcomes
}

// termStart returns the TermStart that is an entry's only command, if it is.
func termStart(e *musterv1.Entry) *musterv1.TermStart {
	if len(e.Commands) != 1 {
		return nil
	}
	return e.Commands[0].GetTermStart()
}

// applyGuarded turns a rule that breaks into an answer, the same on every node, so that nothing a client sends can stop one.
func (s *State) applyGuarded(c *musterv1.Command) (out *musterv1.Outcome) {
	defer func() {
		if r := recover(); r != nil {
			s.entry.broken = append(s.entry.broken, fmt.Sprintf("%T at number %d: %v", c.Body, s.core.Number, r))
			s.emit(&musterv1.Event{Kind: musterv1.Event_KIND_RULE_BROKEN, Text: "a rule broke; the nodes' logs say which"})
			out = refuse(musterv1.Reason_REASON_INTERNAL, "a rule broke while this was applied, at number %d: please report it with the nodes' logs", s.core.Number)
		}
	}()
	return s.applyCommand(c)
}

func (s *State) applyCommand(c *musterv1.Command) *musterv1.Outcome {
	if s.staged != nil {
		if out, handled := s.applyWhileStaged(c); handled {
			return out
		}
	}
	switch c := c.Body.(type) {
	case *musterv1.Command_Tick:
		return &musterv1.Outcome{}
	case *musterv1.Command_Join:
		return s.applyJoin(c.Join)
	case *musterv1.Command_Leave:
		return s.applyLeave(c.Leave)
	case *musterv1.Command_UpsertWorld:
		return s.applyUpsertWorld(c.UpsertWorld)
	case *musterv1.Command_Stop:
		return s.applyStop(c.Stop)
	case *musterv1.Command_StopResult:
		return s.applyStopResult(c.StopResult)
	case *musterv1.Command_Hello:
		return s.applyHello(c.Hello)
	case *musterv1.Command_Confirm:
		return s.applyConfirm(c.Confirm)
	case *musterv1.Command_Report:
		return s.applyReport(c.Report)
	case *musterv1.Command_Expire:
		return s.applyExpire(c.Expire)
	case *musterv1.Command_Due:
		return s.applyDue(c.Due)
	case *musterv1.Command_NodeStart:
		return s.applyNodeStart(c.NodeStart)
	case *musterv1.Command_RestoreBegin:
		return s.applyRestoreBegin(c.RestoreBegin)
	case *musterv1.Command_RestoreChunk:
		return s.applyRestoreChunk(c.RestoreChunk)
	case *musterv1.Command_RestoreCommit:
		return s.applyRestoreCommit(c.RestoreCommit)
	case *musterv1.Command_RestoreAbort:
		return s.applyRestoreAbort(c.RestoreAbort)
	case *musterv1.Command_Answers:
		return s.applyAnswers(c.Answers)
	case *musterv1.Command_Undeliverable:
		return s.applyUndeliverable(c.Undeliverable)
	case *musterv1.Command_Restart:
		return s.applyRestart(c.Restart)
	case *musterv1.Command_DeleteWorld:
		return s.applyDeleteWorld(c.DeleteWorld)
	case *musterv1.Command_Start:
		return s.applyStart(c.Start)
	case *musterv1.Command_Set:
		return s.applySet(c.Set)
	case *musterv1.Command_ReleaseAlarm:
		return s.applyReleaseAlarm(c.ReleaseAlarm)
	case *musterv1.Command_Brake:
		return s.applyBrake(c.Brake)
	default: // a TermStart among other commands
		return refuse(musterv1.Reason_REASON_INVALID, "%T must be the only command of its entry", c)
	}
}

// applyTermStart begins a leadership term. The first one makes an empty state a cluster's.
// An error means that the voters have agreed on rules that this binary does not know.
func (s *State) applyTermStart(t *musterv1.TermStart) error {
	version := max(s.core.MachineVersion, s.commonMachineVersion(t.Voters), firstMachineVersion)
	if s.core.Epoch == 0 {
		version = max(version, t.MachineVersion)
	}
	if version > MachineVersion {
		return fmt.Errorf("the rules are at version %d, this binary knows %d: run a newer one", version, MachineVersion)
	}
	s.core.MachineVersion = version
	if s.core.Epoch == 0 {
		s.core.ClusterId = t.ClusterId
		s.core.Epoch = max(t.UnixMicros, 1) // 0 is "no cluster yet"
		s.core.Number = s.core.Epoch
		s.core.ExecutionId = t.ExecutionId
		if s.core.Settings = t.Settings; s.core.Settings == nil {
			s.core.Settings = DefaultSettings()
		}
		s.core.Phase = musterv1.Phase_PHASE_RUNNING
	}
	s.core.GraceUntilNs = s.core.ClockNs + s.core.Settings.GetGraceNs()
	s.core.BareTermStarts++
	s.staged = nil
	return nil
}

// commonMachineVersion is the newest that all voters have said they can follow; 0 if one of them has not said.
func (s *State) commonMachineVersion(voters []string) uint32 {
	version := uint32(0)
	for i, v := range voters {
		n := s.nodes[v]
		if n == nil {
			return 0
		}
		if i == 0 || n.MachineVersion < version {
			version = n.MachineVersion
		}
	}
	return version
}

func (s *State) applyNodeStart(n *musterv1.NodeStart) *musterv1.Outcome {
	rec := n.GetNode()
	if rec.GetServerId() == "" {
		return refuseField(musterv1.Reason_REASON_INVALID, "node.server_id", "is missing")
	}
	// A name has one server at a time; what it was registered as before its disk was lost is of no use any more.
	for key, old := range sorted(s.nodes) {
		if old.Name == rec.GetName() && key != rec.GetServerId() {
			s.entry.digest.dropped("node", old)
			delete(s.nodes, key)
		}
	}
	s.nodes[rec.GetServerId()] = rec
	s.entry.digest.record(&musterv1.Record{Body: &musterv1.Record_Node{Node: rec}})
	return &musterv1.Outcome{}
}
