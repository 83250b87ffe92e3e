package client

import (
	"context"
	"time"
)

// askTime is how long a server is given to say who leads.
const askTime = 100 * time.Millisecond

// restTime is what the others are given once one has answered: one that hangs must not hold up the next round.
const restTime = 30 * time.Millisecond

// ask asks all servers at once who leads, and follows the greatest. It gives the address of the greatest leader known if that one itself
// has said so just now. Calls that come while others are asking share their answer: however many lose a leader at once, each server is
// asked by one of them.
func (c *Client) ask(ctx context.Context) string {
	select {
	case answer := <-c.asks.DoChan("", func() (any, error) { return c.askAll(), nil }):
		return answer.Val.(string)
	case <-ctx.Done():
		return ""
	}
}

// askAll is one round. It ends with the first answer that names a greater leader than known before; the known one's own word that it leads
// does not end it, since others may know better.
func (c *Client) askAll() (leads string) {
	ctx, cancel := context.WithTimeout(c.ctx, askTime)
	defer cancel()
	addresses := c.servers.all()
	answers := make(chan leaderAnswer, len(addresses)) // room for all: nobody is left behind sending
	for _, address := range addresses {
		go func() { answers <- c.askLeader(ctx, address, 0) }()
	}
	var enough <-chan time.Time
	for range addresses {
		var answer leaderAnswer
		select {
		case answer = <-answers:
		case <-enough:
			return leads
		}
		if answer.answered && enough == nil {
			enough = time.After(restTime)
		}
		news := c.follow(answer.hint)
		if answer.hint.GetAddress() == answer.address && compareLeaders(answer.hint, c.leader.greatest()) == 0 {
			leads = answer.address
		}
		if news {
			return leads
		}
	}
	return leads
}

// lookElsewhere asks for another leader while a server keeps a call waiting, and cancels the call once there is one: a leader that hangs
// says nothing, and its successor is there long before the call would be given up.
func (c *Client) lookElsewhere(ctx context.Context, address string, cancel context.CancelFunc) {
	for began := time.Now(); ; {
		c.ask(ctx)
		if leader := c.leader.address(); leader != "" && leader != address {
			cancel()
			return
		}
		// A share of what the call has waited, so that it waits longer by that share at most.
		waited := firstHang + time.Since(began)
		if sleep(ctx, jitter(min(waited/4, longestHang))) != nil {
			return
		}
	}
}
