package client

import (
	"context"
	"sync"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
)

const (
	// How long one round of asking may take.
	findTimeout = 750 * time.Millisecond
	// What the last leader is given before the others are asked too.
	headStart = 30 * time.Millisecond
	// What the others are given once one server has answered: one that hangs must not hold up the next round.
	othersTime = 250 * time.Millisecond
	// What the others are given to contradict somebody who says that he leads.
	lastWord = 100 * time.Millisecond
)

// leaderAnswer is what one server said. hint is nil where it knows nothing, or could not be asked.
type leaderAnswer struct {
	address  string
	answered bool
	hint     *musterv1.LeaderHint
}

// findLeader asks the servers who leads. It gives the greatest (epoch, raft term) that was claimed and is not smaller than
// one seen before, and whether that leader itself said so; nil if nobody knows. The last leader is asked first, the others a
// little later; with everybody = true all at once, and one confirmation does not end the round. Its goroutines end with it.
func (c *Client) findLeader(ctx context.Context, everybody bool) (best *musterv1.LeaderHint, confirmed bool) {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()

	answers := make(chan leaderAnswer, 2*maxServers) // room for all: nobody is left behind sending
	asked := make(map[string]*musterv1.LeaderHint)
	waiting := 0
	ask := func(address string, after time.Duration) {
		if _, known := asked[address]; known || address == "" {
			return
		}
		asked[address] = nil
		waiting++
		asking.Go(func() { answers <- c.askLeader(ctx, address, after) })
	}
	last, others := c.leader.greatest().GetAddress(), time.Duration(0)
	if last != "" {
		ask(last, 0)
		others = jitter(headStart)
	}
	if everybody {
		others = 0
	}
	for _, address := range c.servers.all() {
		ask(address, others)
	}

	var enough <-chan time.Time
	settled := false
	for waiting > 0 {
		select {
		case <-ctx.Done():
			return best, confirmed
		case <-enough:
			return best, confirmed
		case answer := <-answers:
			waiting--
			if enough == nil && answer.answered {
				enough = time.After(othersTime)
			}
			asked[answer.address] = answer.hint
			c.follow(answer.hint)
			if compareLeaders(answer.hint, c.leader.greatest()) < 0 || answer.hint == nil {
				continue // an older leadership than one already seen
			}
			if best == nil || compareLeaders(answer.hint, best) > 0 {
				best = answer.hint
				ask(best.GetAddress(), 0)
			}
		}
		confirmed = best != nil && asked[best.GetAddress()] != nil && compareLeaders(asked[best.GetAddress()], best) == 0
		if !confirmed {
			continue
		}
		c.leader.trust(best.GetAddress())
		if !everybody {
			return best, true
		}
		if !settled {
			settled = true
			enough = time.After(lastWord)
		}
	}
	return best, confirmed
}

// found is what a shared round has found.
type found struct {
	leader    *musterv1.LeaderHint
	confirmed bool
}

// findTogether is findLeader of everybody. Members that lose their sessions at once share a round: a leader that is slow because
// there are many is not asked by each of them. The round goes on without a caller whose context ends, and ends with the client.
func (c *Client) findTogether(ctx context.Context) (best *musterv1.LeaderHint, confirmed bool) {
	round := c.finds.DoChan("", func() (any, error) {
		leader, confirmed := c.findLeader(c.ctx, true)
		return found{leader, confirmed}, nil
	})
	select {
	case answer := <-round:
		f := answer.Val.(found)
		return f.leader, f.confirmed
	case <-ctx.Done():
		return nil, false
	}
}

func (c *Client) askLeader(ctx context.Context, address string, after time.Duration) leaderAnswer {
	nothing := leaderAnswer{address: address}
	// No timer for no time: the race detector of Go 1.26 crashes on those in the virtual time of tests.
	if after > 0 {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nothing
		}
	}
	conn, err := c.servers.connect(ctx, address)
	if err != nil {
		return nothing
	}
	answer, err := musterv1grpc.NewClusterServiceClient(conn).FindLeader(ctx, &musterv1.FindLeaderRequest{})
	if err != nil {
		return nothing
	}
	return leaderAnswer{address: address, answered: true, hint: answer.GetLeader()}
}
