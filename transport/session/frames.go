package session

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"

	musterv1 "muster/proto/muster/v1"
)

const (
	// frameInterval is the longest that a connection with streams shows nothing.
	frameInterval = 250 * time.Millisecond
	// returnCost is the share of the next leader's time that the return of one session is given: about what it takes of two processors
	// that its client and all three nodes have together, so that a crowd that comes back keeps neither Raft waiting nor those who are back.
	// Ten thousand come back within one and a half seconds. (Measured by muster bench failover --sessions.)
	returnCost = 150 * time.Microsecond
)

// frame is what a connection says that has nothing to say, where so many streams are open.
func frame(streams int) *musterv1.SessionResponse {
	return &musterv1.SessionResponse{ReturnWithinMs: uint32((time.Duration(streams) * returnCost).Milliseconds())}
}

// connection is what the streams of one client come over, one per member. All of them are heard where one of them is, so they take
// turns to show that the leader is there: with a frame per stream those of ten thousand members took a processor. Safe for concurrent use.
type connection struct {
	began time.Time
	said  atomic.Int64 // when a stream wrote last: nanoseconds since began

	mu      sync.Mutex
	streams []*stream
	turn    int
	due     *time.Timer
}

// connectionOf is a key for the connection that a stream came over: its remote end, of which mux makes one value for each.
func connectionOf(s *stream) any {
	if s.grpc != nil {
		if p, ok := peer.FromContext(s.grpc.Context()); ok && p.Addr != nil {
			return p.Addr
		}
	}
	return s
}

// add begins to show the leader on a stream, too.
func (c *connection) add(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams = append(c.streams, s); c.due == nil {
		c.began = time.Now()
		c.due = time.AfterFunc(frameInterval, c.show)
	}
}

// remove ends that. It tells whether no stream is left: then the connection is to be forgotten.
func (c *connection) remove(s *stream) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, other := range c.streams {
		if other == s {
			c.streams[i] = c.streams[len(c.streams)-1]
			c.streams = c.streams[:len(c.streams)-1]
			break
		}
	}
	if len(c.streams) > 0 {
		return false
	}
	c.due.Stop()
	return true
}

// wrote notes that a stream has written.
func (c *connection) wrote() { c.said.Store(int64(time.Since(c.began))) }

// show has the stream whose turn it is write a frame, unless one of them has written since.
func (c *connection) show() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) == 0 {
		return
	}
	left := frameInterval - (time.Since(c.began) - time.Duration(c.said.Load()))
	if left <= 0 {
		c.turn++
		c.streams[c.turn%len(c.streams)].out.frame()
		left = frameInterval
	}
	c.due.Reset(left)
}
