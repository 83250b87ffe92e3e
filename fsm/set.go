package fsm

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// SettingKind says how a setting's value is meant.
type SettingKind uint8

// Kinds of settings.
const (
	SettingDuration SettingKind = iota // nanoseconds; -1 = never, where that makes sense
	SettingCount
	SettingSwitch // 0 or 1
)

// Setting is one of the cluster's settings by name, which is that of the server's flag.
type Setting struct {
	Name  string
	Kind  SettingKind
	Value int64
}

// String is the value as Set reads it.
func (s Setting) String() string {
	switch {
	case s.Kind == SettingSwitch:
		return strconv.FormatBool(s.Value == 1)
	case s.Kind == SettingCount:
		return strconv.FormatInt(s.Value, 10)
	case s.Value < 0:
		return "never"
	}
	return time.Duration(s.Value).String()
}

type settable struct {
	name     string
	duration func(*musterv1.Settings) *int64
	count    func(*musterv1.Settings) *uint32 // where it is no duration; neither: the switch
}

// settings are all that can be set, in the order in which they are shown.
var settings = []settable{
	{name: "report-interval", duration: func(s *musterv1.Settings) *int64 { return &s.Timeouts.ReportIntervalNs }},
	{name: "lease", duration: func(s *musterv1.Settings) *int64 { return &s.Timeouts.LeaseNs }},
	{name: "grace", duration: func(s *musterv1.Settings) *int64 { return &s.GraceNs }},
	{name: "delivery-timeout", duration: func(s *musterv1.Settings) *int64 { return &s.Timeouts.DeliveryNs }},
	{name: "start-timeout", duration: func(s *musterv1.Settings) *int64 { return &s.Timeouts.StartNs }},
	{name: "eviction-timeout", duration: func(s *musterv1.Settings) *int64 { return &s.Timeouts.EvictionNs }},
	{name: "proc-timeout", duration: func(s *musterv1.Settings) *int64 { return &s.Timeouts.ProcTimeoutNs }},
	{name: "stop-margin", duration: func(s *musterv1.Settings) *int64 { return &s.StopMarginNs }},
	{name: "orphan-timeout", duration: func(s *musterv1.Settings) *int64 { return &s.OrphanNs }},
	{name: orphanStop},
	{name: "brake-percent", count: func(s *musterv1.Settings) *uint32 { return &s.BrakePercent }},
	{name: "brake-minimum", count: func(s *musterv1.Settings) *uint32 { return &s.BrakeMinimum }},
	{name: "request-window", duration: func(s *musterv1.Settings) *int64 { return &s.RequestWindowNs }},
	{name: "request-table", count: func(s *musterv1.Settings) *uint32 { return &s.RequestTableSize }},
	{name: "retention", duration: func(s *musterv1.Settings) *int64 { return &s.RetentionNs }},
	{name: "ended-worlds", count: func(s *musterv1.Settings) *uint32 { return &s.EndedWorlds }},
	{name: "events", count: func(s *musterv1.Settings) *uint32 { return &s.Events }},
	{name: "world-events", count: func(s *musterv1.Settings) *uint32 { return &s.WorldEvents }},
}

const orphanStop = "orphan-stop"

func (t settable) kind() SettingKind {
	switch {
	case t.duration != nil:
		return SettingDuration
	case t.count != nil:
		return SettingCount
	}
	return SettingSwitch
}

// ListSettings are all settings with their values, which must have timeouts.
func ListSettings(of *musterv1.Settings) []Setting {
	var out []Setting
	for _, t := range settings {
		one := Setting{Name: t.name, Kind: t.kind()}
		switch one.Kind {
		case SettingDuration:
			one.Value = *t.duration(of)
		case SettingCount:
			one.Value = int64(*t.count(of))
		case SettingSwitch:
			if of.OrphanStop {
				one.Value = 1
			}
		}
		out = append(out, one)
	}
	return out
}

// KindOfSetting tells how a setting is meant; ok is false where there is none of that name.
func KindOfSetting(name string) (kind SettingKind, ok bool) {
	for _, t := range settings {
		if t.name == name {
			return t.kind(), true
		}
	}
	return 0, false
}

// ApplyChange changes one setting. The error says what is wrong with it, not whether the whole of the settings makes sense.
func ApplyChange(of *musterv1.Settings, name string, value int64) error {
	var names []string
	for _, t := range settings {
		if names = append(names, t.name); t.name != name {
			continue
		}
		switch kind := t.kind(); {
		case kind == SettingDuration:
			*t.duration(of) = value
		case kind == SettingCount && value >= 0 && value <= math.MaxUint32:
			*t.count(of) = uint32(value)
		case kind == SettingSwitch && (value == 0 || value == 1):
			of.OrphanStop = value == 1
		default:
			return fmt.Errorf("setting %s: %d is not a value that it can have", name, value)
		}
		return nil
	}
	return fmt.Errorf("there is no setting %q; there are %s", name, strings.Join(names, ", "))
}

// applySet changes settings, all or none.
func (s *State) applySet(q *musterv1.SetRequest) *musterv1.Outcome {
	return s.once(q.GetMeta(), q, func() *musterv1.Outcome {
		if !s.HasBrake() {
			return refuseVersion("settings that can be changed")
		}
		changed := proto.CloneOf(s.core.Settings)
		var told []string
		for _, c := range q.GetChanges() {
			if err := ApplyChange(changed, c.GetName(), c.GetValue()); err != nil {
				return refuseField(musterv1.Reason_REASON_INVALID, "changes", "%v", err)
			}
			told = append(told, c.GetName())
		}
		if err := ValidateSettings(changed); err != nil {
			return refuseField(musterv1.Reason_REASON_INVALID, "changes", "%v", err)
		}
		if !proto.Equal(changed, s.core.Settings) {
			s.core.Settings = changed
			s.retentionTimers()
			s.graceTimers()
			s.emit(&musterv1.Event{Kind: musterv1.Event_KIND_SETTINGS, Text: clip("changed: " + strings.Join(told, ", "))})
			s.dropSurplusEnded()
			s.refitEvents()
		}
		return &musterv1.Outcome{Body: &musterv1.Outcome_Set{Set: &musterv1.SetResponse{Settings: changed, Number: s.core.Number}}}
	})
}

// refuseVersion: not every node can follow yet.
func refuseVersion(what string) *musterv1.Outcome {
	return refuse(musterv1.Reason_REASON_UNSUPPORTED, "not every node of the cluster knows %s yet: bring all of them to this version and restart them one by one", what)
}
