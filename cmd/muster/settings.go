package main

import (
	"time"

	"github.com/spf13/pflag"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// settingUsage says what each setting is, for the flags of servers.
var settingUsage = map[string]string{
	"report-interval":  "how often procs report",
	"lease":            "how long a silence is forgiven",
	"grace":            "added once to a silence in which the leader changed",
	"delivery-timeout": "how long an order may stay undelivered",
	"start-timeout":    "from a world's creation until it must have been Live",
	"eviction-timeout": "from Unhealthy until the world is stopped; -1ns = never",
	"proc-timeout":     "what a proc is given to stop by itself",
	"stop-margin":      "added to that before a stop is over",
	"orphan-timeout":   "with --orphan-stop: how long procs that reach no leader go on, from when they were last heard",
	"orphan-stop":      "procs that reach no leader end after --orphan-timeout (else they go on for ever)",
	"brake-percent":    "silent agents, in percent of all, above which a mass expiry is held back",
	"brake-minimum":    "… and at least so many agents",
	"request-window":   "how long a request id is remembered",
	"request-table":    "how many request ids are remembered at most",
	"retention":        "how long an ended world stays readable",
	"ended-worlds":     "how many ended worlds stay readable",
	"events":           "how many events the cluster keeps",
	"world-events":     "how many events each world keeps",
}

// settingsFlags are the settings that a new cluster takes from its first leader's flags, by name.
type settingsFlags struct {
	durations map[string]*time.Duration
	counts    map[string]*uint32
	switches  map[string]*bool
}

func (f *settingsFlags) register(flags *pflag.FlagSet) {
	f.durations, f.counts, f.switches = map[string]*time.Duration{}, map[string]*uint32{}, map[string]*bool{}
	for _, s := range fsm.ListSettings(fsm.DefaultSettings()) {
		usage := settingUsage[s.Name]
		switch s.Kind {
		case fsm.SettingDuration:
			f.durations[s.Name] = flags.Duration(s.Name, time.Duration(s.Value), usage)
		case fsm.SettingCount:
			f.counts[s.Name] = flags.Uint32(s.Name, uint32(s.Value), usage)
		case fsm.SettingSwitch:
			f.switches[s.Name] = flags.Bool(s.Name, s.Value == 1, usage)
		}
	}
}

// settings are the flags' values, checked.
func (f *settingsFlags) settings() (*musterv1.Settings, error) {
	of := fsm.DefaultSettings()
	for _, s := range fsm.ListSettings(of) {
		value := s.Value
		switch s.Kind {
		case fsm.SettingDuration:
			value = int64(*f.durations[s.Name])
		case fsm.SettingCount:
			value = int64(*f.counts[s.Name])
		case fsm.SettingSwitch:
			value = 0
			if *f.switches[s.Name] {
				value = 1
			}
		}
		if err := fsm.ApplyChange(of, s.Name, value); err != nil {
			return nil, &usageError{err}
		}
	}
	if err := fsm.ValidateSettings(of); err != nil {
		return nil, &usageError{err}
	}
	return of, nil
}
