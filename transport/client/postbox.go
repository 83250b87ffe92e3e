package client

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	musterv1 "muster/proto/muster/v1"
)

const (
	// maxPosts and maxPostBytes bound what waits to be settled.
	maxPosts     = 1024
	maxPostBytes = 16 << 20
	// postsAtOnce are sent before the session looks at anything else.
	postsAtOnce = 8
	// An attempt that nothing is heard of, or that came too early, is made again after a growing pause.
	firstRetry, longestRetry = 50 * time.Millisecond, time.Second
	// receiptPatience is how long a receipt may take before another copy is sent.
	receiptPatience = 2 * time.Second
)

// postbox is what a member has posted and is not settled yet. To each addressee one post is under way at a time, which keeps their order
// whatever becomes of sessions and leaders.
type postbox struct {
	poke   func()
	stream uint64

	mu     sync.Mutex
	seq    uint64
	lanes  map[place]*lane
	bySeq  map[uint64]*Posted
	bytes  int
	ready  []*Posted // heads of lanes that are to be sent
	closed error
}

// lane is what goes to one addressee.
type lane struct {
	posts []*Posted // not settled, oldest first
	// What keeps the first, and so the others: the last that was heard.
	reason musterv1.Delivery
	why    string
}

// place is a worker, whoever holds its rank.
type place struct {
	world string
	rank  uint32
}

func placeOf(p *musterv1.ProcRef) place { return place{p.GetWorld(), p.GetRank()} }

func (p place) ref() *musterv1.ProcRef {
	return &musterv1.ProcRef{World: p.world, Role: musterv1.Role_ROLE_WORKER, Rank: p.rank}
}

func newPostbox(poke func()) *postbox {
	return &postbox{poke: poke, stream: max(rand.Uint64(), 1), lanes: map[place]*lane{}, bySeq: map[uint64]*Posted{}}
}

func (b *postbox) add(p *Posted, timeout time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed != nil:
		return fmt.Errorf("post to %s: the member has ended: %w", endpointText(p.to), b.closed)
	case len(b.bySeq) >= maxPosts || b.bytes+len(p.payload) > maxPostBytes:
		return fmt.Errorf("post to %s: %d posts of %d bytes wait already: wait for some of them", endpointText(p.to), len(b.bySeq), b.bytes)
	}
	b.seq++
	p.seq = b.seq
	p.limit = time.AfterFunc(timeout, func() { b.expire(p) })
	l := b.lane(p)
	if l == nil {
		l = &lane{reason: musterv1.Delivery_DELIVERY_UNANSWERED}
		b.lanes[placeOf(p.to.Proc)] = l
	}
	l.posts = append(l.posts, p)
	b.bySeq[p.seq] = p
	b.bytes += len(p.payload)
	b.offer(l)
	return nil
}

// lane is called with mu held, as are all that follow but for those that take it.
func (b *postbox) lane(p *Posted) *lane { return b.lanes[placeOf(p.to.Proc)] }

// offer has a lane's head sent.
func (b *postbox) offer(l *lane) {
	if len(l.posts) > 0 && l.posts[0].sends == 0 {
		b.enqueue(l.posts[0])
	}
}

func (b *postbox) enqueue(p *Posted) {
	if !p.ready {
		p.ready = true
		b.ready = append(b.ready, p)
	}
}

// begin has every head sent in a new session, in the order they were posted.
func (b *postbox) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lanes {
		b.enqueue(l.posts[0])
	}
	slices.SortFunc(b.ready, func(x, y *Posted) int { return cmp.Compare(x.seq, y.seq) })
}

// due takes some of what is to be sent, as messages of proc, and tells whether there is more.
func (b *postbox) due(proc *musterv1.ProcRef) (messages []*musterv1.Post, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.ready) > 0 && len(messages) < postsAtOnce {
		p := b.ready[0]
		b.ready = b.ready[1:]
		p.ready = false
		if p.settled {
			continue
		}
		p.sends++
		b.retry(p, receiptPatience)
		from := &musterv1.Endpoint{Proc: proc, Actor: p.from.GetActor(), Pid: p.from.GetPid()}
		messages = append(messages, &musterv1.Post{Stream: b.stream, Seq: p.seq, From: from, To: p.to, Payload: p.payload})
	}
	return messages, len(b.ready) > 0
}

// retry has p sent again after a pause, unless it is settled by then.
func (b *postbox) retry(p *Posted, pause time.Duration) {
	if p.again != nil {
		p.again.Stop()
	}
	p.again = time.AfterFunc(pause, func() {
		b.mu.Lock()
		if !p.settled {
			b.enqueue(p)
		}
		b.mu.Unlock()
		b.poke()
	})
}

// receipt takes what became of one copy.
func (b *postbox) receipt(r *musterv1.Receipt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.bySeq[r.GetSeq()]
	if r.GetStream() != b.stream || p == nil || p.sends == 0 || r.GetBy() != nil && placeOf(r.GetBy()) != placeOf(p.to.Proc) {
		return
	}
	p.answers++
	l := b.lane(p)
	l.reason, l.why = r.GetDelivery(), r.GetWhy()
	switch r.GetDelivery() {
	case musterv1.Delivery_DELIVERY_DELIVERED:
		l.reason = musterv1.Delivery_DELIVERY_UNANSWERED
		b.settle(p, nil)
	case musterv1.Delivery_DELIVERY_AWAY, musterv1.Delivery_DELIVERY_BUSY, musterv1.Delivery_DELIVERY_NOT_SENDER:
		b.retry(p, jitter(p.pause))
		p.pause = min(2*p.pause, longestRetry)
	default:
		b.settle(p, b.undeliverable(p))
		l.reason, l.why = musterv1.Delivery_DELIVERY_UNANSWERED, ""
	}
}

// expire brings a post back whose time is over.
func (b *postbox) expire(p *Posted) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !p.settled {
		b.settle(p, b.undeliverable(p))
	}
}

func (b *postbox) undeliverable(p *Posted) *Undeliverable {
	l := b.lane(p)
	return &Undeliverable{To: endpointText(p.to), Reason: l.reason, Why: l.why, MayHaveArrived: p.sends > p.answers}
}

// settle ends a post, and has the next to the same addressee sent.
func (b *postbox) settle(p *Posted, err error) {
	l := b.lane(p)
	l.posts = slices.DeleteFunc(l.posts, func(other *Posted) bool { return other == p })
	if len(l.posts) == 0 {
		delete(b.lanes, placeOf(p.to.Proc))
	}
	delete(b.bySeq, p.seq)
	b.bytes -= len(p.payload)
	p.limit.Stop()
	if p.again != nil {
		p.again.Stop()
	}
	p.settled, p.err = true, err
	close(p.done)
	b.offer(l)
	b.poke()
}

// close brings back everything: the member has ended.
func (b *postbox) close(why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = cmp.Or(why, errors.New("it has left"))
	for _, p := range b.bySeq {
		undeliverable := b.undeliverable(p)
		undeliverable.Why = "the sender has ended: " + b.closed.Error()
		b.settle(p, undeliverable)
	}
	b.ready = nil
}

// sayPosts sends what has been posted, last of all and not too much at once: whatever else there is to say goes first.
func (s *session) sayPosts() error {
	if !s.relays {
		return nil
	}
	messages, more := s.member.posts.due(s.member.Proc())
	for _, message := range messages {
		if err := s.send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Post{Post: message}}); err != nil {
			return err
		}
	}
	if more {
		s.member.poke()
	}
	return nil
}
