package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

const (
	// termStartPatience is how long a leader may fail to commit its TermStart before it gives leadership away.
	termStartPatience = 5 * time.Second

	minLeadPause = 250 * time.Millisecond
	maxLeadPause = time.Second
)

// resigned is a term whose holder wants leadership given away.
type resigned struct {
	term   *Term
	reason string
}

// leadership is what the run goroutine knows of this node's leadership.
type leadership struct {
	n       *Node
	r       *engine
	term    *Term              // nil: none is published
	attempt <-chan termStarted // the TermStart that is under way; nil: none
	retry   <-chan time.Time   // when to look again
	leaving string             // why leadership is given away at the next look; empty: it is not
	pause   time.Duration      // before it is given away: none at first, then longer, lest nodes that all fail play ball with it
}

// termStarted is what became of a TermStart.
type termStarted struct {
	number uint64
	err    error
}

// lead follows Raft's word on leadership until the node stops or Raft must be started anew. It uses LeaderCh alone: that channel holds the latest change
// and never blocks Raft; true behind true means lost and won again.
func (n *Node) lead() {
	l := &leadership{n: n, r: n.raft.Load()}
	defer l.withdraw(ErrNotServing)
	for {
		if hook := n.cfg.beforeLook; hook != nil {
			hook(l.term)
		}
		select {
		case leads := <-l.r.LeaderCh():
			l.withdraw(ErrNotLeader)
			l.attempt, l.retry, l.leaving = nil, nil, ""
			if leads {
				n.elections.Add(1)
				l.propose()
			}
		case res := <-l.attempt:
			l.attempt = nil
			l.started(res)
		case <-n.fenced:
			l.fence()
		case <-l.retry:
			l.retry = nil
			if l.r.State() == raft.Leader {
				l.again()
			}
		case t := <-n.renewals:
			if t == l.term {
				l.withdraw(ErrNotLeader)
				l.propose()
			}
		case res := <-n.resigned:
			if res.term == l.term {
				l.withdraw(ErrNotLeader)
				if l.r.State() == raft.Leader {
					l.resign(res.reason)
				}
			}
		case <-n.parked:
			l.withdraw(ErrNotServing)
			if l.r.State() == raft.Leader {
				l.resign("the node has parked")
			}
		case <-n.stale:
			return
		case <-n.ctx.Done():
			return
		}
	}
}

// withdraw ends the published term and waits until nothing of it can reach the log any more.
func (l *leadership) withdraw(why error) {
	if l.term == nil {
		return
	}
	if l.term.begun() {
		l.pause = 0
	}
	l.n.current.CompareAndSwap(l.term, nil)
	l.term.end(why)
	l.term.join()
	l.term = nil
}

// fence withdraws the term while the disk is at fault, and goes on afterwards if this node still leads.
func (l *leadership) fence() {
	switch {
	case !l.n.fence.mayStand():
		l.withdraw(ErrNotServing)
		l.n.strand("its disk hangs or refuses writes")
	case l.term == nil && l.attempt == nil && l.r.State() == raft.Leader:
		l.propose()
	}
}

// propose proposes a TermStart.
func (l *leadership) propose() {
	l.retry = nil
	if l.n.applier.problem() != "" {
		l.resign("the node has parked")
		return
	}
	if !l.n.fence.mayStand() {
		return // fence goes on when it may
	}
	data, err := l.n.termStart()
	if err != nil {
		l.resign(err.Error())
		return
	}
	res := make(chan termStarted, 1)
	l.attempt = res
	l.retry = time.After(termStartPatience)
	l.n.spawn(func() {
		future := l.r.Apply(data, enqueueTimeout)
		outcomes, err := outcomesOf(future)
		if err == nil {
			if refusal := outcomes[0].GetRefusal(); refusal != nil {
				err = fmt.Errorf("TermStart was refused: %s", refusal.GetMessage())
			}
		}
		if err != nil {
			res <- termStarted{err: err}
			return
		}
		res <- termStarted{number: future.Response().(*applied).term}
	})
}

// termStart encodes the first entry of a term.
func (n *Node) termStart() ([]byte, error) {
	id := n.storage.who()
	start := n.cfg.TermStart()
	start.ServerId, start.ClusterId, start.Voters = id.ServerID, id.ClusterID, nil
	for _, s := range n.servers() {
		if s.Voter {
			start.Voters = append(start.Voters, s.ID)
		}
	}
	slices.Sort(start.Voters)
	data, err := proto.Marshal(&musterv1.Entry{Format: entryFormat, Commands: []*musterv1.Command{
		{Body: &musterv1.Command_TermStart{TermStart: start}},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode TermStart: %w", err)
	}
	return data, nil
}

// started publishes the term, or gives leadership away.
func (l *leadership) started(res termStarted) {
	l.retry = nil
	switch {
	case !l.n.fence.mayStand(): // fence goes on when it may
	case res.err == nil:
		l.term = newTerm(l.n, res.number)
		l.n.current.Store(l.term)
		l.n.publish(l.term)
	case errors.Is(res.err, raft.ErrLeadershipLost), errors.Is(res.err, ErrNotLeader):
		// LeaderCh says so too, and says when it is this node's turn again.
		l.retry = time.After(minLeadPause)
	default:
		l.resign(res.err.Error())
	}
}

// again goes on when a TermStart has failed, or has not come back in time.
func (l *leadership) again() {
	switch {
	case !l.n.fence.mayStand():
		l.retry = time.After(minLeadPause) // Raft waits for the disk as well
	case l.leaving != "":
		l.giveAway()
	case l.attempt != nil:
		l.resign("TermStart is not committed")
	default:
		l.propose()
	}
}

// resign has leadership given away, at once the first time.
func (l *leadership) resign(reason string) {
	l.leaving = reason
	if l.pause == 0 {
		l.pause = minLeadPause
		l.giveAway()
		return
	}
	l.retry = time.After(l.pause)
	l.pause = min(2*l.pause, maxLeadPause)
}

// giveAway tells another node to stand. If nobody takes it this node tries again.
func (l *leadership) giveAway() {
	l.n.logger.Warn("giving leadership away", "reason", l.leaving)
	l.leaving = ""
	l.retry = time.After(l.pause)
	if len(l.n.servers()) > 1 {
		l.n.spawn(func() {
			if err := l.r.LeadershipTransfer().Error(); err != nil {
				l.n.logger.Warn("nobody takes leadership", "error", err)
			}
		})
	}
}

// publish puts a term into the channel, in place of an older one that nobody took.
func (n *Node) publish(t *Term) {
	select {
	case <-n.terms:
	default:
	}
	n.terms <- t // the run goroutine is the only sender
}

// renewal asks for another term in place of t.
func (n *Node) renewal(t *Term) {
	select {
	case <-n.renewals: // of an older term
	default:
	}
	select {
	case n.renewals <- t:
	default:
	}
}

// resignation asks for leadership to be given away because of t.
func (n *Node) resignation(t *Term, reason string) {
	select {
	case <-n.resigned: // of an older term
	default:
	}
	select {
	case n.resigned <- resigned{t, reason}:
	default:
	}
}

// TransferLeadership hands leadership to the follower that is furthest: nothing new is taken, what is in flight lands, another
// node is told to stand. When it fails, or ctx ends first, this node goes on leading. ErrNotLeader if it does not lead.
func (n *Node) TransferLeadership(ctx context.Context) error { return n.TransferLeadershipTo(ctx, "") }

// TransferLeadershipTo is TransferLeadership to the voter of a name; any for "".
func (n *Node) TransferLeadershipTo(ctx context.Context, name string) error {
	r := n.raft.Load()
	if r == nil || r.State() != raft.Leader {
		return ErrNotLeader
	}
	transfer, err := n.transferTo(r, name)
	if err != nil {
		return err
	}
	t := n.current.Load()
	if t == nil { // its TermStart is under way: nothing else is
		return n.await(ctx, transfer)
	}
	quiet, err := t.pause()
	if err != nil {
		return fmt.Errorf("transfer leadership: %w", err)
	}
	err = wait(ctx, quiet)
	if err == nil {
		err = n.await(ctx, transfer)
	}
	if err == nil {
		err = wait(ctx, t.ctx.Done())
	}
	if err != nil {
		t.resume()
		return fmt.Errorf("transfer leadership: %w", err)
	}
	return nil
}

// transferTo is Raft's part of a transfer.
func (n *Node) transferTo(r *engine, name string) (func() error, error) {
	if name == "" {
		return func() error { return r.LeadershipTransfer().Error() }, nil
	}
	for _, s := range n.servers() {
		if s.Name == name && s.Voter {
			return func() error {
				return r.LeadershipTransferToServer(raft.ServerID(s.ID), raft.ServerAddress(s.Address)).Error()
			}, nil
		}
	}
	return nil, fmt.Errorf("transfer leadership: node %q has no vote", name)
}

// await runs a call into Raft that may never return.
func (n *Node) await(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	if !n.spawn(func() { done <- f() }) {
		return ErrNotServing
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
