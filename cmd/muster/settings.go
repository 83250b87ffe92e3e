package main

import (
	"time"

	"github.com/spf13/pflag"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// settingsFlags are the settings that a new cluster takes from its first leader's flags.
type settingsFlags struct {
	report, lease, grace, start, eviction, delivery, procTimeout, stopMargin, window, retention time.Duration
	brakePercent, brakeMinimum                                                                  uint32
}

func (f *settingsFlags) register(flags *pflag.FlagSet) {
	d := fsm.DefaultSettings()
	for _, s := range []struct {
		to    *time.Duration
		name  string
		ns    int64
		usage string
	}{
		{&f.report, "report-interval", d.Timeouts.ReportIntervalNs, "how often procs report"},
		{&f.lease, "lease", d.Timeouts.LeaseNs, "how long a silence is forgiven"},
		{&f.grace, "grace", d.GraceNs, "added once to a silence in which the leader changed"},
		{&f.start, "start-timeout", d.Timeouts.StartNs, "from a world's creation until it must have been Live"},
		{&f.eviction, "eviction-timeout", d.Timeouts.EvictionNs, "from Unhealthy until the world is stopped; -1ns = never"},
		{&f.delivery, "delivery-timeout", d.Timeouts.DeliveryNs, "how long an order may stay undelivered"},
		{&f.procTimeout, "proc-timeout", d.Timeouts.ProcTimeoutNs, "what a proc is given to stop by itself"},
		{&f.stopMargin, "stop-margin", d.StopMarginNs, "added to that before a stop is over"},
		{&f.window, "request-window", d.RequestWindowNs, "how long a request id is remembered"},
		{&f.retention, "retention", d.RetentionNs, "how long an ended world stays readable"},
	} {
		flags.DurationVar(s.to, s.name, time.Duration(s.ns), s.usage)
	}
	flags.Uint32Var(&f.brakePercent, "brake-percent", d.BrakePercent, "silent agents, in percent of all, above which a mass expiry is held back")
	flags.Uint32Var(&f.brakeMinimum, "brake-minimum", d.BrakeMinimum, "… and at least so many agents")
}

// settings are the defaults with the flags over them, checked.
func (f *settingsFlags) settings() (*musterv1.Settings, error) {
	s := fsm.DefaultSettings()
	s.Timeouts.ReportIntervalNs, s.Timeouts.LeaseNs = int64(f.report), int64(f.lease)
	s.Timeouts.StartNs, s.Timeouts.EvictionNs = int64(f.start), int64(f.eviction)
	s.Timeouts.DeliveryNs, s.Timeouts.ProcTimeoutNs = int64(f.delivery), int64(f.procTimeout)
	s.GraceNs, s.StopMarginNs = int64(f.grace), int64(f.stopMargin)
	s.RequestWindowNs, s.RetentionNs = int64(f.window), int64(f.retention)
	s.BrakePercent, s.BrakeMinimum = f.brakePercent, f.brakeMinimum
	if err := fsm.ValidateSettings(s); err != nil {
		return nil, &usageError{err}
	}
	return s, nil
}
