package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"muster/deploy/fleet"
)

const (
	// soakWriters write at once, on so many clients.
	soakWriters, soakClients = 32, 4
	busyLoops                = 2
	soakProgress             = 30 * time.Second
)

// SoakConfig is of a load under which no leader may change.
type SoakConfig struct {
	// Muster is the server's binary.
	Muster string
	// Duration of the load.
	Duration time.Duration
	// Progress gets a line now and then; nil = nobody.
	Progress io.Writer
}

// Soaked is what happened under the load.
type Soaked struct {
	Elections     uint64 // terms that were begun
	Writes        int    // acknowledged
	FalseExpiries int
	Failed        int // requests
	FsyncP99      float64
	Errors        []string // the first few
}

// Soak has as many clients write as the machine bears, with two processes beside them that do nothing but compute, and counts elections.
func Soak(cfg SoakConfig) (soaked Soaked, err error) {
	err = fleet.Play(cfg.Muster, false, startLimit+cfg.Duration, func(ctx context.Context, f *fleet.Fleet) error {
		soaked, err = soak(ctx, f, cfg)
		return err
	})
	return soaked, err
}

func soak(ctx context.Context, f *fleet.Fleet, cfg SoakConfig) (Soaked, error) {
	if _, err := f.StartServers(ctx); err != nil {
		return Soaked{}, err
	}
	l, err := startLoad(ctx, f.Addresses(), f.Dir)
	if err != nil {
		return Soaked{}, errors.Join(err, l.end())
	}
	before := term(ctx, f)
	writers, err := l.writers(ctx)
	if err == nil {
		err = cfg.busy(ctx, f)
	}
	after := term(ctx, f)
	if err = errors.Join(err, l.end()); err != nil {
		return Soaked{}, err
	}
	soaked := Soaked{Elections: after - before, FalseExpiries: l.observer.falseExpiries, FsyncP99: spreadOf(l.disk.took()).P99}
	for _, w := range append(writers, l.writer) {
		soaked.Writes += len(w.acks)
		soaked.Failed += w.failed
		for _, err := range w.errs {
			if len(soaked.Errors) < maxErrors {
				soaked.Errors = append(soaked.Errors, err.Error())
			}
		}
	}
	return soaked, nil
}

// term is the greatest that any node has seen.
func term(ctx context.Context, f *fleet.Fleet) (greatest uint64) {
	_, nodes := f.Status(ctx)
	for _, n := range nodes {
		greatest = max(greatest, n.GetRaftTerm())
	}
	return greatest
}

// writers has many more write, until the load ends.
func (l *load) writers(ctx context.Context) (all []*writer, err error) {
	ctx, cancel := context.WithCancel(ctx)
	stop := l.stop
	l.stop = func() { cancel(); stop() }
	for i := range soakWriters {
		if i%(soakWriters/soakClients) == 0 {
			if _, err := l.client(); err != nil {
				return nil, err
			}
		}
		w := &writer{cluster: l.clients[len(l.clients)-1].Cluster(), name: fmt.Sprintf("load-%d", i)}
		all = append(all, w)
		l.running.Go(func() { w.run(ctx) })
	}
	return all, nil
}

// busy has processes compute beside the load, and waits for the time to pass.
func (cfg SoakConfig) busy(ctx context.Context, f *fleet.Fleet) error {
	for i := range busyLoops {
		loop, err := f.Start(fmt.Sprintf("busy-%d", i), exec.Command("sh", "-c", "while :; do :; done"))
		if err != nil {
			return err
		}
		defer func() { _ = loop.Kill() }() // all of them, at the end
	}
	for began := time.Now(); time.Since(began) < cfg.Duration; {
		if err := rest(ctx, min(soakProgress, cfg.Duration-time.Since(began))); err != nil {
			return err
		}
		leader, _ := f.Status(ctx)
		if cfg.Progress != nil && time.Since(began) < cfg.Duration {
			fmt.Fprintf(cfg.Progress, "soak: %v of %v, %s leads in term %d\n", time.Since(began).Round(time.Second), cfg.Duration, leader, term(ctx, f))
		}
	}
	return f.Failed()
}
