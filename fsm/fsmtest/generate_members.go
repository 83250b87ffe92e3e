package fsmtest

import (
	"fmt"

	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// memberCommand draws what members say, and what a leader says of them.
func (g *Generator) memberCommand() *musterv1.Command {
	switch n := g.rng.IntN(100); {
	case n < 32:
		return &musterv1.Command{Body: &musterv1.Command_Join{Join: g.join()}}
	case n < 38:
		return &musterv1.Command{Body: &musterv1.Command_Leave{Leave: &musterv1.LeaveRequest{Proc: g.ref(), Issued: g.issued()}}}
	case n < 46:
		return &musterv1.Command{Body: &musterv1.Command_StopResult{StopResult: g.stopResult()}}
	case n < 66:
		return &musterv1.Command{Body: &musterv1.Command_Report{Report: g.report()}}
	case n < 71:
		return &musterv1.Command{Body: &musterv1.Command_Hello{Hello: g.hello()}}
	case n < 76:
		return &musterv1.Command{Body: &musterv1.Command_Confirm{Confirm: &musterv1.Confirm{Proc: g.ref(), HighestOrder: g.issued()}}}
	case n < 98:
		return g.observation()
	}
	return &musterv1.Command{Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}}
}

func (g *Generator) join() *musterv1.JoinRequest {
	j := &musterv1.JoinRequest{
		World: g.world(), Rank: g.rng.Uint32N(5), Key: fmt.Sprint("k", g.rng.IntN(2)), Machine: "m", Address: "tcp:h:1",
		Nonce: g.bytes(), Issued: g.issued(), TakeOver: g.rng.IntN(6) == 0, HolderGone: g.ref().Incarnation,
		Labels: []*musterv1.Label{{Key: "zone", Value: fmt.Sprint(g.rng.IntN(2))}},
	}
	switch {
	case g.ends():
		j.Mode = musterv1.Mode_MODE_MANAGING_SYSTEM // its death ends the execution
	case g.rng.IntN(20) == 0:
		j.Mode = musterv1.Mode_MODE_DETACHED
	case g.rng.IntN(60) == 0:
		j.Rank += id.MaxProcs
	}
	return j
}

// ends is true now and then, for what ends the execution.
func (g *Generator) ends() bool { return g.rng.IntN(1000) < g.ending }

func (g *Generator) stopResult() *musterv1.StopResult {
	r := &musterv1.StopResult{Proc: g.ref(), Operation: g.issued(), ActorsStopped: 1}
	if orders := g.State.Orders(r.Proc); len(orders) > 0 {
		r.Operation = orders[0].GetStop().GetOperation()
	} else if g.rng.IntN(4) == 0 { // accepted before
		for o := g.State.Number(); o > g.State.Number()-30; o-- {
			if g.State.ViewStop(&musterv1.ViewStopRequest{Operation: o}) != nil {
				r.Operation = o
			}
		}
	}
	return r
}

func (g *Generator) report() *musterv1.ReportBatch {
	var ranks []uint32
	for rank := range uint32(5) {
		if g.rng.IntN(3) > 0 {
			ranks = append(ranks, rank)
		}
	}
	b := &musterv1.ReportBatch{Groups: []*musterv1.ReportGroup{{Number: g.issued(), Ranks: &musterv1.RankRuns{
		World: g.world(), Role: musterv1.Role_ROLE_WORKER, Runs: id.AppendRuns(nil, ranks),
	}}}}
	if g.rng.IntN(3) == 0 {
		r := &musterv1.ProcReport{Proc: g.ref()}
		if g.rng.IntN(4) == 0 {
			r.FailedActors = g.failedActors()
		}
		b.Reports = append(b.Reports, r)
	}
	if g.rng.IntN(6) == 0 {
		run := g.run()
		b.Reports = append(b.Reports, &musterv1.ProcReport{Proc: run.Proc, HeldOrder: run.Order})
	}
	return b
}

// failedActors is one, or more than are kept.
func (g *Generator) failedActors() []*musterv1.FailedActor {
	n := 1
	if g.rng.IntN(6) == 0 {
		n = 40
	}
	var out []*musterv1.FailedActor
	for range n {
		out = append(out, &musterv1.FailedActor{Actor: fmt.Sprint("a", g.rng.IntN(100)), Pid: g.rng.Uint64N(2), Cause: "boom"})
	}
	return out
}

func (g *Generator) hello() *musterv1.Hello {
	h := &musterv1.Hello{Owner: "agent", Epoch: g.State.Epoch()}
	if g.rng.IntN(10) == 0 {
		h.Epoch--
	}
	for range 1 + g.rng.IntN(3) {
		h.Members = append(h.Members, &musterv1.HelloMember{Proc: g.ref(), HighestOrder: g.issued()})
	}
	return h
}

// observation is what a leader would propose at a clock that may be too early: Apply has to check.
func (g *Generator) observation() *musterv1.Command {
	var passed []fsm.Timer
	for t := range g.State.Timers() {
		if t.AtNs < g.ClockNs+g.rng.Int64N(int64(10e9)) {
			passed = append(passed, t)
		}
	}
	expire, due, overdue := g.State.Observe(passed)
	if len(overdue.Orders) > 0 && g.rng.IntN(2) == 0 {
		return &musterv1.Command{Body: &musterv1.Command_Undeliverable{Undeliverable: overdue}}
	}
	if g.rng.IntN(2) == 0 {
		expire.Procs = append(expire.Procs, g.ref())
		return &musterv1.Command{Body: &musterv1.Command_Expire{Expire: expire}}
	}
	for _, p := range g.State.DetachedMembers(nil) {
		if g.rng.IntN(4) == 0 {
			due.Detached = append(due.Detached, p)
		}
	}
	return &musterv1.Command{Body: &musterv1.Command_Due{Due: due}}
}
