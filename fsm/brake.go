package fsm

import (
	"fmt"

	musterv1 "muster/proto/muster/v1"
)

// The mass-expiry brake: when more agents fall silent at once than can be believed, the fault is more likely between them and the cluster
// than in each of them. While it is on nobody expires, no order is undeliverable, and no world is evicted. Operators release it, or one lease
// does; it is armed again when the silent are few.

// Brake is the brake as it is. Not to be changed.
func (s *State) Brake() *musterv1.Brake {
	if s.core.Brake == nil {
		return &musterv1.Brake{}
	}
	return s.core.Brake
}

// Braked: the brake is on.
func (s *State) Braked() bool { return s.core.Brake.GetState() == musterv1.Brake_STATE_ON }

// HasBrake: all nodes follow rules that have a brake.
func (s *State) HasBrake() bool { return s.core.MachineVersion >= brakeVersion }

// Agents counts those of a run of slots that are supervised: how many there are and how many are silent at a clock. A host stands for what
// it runs.
func (s *State) Agents(from, to Slot, nowNs int64) (agents, silent uint32) {
	for slot := from; slot < min(to, s.Slots()); slot++ {
		rec := s.recs.at(slot)
		if rec == nil || rec.health != musterv1.Health_HEALTH_ALIVE || !isSupervised(rec) || rec.assignment != nil {
			continue
		}
		agents++
		if nowNs-s.lastReport.at(slot) > 2*rec.timeouts.GetReportIntervalNs() {
			silent++
		}
	}
	return agents, silent
}

// IsMassSilence tells whether so many silent agents are more than can be believed.
func (s *State) IsMassSilence(agents, silent uint32) bool {
	settings := s.core.Settings
	return silent > 0 && silent >= settings.GetBrakeMinimum() && uint64(silent)*100 > uint64(settings.GetBrakePercent())*uint64(agents)
}

// IsQuiet tells whether the silent agents are fewer than half of what makes a mass silence, so that the brake may be armed again.
func (s *State) IsQuiet(agents, silent uint32) bool {
	return agents == 0 || uint64(silent)*200 < uint64(s.core.Settings.GetBrakePercent())*uint64(agents)
}

// BrakeEnds is the clock after which a brake that is on lets go by itself.
func (s *State) BrakeEnds() int64 {
	return s.core.Brake.GetSinceNs() + s.core.Settings.GetTimeouts().GetLeaseNs()
}

// applyBrake lets happen what the leader has counted, if it still may.
func (s *State) applyBrake(c *musterv1.BrakeChange) *musterv1.Outcome {
	if !s.HasBrake() {
		return refuseVersion("a brake")
	}
	state := s.Brake().State
	switch c.GetTo() {
	case musterv1.Brake_STATE_ON:
		if state == musterv1.Brake_STATE_UNSPECIFIED && s.IsMassSilence(c.GetAgents(), c.GetSilent()) {
			s.setBrake(c.GetTo(), c.GetAgents(), c.GetSilent(),
				fmt.Sprintf("%d of %d agents are silent: nobody expires for %v, unless the alarm is released",
					c.GetSilent(), c.GetAgents(), nanoseconds(s.core.Settings.GetTimeouts().GetLeaseNs())))
		}
	case musterv1.Brake_STATE_RELEASED:
		if state == musterv1.Brake_STATE_ON && s.entry.stampNs > s.BrakeEnds() {
			s.setBrake(c.GetTo(), c.GetAgents(), c.GetSilent(), "after one lease: whoever is silent expires")
		}
	default:
		if state == musterv1.Brake_STATE_RELEASED && s.IsQuiet(c.GetAgents(), c.GetSilent()) {
			s.setBrake(c.GetTo(), c.GetAgents(), c.GetSilent(), fmt.Sprintf("%d of %d agents are silent", c.GetSilent(), c.GetAgents()))
		}
	}
	return &musterv1.Outcome{}
}

// applyReleaseAlarm lets the brake go.
func (s *State) applyReleaseAlarm(q *musterv1.ReleaseAlarmRequest) *musterv1.Outcome {
	return s.once(q.GetMeta(), q, func() *musterv1.Outcome {
		if !s.Braked() {
			return refuse(musterv1.Reason_REASON_CONTRADICTS, "no alarm is on: nothing is held back")
		}
		s.setBrake(musterv1.Brake_STATE_RELEASED, s.core.Brake.Agents, s.core.Brake.Silent, "by an operator: whoever is silent expires")
		return &musterv1.Outcome{Body: &musterv1.Outcome_ReleaseAlarm{ReleaseAlarm: &musterv1.ReleaseAlarmResponse{
			Brake: s.core.Brake, Number: s.core.Number,
		}}}
	})
}

func (s *State) setBrake(to musterv1.Brake_State, agents, silent uint32, why string) {
	s.core.Brake = &musterv1.Brake{State: to, SinceNs: s.core.ClockNs, SinceUnixMs: s.entry.wallMs, Silent: silent, Agents: agents}
	s.emit(&musterv1.Event{Kind: musterv1.Event_KIND_BRAKE, Text: BrakeName(to) + ": " + why})
}

// BrakeName is a state of the brake for people.
func BrakeName(state musterv1.Brake_State) string {
	switch state {
	case musterv1.Brake_STATE_ON:
		return "on"
	case musterv1.Brake_STATE_RELEASED:
		return "released"
	}
	return "armed"
}
