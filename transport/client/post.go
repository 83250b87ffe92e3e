package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// MaxPayload is how much one Post may carry, in bytes.
const MaxPayload = 64 << 10

// Post is a message to an actor, or to one port of an actor, of another proc. It is relayed by the leader, which keeps nothing of it:
// relaying is for finding each other and for what is rare and small; what is much goes to the address that Resolve tells.
type Post struct {
	// From is the actor that posts, as "name" or "name[pid]"; empty = the proc itself.
	From string
	// To is an actor, "world[rank].actor[pid]", or a port of it, "world[rank].actor[pid][port]". A pid of 0 may be left out of an actor's.
	To string
	// Incarnation of To's proc that is meant; 0 = whoever holds the rank.
	Incarnation uint64
	// Payload is at most MaxPayload bytes. Not to be changed before the post is settled.
	Payload []byte
}

// Posted is a post on its way, or what became of it. Safe for concurrent use.
type Posted struct {
	done chan struct{}
	err  error // set before done is closed

	// Guarded by the postbox.
	to, from *musterv1.Endpoint
	payload  []byte
	seq      uint64
	sends    int // copies sent
	answers  int // copies of which is known what became of them
	ready    bool
	settled  bool
	pause    time.Duration
	again    *time.Timer
	limit    *time.Timer
}

// Done is closed when it is known what became of the post: at the latest when the delivery timeout of the sender's world is over.
func (p *Posted) Done() <-chan struct{} { return p.done }

// Err is nil if the post was delivered, or nothing is known yet; else it is an *Undeliverable or says what was wrong with the post.
func (p *Posted) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Wait waits until the post is settled and returns Err, or ctx's error, with which the post goes on.
func (p *Posted) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("post to %s: not settled yet: %w", endpointText(p.to), outOfTime(ctx))
	}
}

// Undeliverable is a post that came back.
type Undeliverable struct {
	// To is where it was to go.
	To string
	// Reason says what kept it.
	Reason musterv1.Delivery
	// Why is the reason in words; may be empty.
	Why string
	// MayHaveArrived: a copy was sent of which nothing is known. Otherwise no handler has seen the post, and none will.
	MayHaveArrived bool
}

// Error says what kept the post.
func (u *Undeliverable) Error() string {
	text := u.Why
	if text == "" {
		text = undelivered[u.Reason]
	}
	text = fmt.Sprintf("post to %s: undeliverable: %s", u.To, text)
	if u.MayHaveArrived {
		text += "; it may have arrived all the same"
	}
	return text
}

var undelivered = map[musterv1.Delivery]string{
	musterv1.Delivery_DELIVERY_UNKNOWN_WORLD: "nobody knows its world",
	musterv1.Delivery_DELIVERY_UNKNOWN_PROC:  "its proc has not joined",
	musterv1.Delivery_DELIVERY_NOT_JOINED:    "its program has not joined",
	musterv1.Delivery_DELIVERY_ENDED:         "it has ended",
	musterv1.Delivery_DELIVERY_SUPERSEDED:    "another incarnation holds its rank",
	musterv1.Delivery_DELIVERY_NO_HANDLER:    "nothing there listens at that actor or port",
	musterv1.Delivery_DELIVERY_TOO_LARGE:     fmt.Sprintf("its payload is larger than %d bytes: post less, or go to its address", MaxPayload),
	musterv1.Delivery_DELIVERY_NOT_SENDER:    "the leader does not take the sender for what it says it is",
	musterv1.Delivery_DELIVERY_AWAY:          "it has no session with the leader",
	musterv1.Delivery_DELIVERY_BUSY:          "too much waits there",
	musterv1.Delivery_DELIVERY_UNANSWERED:    "nobody has answered in time",
}

// Post posts a message and returns at once. What one member posts to one proc arrives in the order of the calls, each at most once in the
// addressee's process, through changes of the leader and new sessions on either side. Posts that wait are bounded: beyond it one is
// settled at once with an error.
func (m *Member) Post(post Post) *Posted {
	p := &Posted{done: make(chan struct{}), payload: post.Payload, pause: firstRetry}
	err := p.address(m, post)
	if err == nil && len(post.Payload) > MaxPayload {
		err = &Undeliverable{To: post.To, Reason: musterv1.Delivery_DELIVERY_TOO_LARGE}
	}
	if err == nil {
		timeout := time.Duration(m.Timeouts().GetDeliveryNs())
		if timeout <= 0 {
			timeout = defaultDelivery
		}
		err = m.posts.add(p, timeout)
	}
	if err != nil {
		p.err = err
		close(p.done)
		return p
	}
	m.poke()
	return p
}

// defaultDelivery is for a member whose join was not told how long a message may take.
const defaultDelivery = 10 * time.Second

func (p *Posted) address(m *Member, post Post) (err error) {
	if m.host != nil {
		return errors.New("post: hosts have no actors: post as a worker, or detached")
	}
	p.from = &musterv1.Endpoint{}
	if post.From != "" {
		actor, err := id.ParseActorOf(m.procID(), post.From)
		if err != nil {
			return fmt.Errorf("post: from: %w", err)
		}
		p.from = endpointOf(actor)
	}
	ref, err := id.ParseRef(post.To)
	if err != nil {
		return fmt.Errorf("post: to: %w", err)
	}
	if p.to = endpointOf(ref); p.to == nil {
		return fmt.Errorf("post: to %s: write an actor, world[rank].actor[pid], or a port, world[rank].actor[pid][port]", post.To)
	}
	p.to.Proc.Incarnation = post.Incarnation
	return nil
}

func (m *Member) procID() id.ProcID { return procIDOf(m.Proc()) }

func procIDOf(p *musterv1.ProcRef) id.ProcID {
	return id.ProcID{World: id.WorldID(p.GetWorld()), Rank: p.GetRank()}
}

// endpointOf is nil for what is neither an actor nor a port.
func endpointOf(ref id.Ref) *musterv1.Endpoint {
	switch ref := ref.(type) {
	case id.ActorID:
		proc := &musterv1.ProcRef{World: string(ref.Proc.World), Role: musterv1.Role_ROLE_WORKER, Rank: ref.Proc.Rank}
		return &musterv1.Endpoint{Proc: proc, Actor: ref.Actor, Pid: ref.PID}
	case id.PortID:
		e := endpointOf(ref.Actor)
		e.Port = &ref.Port
		return e
	}
	return nil
}

// refOf is the identifier of an endpoint: of a proc where it names no actor.
func refOf(e *musterv1.Endpoint) id.Ref {
	proc := procIDOf(e.GetProc())
	actor := id.ActorID{Proc: proc, Actor: e.GetActor(), PID: e.GetPid()}
	switch {
	case e.GetActor() == "":
		return proc
	case e.Port != nil:
		return id.PortID{Actor: actor, Port: e.GetPort()}
	}
	return actor
}

func endpointText(e *musterv1.Endpoint) string { return refOf(e).String() }
