package fsm

import (
	"errors"
	"fmt"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// DiskFence is how long a node's log may hang before the node falls silent. It is a constant of the protocol, since leases must
// be longer than it.
const DiskFence = 2 * time.Second

// Never is the stored value of an eviction timeout that is switched off.
const Never = int64(-1)

// DefaultSettings are what an empty cluster takes when its first leader was started without flags.
func DefaultSettings() *musterv1.Settings {
	return &musterv1.Settings{
		Timeouts: &musterv1.Timeouts{
			ReportIntervalNs: int64(2 * time.Second),
			LeaseNs:          int64(10 * time.Second),
			StartNs:          int64(10 * time.Minute),
			EvictionNs:       int64(5 * time.Minute),
			DeliveryNs:       int64(10 * time.Second),
			ProcTimeoutNs:    int64(30 * time.Second),
		},
		GraceNs:          int64(2 * time.Second),
		OrphanNs:         int64(2 * time.Minute),
		StopMarginNs:     int64(5 * time.Second),
		RequestWindowNs:  int64(10 * time.Minute),
		RequestTableSize: 65536,
		RetentionNs:      int64(24 * time.Hour),
		EndedWorlds:      1000,
		BrakePercent:     50,
		BrakeMinimum:     5,
		Events:           10000,
		WorldEvents:      100,
	}
}

// resolve fills the zeros of asked from the settings.
func resolve(asked, settings *musterv1.Timeouts) *musterv1.Timeouts {
	pick := func(a, b int64) int64 {
		if a != 0 {
			return a
		}
		return b
	}
	return &musterv1.Timeouts{
		ReportIntervalNs: pick(asked.GetReportIntervalNs(), settings.ReportIntervalNs),
		LeaseNs:          pick(asked.GetLeaseNs(), settings.LeaseNs),
		StartNs:          pick(asked.GetStartNs(), settings.StartNs),
		EvictionNs:       pick(asked.GetEvictionNs(), settings.EvictionNs),
		DeliveryNs:       pick(asked.GetDeliveryNs(), settings.DeliveryNs),
		ProcTimeoutNs:    pick(asked.GetProcTimeoutNs(), settings.ProcTimeoutNs),
	}
}

// ValidateTimeouts tells which two of resolved timeouts collide. Every bound has a reason: two reports and a grace must fit
// in a lease, or a leader change expires the healthy; a lease must outlast a fenced disk; an order must not be called
// undeliverable before the silent addressee would be called expired.
func ValidateTimeouts(t *musterv1.Timeouts, graceNs int64) error {
	d := func(ns int64) time.Duration { return time.Duration(ns) }
	for _, ns := range []int64{t.ReportIntervalNs, t.LeaseNs, t.StartNs, t.EvictionNs, t.DeliveryNs, t.ProcTimeoutNs, graceNs} {
		if ns > maxTimeout { // first, or the sums below overflow
			return fmt.Errorf("timeout %v: at most %v", d(ns), d(maxTimeout))
		}
	}
	switch {
	case t.ReportIntervalNs <= 0:
		return fmt.Errorf("report interval %v: must be positive", d(t.ReportIntervalNs))
	case t.StartNs <= 0:
		return fmt.Errorf("start timeout %v: must be positive", d(t.StartNs))
	case t.EvictionNs <= 0 && t.EvictionNs != Never:
		return fmt.Errorf("eviction timeout %v: must be positive, or -1ns for never", d(t.EvictionNs))
	case t.ProcTimeoutNs <= 0:
		return fmt.Errorf("proc timeout %v: must be positive", d(t.ProcTimeoutNs))
	case graceNs < 0:
		return fmt.Errorf("grace %v: must not be negative", d(graceNs))
	case 2*t.ReportIntervalNs+graceNs > t.LeaseNs:
		return fmt.Errorf("report interval %v and lease %v collide: twice the interval plus the grace of %v must fit in the lease",
			d(t.ReportIntervalNs), d(t.LeaseNs), d(graceNs))
	case t.LeaseNs > t.DeliveryNs:
		return fmt.Errorf("lease %v and delivery timeout %v collide: the lease must not be longer", d(t.LeaseNs), d(t.DeliveryNs))
	case t.LeaseNs < int64(DiskFence+time.Second):
		return fmt.Errorf("lease %v is shorter than the disk fence of %v and a second", d(t.LeaseNs), DiskFence)
	}
	return nil
}

// maxTimeout keeps sums of clocks and timeouts far from overflow.
const maxTimeout = int64(10 * 365 * 24 * time.Hour)

// maxTable bounds the sizes of tables and rings.
const maxTable = 1 << 20

// ValidateSettings tells what is wrong with settings that an operator gave.
func ValidateSettings(s *musterv1.Settings) error {
	if s.GetTimeouts() == nil {
		return errors.New("settings without timeouts")
	}
	if err := ValidateTimeouts(s.GetTimeouts(), s.GetGraceNs()); err != nil {
		return err
	}
	t := s.Timeouts
	switch {
	case s.OrphanStop && (s.OrphanNs <= t.LeaseNs || t.EvictionNs != Never && s.OrphanNs > t.LeaseNs+t.EvictionNs):
		return fmt.Errorf("orphan timeout %v and lease %v collide: it must be longer than the lease and at most lease plus eviction timeout",
			time.Duration(s.OrphanNs), time.Duration(t.LeaseNs))
	case s.StopMarginNs < 0 || s.StopMarginNs > maxTimeout:
		return fmt.Errorf("stop margin %v: must be 0 to %v", time.Duration(s.StopMarginNs), time.Duration(maxTimeout))
	case s.RequestWindowNs <= 0 || s.RequestWindowNs > maxTimeout || s.RequestTableSize == 0 || s.RequestTableSize > maxTable:
		return fmt.Errorf("request window %v and table size %d: must be positive, the size at most %d", time.Duration(s.RequestWindowNs), s.RequestTableSize, maxTable)
	case s.RetentionNs < 0 || s.RetentionNs > maxTimeout:
		return fmt.Errorf("retention %v: must be 0 to %v", time.Duration(s.RetentionNs), time.Duration(maxTimeout))
	case s.BrakePercent == 0 || s.BrakePercent > 100:
		return fmt.Errorf("brake share %d %%: must be 1 to 100", s.BrakePercent)
	case s.Events == 0 || s.WorldEvents == 0 || s.Events > maxTable || s.WorldEvents > maxTable || s.EndedWorlds > maxTable:
		return fmt.Errorf("events %d, per world %d, and ended worlds %d: must be positive, and at most %d", s.Events, s.WorldEvents, s.EndedWorlds, maxTable)
	}
	return nil
}
