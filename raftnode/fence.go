package raftnode

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// A leader whose disk hangs would lead for ever: its heartbeats are sent beside the goroutine that waits for the disk, so nobody misses
// it, and nothing can be committed. The fence watches every write of log and votes. While one is late, or when one has failed, this
// node says nothing of its own: it sends no entries, asks for no vote and gives none, and its term is withdrawn, so that another leads.
// A write is never given up: it may reach the disk later, behind what was written after it. It ends with the process.

const (
	// DefaultDiskFence is how late a write may be before the node falls silent.
	DefaultDiskFence = 2 * time.Second
	// HangLimit is how late a write may be before the process has to end.
	HangLimit = 10 * time.Second
	// hangStep is between two looks at a late write. A pause of the process counts for two at most: its disk did not hang meanwhile.
	hangStep = 100 * time.Millisecond
	// probeInterval is between two writes that try a disk which refused one, and between two attempts of a write that must succeed.
	probeInterval = 500 * time.Millisecond
	// probation is how long the disk must have taken those before the node stands for election again.
	probation = 10 * time.Second
)

// errSilent is why nothing is sent.
var errSilent = errors.New("this node's disk hangs or refuses writes: it is silent")

// fence knows how the writes of one node fare. All its methods may be called concurrently; those that ask work on nil.
type fence struct {
	limit   time.Duration
	changed func()       // what closed or mayStand answer may have changed; must not block
	hung    func(string) // a write is later than HangLimit; called once
	probe   chan struct{}

	mu   sync.Mutex
	late map[*diskWrite]struct{}
	last error     // of the write that failed last; nil when the node has gone through its probation
	good time.Time // the first probe of an unbroken row behind it; zero: none yet
}

// diskWrite is one that is under way.
type diskWrite struct {
	what  string
	since time.Time
	back  chan struct{} // closed when it is back
}

func newFence(limit time.Duration, changed func(), hung func(string)) *fence {
	var once sync.Once
	return &fence{limit: limit, changed: changed, hung: func(what string) { once.Do(func() { hung(what) }) }, probe: make(chan struct{}, 1), late: map[*diskWrite]struct{}{}}
}

// write watches do, and returns what it does.
func (f *fence) write(what string, do func() error) error {
	if f == nil {
		return do()
	}
	w := &diskWrite{what: what, since: time.Now(), back: make(chan struct{})}
	late := time.AfterFunc(f.limit, func() { f.watch(w) })
	err := do()
	late.Stop()
	f.ended(w, err)
	return err
}

func (f *fence) ended(w *diskWrite, err error) {
	f.mu.Lock()
	close(w.back)
	_, news := f.late[w]
	delete(f.late, w)
	if err != nil {
		f.last, f.good, news = fmt.Errorf("%s: %w", w.what, err), time.Time{}, true
		signal(f.probe)
	}
	f.mu.Unlock()
	if news {
		f.changed()
	}
}

// watch closes the fence for a late write, and has the process ended if it does not come back.
func (f *fence) watch(w *diskWrite) {
	f.mu.Lock()
	select {
	case <-w.back:
		f.mu.Unlock()
		return
	default:
	}
	f.late[w] = struct{}{}
	f.mu.Unlock()
	f.changed()
	tick := time.NewTicker(hangStep)
	defer tick.Stop()
	for spent, looked := f.limit, time.Now(); spent < HangLimit; {
		select {
		case <-w.back:
			return
		case <-tick.C:
		}
		spent, looked = spent+min(time.Since(looked), 2*hangStep), time.Now()
	}
	f.hung(fmt.Sprintf("%s has not come back from the disk for %v", w.what, HangLimit))
}

// probed notes how a probe went; true when no more are needed.
func (f *fence) probed(began time.Time, err error) bool {
	f.mu.Lock()
	switch {
	case f.last == nil:
	case err != nil:
		f.last, f.good = fmt.Errorf("try the disk: %w", err), time.Time{}
	case time.Since(began) > f.limit:
		f.good = time.Time{}
	case f.good.IsZero():
		f.good = began
	case time.Since(f.good) >= probation:
		f.last, f.good = nil, time.Time{}
	}
	done := f.last == nil
	f.mu.Unlock()
	f.changed()
	return done
}

// closed tells whether the node must be silent: a write is late, or one has failed and none succeeded since.
func (f *fence) closed() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.late) > 0 || f.last != nil && f.good.IsZero()
}

// mayStand tells whether the node may stand for election and lead: it is not silent, nor on probation.
func (f *fence) mayStand() bool {
	if f == nil {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.late) == 0 && f.last == nil
}

// oldest is the late write that has waited longest; nil if none is late. Called with mu held.
func (f *fence) oldest() *diskWrite {
	var oldest *diskWrite
	for w := range f.late {
		if oldest == nil || w.since.Before(oldest.since) {
			oldest = w
		}
	}
	return oldest
}

// overdue is how long the oldest late write has been under way; 0 if none is late.
func (f *fence) overdue() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.oldest(); w != nil {
		return time.Since(w.since)
	}
	return 0
}

// problem says what is wrong with the disk, in words; "" if nothing is.
func (f *fence) problem() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := f.oldest()
	switch {
	case oldest != nil:
		return fmt.Sprintf("the disk hangs: %s has been under way for %v; the node neither leads nor votes until it comes back, and ends after %v",
			oldest.what, time.Since(oldest.since).Round(hangStep), HangLimit)
	case f.last != nil && f.good.IsZero():
		return fmt.Sprintf("the disk refuses writes: %v; the node neither leads nor votes until one succeeds: make room, or mend the disk", f.last)
	case f.last != nil:
		return fmt.Sprintf("the disk refused a write (%v) and takes them again since %v: the node does not stand for election before that is %v",
			f.last, time.Since(f.good).Round(hangStep), probation)
	}
	return ""
}

// tryDisk writes to a disk that refused a write until it has taken all writes for a while. It runs until the node stops.
func (n *Node) tryDisk() {
	for {
		select {
		case <-n.fence.probe:
		case <-n.ctx.Done():
			return
		}
		n.logger.Error("the disk refuses writes: this node is silent until it takes them", "problem", n.fence.problem())
		for done := false; !done && n.ctx.Err() == nil; {
			n.pause(probeInterval)
			began := time.Now()
			done = n.fence.probed(began, n.storage.probe())
		}
		n.logger.Info("the disk has taken writes for long enough: this node may lead again")
	}
}

// diskHangs is called when a write will not come back.
func (n *Node) diskHangs(what string) {
	n.logger.Error("the disk hangs", "what", what)
	if n.cfg.DiskHangs != nil {
		n.cfg.DiskHangs(what)
	}
}
