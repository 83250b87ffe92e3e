package session

import (
	"context"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	musterv1 "muster/proto/muster/v1"
	"muster/system"
)

// System is what streams need of the leader.
type System interface {
	Attach(acked func(seq uint64), verdicts func([]*musterv1.Verdict)) (*system.Session, error)
}

// Hub finds the stream that speaks for a member. Safe for concurrent use.
type Hub struct {
	sys    System
	leader func() *musterv1.LeaderHint
	node   string
	log    hclog.Logger

	relayed share

	mu          sync.Mutex
	streams     map[*stream]struct{}
	connections map[any]*connection // by connectionOf
	speakers    map[member]*stream
	closed      bool
	drained     sync.WaitGroup
}

// member is a place and the incarnation that holds it.
type member struct {
	world       string
	role        musterv1.Role
	rank        uint32
	incarnation uint64
}

func memberOf(p *musterv1.ProcRef) member {
	role := p.GetRole()
	if role == musterv1.Role_ROLE_UNSPECIFIED {
		role = musterv1.Role_ROLE_WORKER
	}
	return member{p.GetWorld(), role, p.GetRank(), p.GetIncarnation()}
}

func (m member) hello() *musterv1.HelloMember {
	return &musterv1.HelloMember{Proc: &musterv1.ProcRef{World: m.world, Role: m.role, Rank: m.rank, Incarnation: m.incarnation}}
}

// NewHub returns a Hub of a node's name without streams. leader says who leads, as far as this node knows; nil if it does not.
func NewHub(node string, leader func() *musterv1.LeaderHint, log hclog.Logger) *Hub {
	return &Hub{
		node: node, leader: leader, log: log,
		streams: map[*stream]struct{}{}, connections: map[any]*connection{}, speakers: map[member]*stream{},
	}
}

// Bind gives the Hub the System that streams speak to. Call it before the first stream is served.
func (h *Hub) Bind(sys System) { h.sys = sys }

// Deliver hands an order to the stream that speaks for its proc.
func (h *Hub) Deliver(o *musterv1.Order) {
	if s := h.speaker(o.Proc); s != nil {
		s.out.order(o)
	}
}

// Tell hands a verdict to the stream that speaks for its proc.
func (h *Hub) Tell(v *musterv1.Verdict) {
	if s := h.speaker(v.Proc); s != nil {
		s.out.tell([]*musterv1.Verdict{v})
	}
}

// Attached tells whether a stream speaks for that incarnation.
func (h *Hub) Attached(p *musterv1.ProcRef) bool { return h.speaker(p) != nil }

// Open is how many streams there are.
func (h *Hub) Open() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams)
}

// Close ends all streams with a redirect and waits for them, until ctx ends; later ones are refused.
func (h *Hub) Close(ctx context.Context) {
	h.mu.Lock()
	h.closed = true
	for s := range h.streams {
		s.end()
	}
	h.mu.Unlock()
	drained := make(chan struct{})
	go func() {
		h.drained.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-ctx.Done():
	}
}

func (h *Hub) speaker(p *musterv1.ProcRef) *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.speakers[memberOf(p)]
}

// enter counts a stream in; false once the Hub is closed.
func (h *Hub) enter(s *stream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.streams[s] = struct{}{}
	key := connectionOf(s)
	if s.over = h.connections[key]; s.over == nil {
		s.over = &connection{}
		h.connections[key] = s.over
	}
	s.over.add(s)
	h.drained.Add(1)
	return true
}

// speakFor makes s the stream of members, and of no others. Nothing of their message is kept, which is five times as large as what is.
func (h *Hub) speakFor(s *stream, members []*musterv1.HelloMember) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, open := h.streams[s]; !open {
		return // it ended while its hello was applied
	}
	h.forget(s)
	s.members = make([]member, len(members))
	world := ""
	for i, hello := range members {
		m := memberOf(hello.Proc)
		if m.world != world {
			world = strings.Clone(m.world) // the same text for all of one world, who come one after the other
		}
		m.world = world
		s.members[i] = m
		h.speakers[m] = s
	}
}

// forget takes s's members from it, where no later stream has. Called with mu held.
func (h *Hub) forget(s *stream) {
	for _, m := range s.members {
		if h.speakers[m] == s {
			delete(h.speakers, m)
		}
	}
}

// leave counts a stream out. It returns the members for whom nobody speaks any more.
func (h *Hub) leave(s *stream) (silent []*musterv1.HelloMember) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(s)
	for _, m := range s.members {
		if h.speakers[m] == nil {
			silent = append(silent, m.hello())
		}
	}
	delete(h.streams, s)
	if s.over.remove(s) {
		delete(h.connections, connectionOf(s))
	}
	h.drained.Done()
	return silent
}
