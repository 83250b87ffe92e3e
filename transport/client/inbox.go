package client

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

const (
	// maxInbox messages may wait for one handler; what comes beyond it is tried again by its sender.
	maxInbox = 256
	// maxSenders are remembered by what they posted last, each at least for senderMemory: longer than anybody tries to deliver a message.
	maxSenders   = 1 << 16
	senderMemory = time.Minute
)

// Message is what somebody has posted to a member.
type Message struct {
	// From is who posted: an ActorID, or a ProcID where the sender named no actor.
	From id.Ref
	// FromIncarnation is the sender's.
	FromIncarnation uint64
	// To is the ActorID or PortID that it was posted to.
	To id.Ref
	// Payload is the receiver's to keep and to change.
	Payload []byte

	member *Member
}

// Reply posts to the actor that posted m, and only to that incarnation, from the actor that m was posted to. It is an error where the
// sender named no actor.
func (m Message) Reply(payload []byte) *Posted {
	to := endpointOf(m.To)
	from := id.ActorID{Actor: to.GetActor(), PID: to.GetPid()}
	return m.member.Post(Post{
		From: actorText(from), To: m.From.String(), Incarnation: m.FromIncarnation, Payload: payload,
	})
}

// actorText is an actor as it is named within its proc.
func actorText(a id.ActorID) string { return fmt.Sprintf("%s[%d]", a.Actor, a.PID) }

// MessageHandler takes messages of one actor or port, one after the other, in the order in which each sender posted them. It is called on a
// goroutine of its own. ctx ends with the member, which waits for the handler to return. A message counts as delivered before it is called.
type MessageHandler func(ctx context.Context, m Message)

// inbox is who listens in a member.
type inbox struct {
	member *Member

	mu        sync.Mutex
	listeners map[listening]*listener
	closed    bool

	// What each sender's process posted last that was taken; the least recently heard are at the back.
	last    map[sender]*list.Element
	senders *list.List
}

// listening is an actor of this proc, or one port of it.
type listening struct {
	actor   string
	pid     uint64
	isPort  bool
	portNum uint64
}

type listener struct{ queue chan Message }

type sender struct {
	place
	stream uint64
}

type heard struct {
	sender
	seq uint64
	at  time.Time
}

func newInbox(m *Member) *inbox {
	return &inbox{member: m, listeners: map[listening]*listener{}, last: map[sender]*list.Element{}, senders: list.New()}
}

// Handle has f called with what is posted to an actor of this member, "name" or "name[pid]", or to one of its ports, "name[pid][port]".
// What is posted to a port that nobody handles goes to its actor's handler. Handlers that must not miss anything belong into
// MemberConfig.Actors. stop ends it: what has been delivered is still handled. The error says that the name is malformed or taken, or
// that the member has ended.
func (m *Member) Handle(name string, f MessageHandler) (stop func(), err error) {
	ref, err := id.ParsePartOf(m.procID(), name)
	if err != nil {
		return nil, fmt.Errorf("handle: %w", err)
	}
	return m.inbox.listen(listeningAt(endpointOf(ref)), f)
}

func listeningAt(e *musterv1.Endpoint) listening {
	return listening{e.GetActor(), e.GetPid(), e.Port != nil, e.GetPort()}
}

func (b *inbox) listen(at listening, f MessageHandler) (stop func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, fmt.Errorf("handle %s: the member has ended", at.actor)
	case b.listeners[at] != nil:
		return nil, fmt.Errorf("handle %s[%d]: it is handled already", at.actor, at.pid)
	}
	l := &listener{queue: make(chan Message, maxInbox)}
	b.listeners[at] = l
	b.member.handlers.Go(func() {
		for message := range l.queue {
			if b.member.ctx.Err() != nil {
				return
			}
			f(b.member.ctx, message)
		}
	})
	return func() { b.end(at, l) }, nil
}

func (b *inbox) end(at listening, l *listener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listeners[at] == l {
		delete(b.listeners, at)
		close(l.queue)
	}
}

func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for at, l := range b.listeners {
		delete(b.listeners, at)
		close(l.queue)
	}
}

// take gives a message to its handler, once, and says what became of it.
func (b *inbox) take(p *musterv1.Post) musterv1.Delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := sender{placeOf(p.GetFrom().GetProc()), p.GetStream()}
	before := b.last[from]
	if before != nil && p.GetSeq() <= before.Value.(*heard).seq {
		return musterv1.Delivery_DELIVERY_DELIVERED // a copy
	}
	l := b.listener(p.GetTo())
	switch {
	case l == nil:
		return musterv1.Delivery_DELIVERY_NO_HANDLER
	case len(l.queue) == cap(l.queue) || before == nil && !b.room():
		return musterv1.Delivery_DELIVERY_BUSY
	}
	b.remember(before, heard{from, p.GetSeq(), time.Now()})
	l.queue <- Message{
		From: refOf(p.GetFrom()), FromIncarnation: p.GetFrom().GetProc().GetIncarnation(), To: refOf(p.GetTo()),
		Payload: p.GetPayload(), member: b.member,
	}
	return musterv1.Delivery_DELIVERY_DELIVERED
}

func (b *inbox) listener(to *musterv1.Endpoint) *listener {
	at := listeningAt(to)
	if l := b.listeners[at]; l != nil || !at.isPort {
		return l
	}
	return b.listeners[listening{actor: at.actor, pid: at.pid}]
}

// room makes room to remember one more sender; false where all have to be remembered.
func (b *inbox) room() bool {
	if b.senders.Len() < maxSenders {
		return true
	}
	oldest := b.senders.Back()
	h := oldest.Value.(*heard)
	if time.Since(h.at) < senderMemory {
		return false
	}
	b.senders.Remove(oldest)
	delete(b.last, h.sender)
	return true
}

func (b *inbox) remember(before *list.Element, h heard) {
	if before == nil {
		b.last[h.sender] = b.senders.PushFront(&h)
		return
	}
	before.Value = &h
	b.senders.MoveToFront(before)
}

// posted takes a message that came here.
func (s *session) posted(p *musterv1.Post) error {
	m := s.member
	me := m.Proc()
	if placeOf(p.GetTo().GetProc()) != placeOf(me) || me.GetRole() == musterv1.Role_ROLE_HOST {
		return nil
	}
	return s.send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Receipt{Receipt: &musterv1.Receipt{
		From: p.GetFrom().GetProc(), Stream: p.GetStream(), Seq: p.GetSeq(), By: me, Delivery: m.inbox.take(p),
	}}})
}
