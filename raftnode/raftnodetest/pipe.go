package raftnodetest

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// bufferSize is what a connection holds in one direction before its writer waits.
const bufferSize = 64 << 10

// pipe is one direction of a connection: bytes in memory. (grpc's bufconn would do, were it not for its timers of no duration:
// with those Go 1.26's race detector crashes now and then inside a synctest bubble.)
type pipe struct {
	delay func() time.Duration // how long what is written now is under way

	mu      sync.Mutex
	data    []byte        // has arrived
	flight  [][]byte      // is under way; nil: that the writer has closed
	flying  int           // its bytes
	eof     bool          // the writer has closed
	broken  bool          // the reader has closed
	changed chan struct{} // closed and replaced by each change
}

func newPipe(delay func() time.Duration) *pipe {
	return &pipe{delay: delay, changed: make(chan struct{})}
}

// wake wakes all who wait. Called with mu held.
func (p *pipe) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// close ends the pipe from the writer's side, or breaks it from the reader's.
func (p *pipe) close(reader bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reader {
		p.broken = true
		p.wake()
	} else {
		p.send(nil)
	}
}

// send has something arrive after the delay, behind all that was sent before; nil: the end. Called with mu held.
func (p *pipe) send(b []byte) {
	p.flight, p.flying = append(p.flight, b), p.flying+len(b)
	if d := p.delay(); d > 0 {
		time.AfterFunc(d, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.arrive()
		})
		return
	}
	for len(p.flight) > 0 {
		p.arrive()
	}
}

// arrive lets the first of what is under way arrive. Called with mu held.
func (p *pipe) arrive() {
	if len(p.flight) == 0 {
		return
	}
	b := p.flight[0]
	p.flight, p.flying = p.flight[1:], p.flying-len(b)
	p.data = append(p.data, b...)
	p.eof = p.eof || b == nil
	p.wake()
}

func (p *pipe) read(b []byte, d *deadline) (int, error) {
	for {
		late := d.passed()
		var n int
		var err error
		p.mu.Lock()
		changed := p.changed
		switch {
		case p.broken:
			err = net.ErrClosed
		case isClosed(late):
			err = os.ErrDeadlineExceeded
		case len(p.data) > 0:
			n = copy(b, p.data)
			p.data = p.data[n:]
			p.wake()
		case p.eof:
			err = io.EOF
		}
		p.mu.Unlock()
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		select {
		case <-changed:
		case <-late:
		}
	}
}

func (p *pipe) write(b []byte, d *deadline) (written int, err error) {
	for {
		late := d.passed()
		p.mu.Lock()
		changed := p.changed
		switch {
		case p.eof:
			err = net.ErrClosed
		case p.broken:
			err = io.ErrClosedPipe
		case isClosed(late):
			err = os.ErrDeadlineExceeded
		default:
			n := min(len(b), bufferSize-len(p.data)-p.flying)
			if n > 0 {
				p.send(bytes.Clone(b[:n]))
			}
			b, written = b[n:], written+n
		}
		p.mu.Unlock()
		if err != nil || len(b) == 0 {
			return written, err
		}
		select {
		case <-changed:
		case <-late:
		}
	}
}

// deadline is a moment after which reads or writes fail.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	late  chan struct{} // closed when the moment has come
	era   int           // counts set, so that the timer of an old deadline does nothing
}

func newDeadline() *deadline { return &deadline{late: make(chan struct{})} }

// passed returns a channel that is closed when the deadline has passed.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.late
}

// set moves the deadline; the zero time is none. Whoever waits for the old one waits for the new one.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.era++
	if isClosed(d.late) {
		d.late = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	era := d.era
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.era == era {
				close(d.late)
			}
		})
		return
	}
	close(d.late)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
