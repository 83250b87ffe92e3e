package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	diskInterval = 100 * time.Millisecond
	diskBlock    = 4 << 10
	// slowDisk is an fsync that says more of the machine than of a leader change.
	slowDisk = 50 * time.Millisecond
)

// disk measures how long a write of 4 KiB and its fsync take where the servers have their data. Safe for concurrent use.
type disk struct {
	mu      sync.Mutex
	samples []timed
	err     error
}

// timed is something that took from began until ended.
type timed struct{ began, ended time.Time }

func (t timed) took() time.Duration { return t.ended.Sub(t.began) }

// run measures until ctx ends.
func (d *disk) run(ctx context.Context, dir string) {
	if err := d.measure(ctx, filepath.Join(dir, "fsync")); err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.err = fmt.Errorf("measuring the disk: %w", err)
	}
}

func (d *disk) measure(ctx context.Context, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, diskBlock)
	tick := time.NewTicker(diskInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		began := time.Now()
		if _, err := f.WriteAt(block, 0); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		d.mu.Lock()
		d.samples = append(d.samples, timed{began, time.Now()})
		d.mu.Unlock()
	}
}

// took are all samples.
func (d *disk) took() []time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []time.Duration
	for _, s := range d.samples {
		out = append(out, s.took())
	}
	return out
}

// wasSlow tells whether an fsync during that time was slow.
func (d *disk) wasSlow(from, to time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.samples {
		if s.took() > slowDisk && s.ended.After(from) && s.began.Before(to) {
			return true
		}
	}
	return false
}
