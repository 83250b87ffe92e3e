package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// HostHandler runs the ranks that a host is given. Port, Spawn, StopRank and Kill are called one after the other, in the order in which
// the cluster ordered them, on a goroutine of their own: the host goes on reporting while one takes its time. Stop is called on another.
type HostHandler interface {
	// Port chooses the port that rank 0 of a world listens at for its peers. It is asked by the host of rank 0 when the world does not
	// say, before Spawn, and answers the same port for every rank of one world and generation. An error becomes the failure of the rank.
	Port(order *musterv1.SpawnOrder) (uint32, error)
	// Spawn runs the rank's program. What ran of that rank before has ended. It is called once per rank and order; rank.Started
	// and rank.Exited, once each, or rank.Exited alone, tell what came of it.
	Spawn(rank *Rank)
	// StopRank asks the program to end, and ends it when timeout has passed. It may come more than once: the shorter time counts.
	// rank.Exited tells when it has.
	StopRank(rank *Rank, timeout time.Duration, reason string)
	// Kill ends the program at once, as it must not run any more. It may come more than once. rank.Exited tells when it has ended.
	Kill(rank *Rank, reason string)
	// Stop ends what is left of the world, every program, and answers when all have ended. ctx ends with the time they are given.
	Stop(ctx context.Context, order *musterv1.StopOrder) StopOutcome
}

// hosting is what a host membership runs, and what it has still to do. Its loop is the only caller of the handler.
type hosting struct {
	handler HostHandler
	member  *Member
	wake    chan struct{} // one place: "there is something to do"

	mu       sync.Mutex
	runs     map[uint64]*Rank // accepted, and not acknowledged to have ended, by spawn order
	tasks    []task
	queued   uint64 // the highest order that is or was in tasks
	port     uint32 // chosen for the world
	joining  map[uint64]bool
	told     chan struct{} // closed and made anew whenever an exit has been acknowledged
	accepted func(order uint64)
}

type taskKind int

const (
	taskOrder taskKind = iota // obey an order
	taskSpawn                 // run what had to wait
	taskEnd                   // end what another run takes the place of
	taskKill                  // end what must not run
)

type task struct {
	kind   taskKind
	order  *musterv1.Order
	rank   *Rank
	reason string
}

func newHosting(m *Member, handler HostHandler) *hosting {
	return &hosting{
		handler: handler, member: m, wake: make(chan struct{}, 1), runs: map[uint64]*Rank{}, joining: map[uint64]bool{},
		told:     make(chan struct{}),
		accepted: func(order uint64) { m.accept(order) },
	}
}

func (h *hosting) poke() { h.member.poke() }

// push is called with mu held.
func (h *hosting) push(t task) {
	h.tasks = append(h.tasks, t)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// take queues an order that is not done or queued already.
func (h *hosting) take(o *musterv1.Order) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o.GetId() <= h.queued {
		return
	}
	h.queued = o.GetId()
	h.push(task{kind: taskOrder, order: o})
}

// loop does one task after the other until the membership ends.
func (h *hosting) loop(ctx context.Context) {
	for {
		h.mu.Lock()
		var next *task
		if len(h.tasks) > 0 {
			next = &h.tasks[0]
			h.tasks = h.tasks[1:]
		}
		h.mu.Unlock()
		if next != nil && ctx.Err() == nil {
			h.do(*next)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		}
	}
}

func (h *hosting) do(t task) {
	switch t.kind {
	case taskSpawn:
		h.spawn(t.rank)
	case taskEnd:
		h.end(t.rank, time.Duration(t.rank.Order.GetProcTimeoutNs()), t.reason)
	case taskKill:
		h.handler.Kill(t.rank, t.reason)
	default:
		switch what := t.order.GetWhat().(type) {
		case *musterv1.Order_Spawn:
			h.accept(t.order.GetId(), what.Spawn)
		case *musterv1.Order_StopRank:
			h.accepted(t.order.GetId())
			h.stopRank(what.StopRank)
		case *musterv1.Order_Stop:
			h.accepted(t.order.GetId())
			h.member.beginStop(what.Stop)
		default:
			h.accepted(t.order.GetId())
			h.member.client.logger.Warn("an order that this version does not know is left alone", "order", t.order.GetId())
		}
	}
}

// accept takes a spawn order: from then on the rank is held, whatever comes of it.
func (h *hosting) accept(number uint64, order *musterv1.SpawnOrder) {
	r := &Rank{Number: number, Order: order, host: h}
	var failed error
	if order.GetExec() != nil && order.GetMasterPort() == 0 {
		var port uint32
		if port, failed = h.handler.Port(order); failed == nil {
			order.MasterPort = port // the order is this process's own copy
			h.mu.Lock()
			h.port = port
			h.mu.Unlock()
		}
	}
	h.mu.Lock()
	h.runs[number] = r
	older := h.before(r)
	h.mu.Unlock()
	h.accepted(number)
	if failed != nil {
		r.Exited(&musterv1.Exit{Code: couldNotStart, Failure: failed.Error()})
		return
	}
	for _, one := range older {
		h.end(one, time.Duration(order.GetProcTimeoutNs()), startedAgain)
	}
	h.spawn(r)
}

const startedAgain = "it is started again"

// couldNotStart is the exit code of what was never run, as shells have it.
const couldNotStart = 127

// spawn begins a run, unless it has begun, has ended, or has another to wait for: whose end brings it back here.
func (h *hosting) spawn(r *Rank) {
	h.mu.Lock()
	ready := r.exit == nil && !r.spawned && len(h.before(r)) == 0
	r.spawned = r.spawned || ready
	h.mu.Unlock()
	if ready {
		h.handler.Spawn(r)
	}
}

func (h *hosting) stopRank(order *musterv1.StopRankOrder) {
	h.mu.Lock()
	r := h.runs[order.GetSpawnedBy()]
	h.mu.Unlock()
	if r != nil {
		h.end(r, time.Duration(order.GetProcTimeoutNs()), order.GetReason())
	}
}

// end ends a run, which may not have begun.
func (h *hosting) end(r *Rank, timeout time.Duration, reason string) {
	h.mu.Lock()
	begun, over := r.spawned, r.exit != nil
	r.ending = r.ending || begun
	h.mu.Unlock()
	switch {
	case over:
	case begun:
		h.handler.StopRank(r, timeout, reason)
	default:
		r.Exited(notBegun())
	}
}

func notBegun() *musterv1.Exit {
	return &musterv1.Exit{Signal: 15, Failure: "it was asked to end before it was started"}
}

// judged takes what the cluster says of a rank that is held here.
func (h *hosting) judged(v *musterv1.Verdict) {
	h.mu.Lock()
	r := h.runs[v.GetHeldOrder()]
	begun, over := r != nil && r.spawned, r == nil || r.exit != nil
	if v.GetKind() == musterv1.Verdict_KIND_EXPIRED {
		again := !over && !h.joining[v.GetHeldOrder()]
		if again {
			h.joining[v.GetHeldOrder()] = true
		}
		h.mu.Unlock()
		if again {
			h.member.handlers.Go(func() { h.joinAgain(r) })
		}
		return
	}
	switch superseded := v.GetKind() == musterv1.Verdict_KIND_SUPERSEDED; {
	case over || !begun:
	case superseded && !r.ending: // by another run on this host, whose order may still be on its way
		h.push(task{kind: taskEnd, rank: r, reason: startedAgain})
	case !superseded:
		h.push(task{kind: taskKill, rank: r, reason: fmt.Sprintf("the cluster says %v", v.GetKind())})
	}
	h.mu.Unlock()
	if !over && !begun {
		r.Exited(notBegun())
	}
}

// joinAgain gives a rank that was silent for too long another incarnation. Its program notices nothing. Where that fails the next report
// brings the next verdict.
func (h *hosting) joinAgain(r *Rank) {
	m := h.member
	ctx, cancel := context.WithTimeout(m.ctx, rejoinTimeout)
	defer cancel()
	p := r.Order.GetProc()
	_, err := m.client.join(ctx, verb{op: "join a rank again"}, &musterv1.JoinRequest{
		World: p.GetWorld(), Role: musterv1.Role_ROLE_WORKER, Rank: p.GetRank(), HeldOrder: r.Number,
		Key: m.cfg.Key, Machine: m.cfg.Machine, Address: m.cfg.Address,
	})
	if err != nil && m.ctx.Err() == nil {
		m.client.logger.Warn("a rank could not join again yet", "world", p.GetWorld(), "rank", p.GetRank(), "error", err)
	}
	h.mu.Lock()
	delete(h.joining, r.Number)
	h.mu.Unlock()
}

const rejoinTimeout = 10 * time.Second
