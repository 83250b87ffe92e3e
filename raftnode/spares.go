package raftnode

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// spareConnections are kept ready per peer: an election needs a few at once, and dialling then would cost its time.
	spareConnections = 3

	minRefillPause = 50 * time.Millisecond
	maxRefillPause = time.Second
)

// spares are connections to one peer, greeted and ready for Raft.
type spares struct {
	layer *peerLayer
	peer  Peer
	want  chan struct{} // capacity one: there may be fewer than there should be

	mu   sync.Mutex
	idle []*spare
}

// spare is one of them, watched by a goroutine that reads, so that one which the peer has closed is not handed out.
type spare struct {
	*peerConn
	ended chan error // capacity one: why the watching read returned
}

func newSpares(l *peerLayer, p Peer) *spares {
	return &spares{layer: l, peer: p, want: make(chan struct{}, 1)}
}

// take returns a live connection, or nil if none is ready.
func (s *spares) take() *peerConn {
	defer s.wake()
	for {
		s.mu.Lock()
		if len(s.idle) == 0 {
			s.mu.Unlock()
			return nil
		}
		last := len(s.idle) - 1
		c := s.idle[last]
		s.idle = s.idle[:last]
		s.mu.Unlock()

		_ = c.SetReadDeadline(time.Unix(1, 0)) // the watching read returns
		if timeout, ok := errors.AsType[net.Error](<-c.ended); ok && timeout.Timeout() {
			_ = c.SetReadDeadline(time.Time{})
			return c.peerConn
		}
		_ = c.Close()
	}
}

// fill keeps as many ready as there should be.
func (s *spares) fill() {
	for ctx := s.layer.ctx; ctx.Err() == nil; {
		pause := minRefillPause
		for s.missing() {
			if err := s.add(ctx); err == nil {
				continue
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			pause = min(2*pause, maxRefillPause)
		}
		select {
		case <-s.want:
		case <-ctx.Done():
		}
	}
}

func (s *spares) missing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.idle) < spareConnections
}

func (s *spares) add(ctx context.Context) error {
	c, err := s.layer.connect(ctx, s.peer.Address)
	if err != nil {
		return err
	}
	sp := &spare{c, make(chan error, 1)}
	s.mu.Lock()
	s.idle = append(s.idle, sp)
	s.mu.Unlock()
	s.layer.tasks.Go(func() { s.watch(sp) })
	return nil
}

var errSpoke = errors.New("the peer spoke before it was asked")

// watch reads until the peer closes the connection, or take wants it.
func (s *spares) watch(c *spare) {
	var b [1]byte
	_, err := c.Read(b[:])
	if err == nil {
		err = errSpoke
	}
	c.ended <- err
	s.mu.Lock()
	i := slices.Index(s.idle, c)
	if i >= 0 {
		s.idle = slices.Delete(s.idle, i, i+1)
	}
	s.mu.Unlock()
	if i >= 0 { // nobody took it: it is dead
		_ = c.Close()
		s.wake()
	}
}

func (s *spares) wake() {
	select {
	case s.want <- struct{}{}:
	default:
	}
}
