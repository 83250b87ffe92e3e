package fsmtest

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// hostCommand draws what agents, their programs and those who restart things say.
func (g *Generator) hostCommand() *musterv1.Command {
	g.noteRuns()
	switch n := g.rng.IntN(100); {
	case n < 24:
		return &musterv1.Command{Body: &musterv1.Command_Join{Join: g.hostJoin()}}
	case n < 33:
		return &musterv1.Command{Body: &musterv1.Command_Join{Join: g.heldJoin()}}
	case n < 68:
		a := &musterv1.Answers{}
		for range 1 + g.rng.IntN(3) {
			a.Answers = append(a.Answers, g.answer())
		}
		return &musterv1.Command{Body: &musterv1.Command_Answers{Answers: a}}
	case n < 80:
		return &musterv1.Command{Body: &musterv1.Command_Hello{Hello: g.hostHello()}}
	case n < 92:
		b := g.report()
		for _, group := range b.Groups {
			group.ByHost = true
		}
		b.Groups = append(b.Groups, &musterv1.ReportGroup{Number: g.issued(), Ranks: &musterv1.RankRuns{
			World: g.world(), Role: musterv1.Role_ROLE_HOST, Runs: id.AppendRuns(nil, []uint32{0, 1}),
		}})
		return &musterv1.Command{Body: &musterv1.Command_Report{Report: b}}
	default:
		return &musterv1.Command{Body: &musterv1.Command_Leave{Leave: &musterv1.LeaveRequest{Proc: g.host(), Issued: g.issued()}}}
	}
}

// noteRuns remembers what hosts have been ordered to start, as they would.
func (g *Generator) noteRuns() {
	for _, p := range g.seen[max(0, len(g.seen)-20):] {
		for _, o := range g.State.Orders(p) {
			if s := o.GetSpawn(); s != nil {
				g.runs = append(g.runs, &musterv1.HeldRank{Proc: s.Proc, Order: o.Id})
			}
		}
	}
	g.runs = g.runs[max(0, len(g.runs)-40):]
}

// host is a host that has joined, if there is one.
func (g *Generator) host() *musterv1.ProcRef {
	for range 10 {
		if p := g.ref(); p.Role == musterv1.Role_ROLE_HOST {
			return p
		}
	}
	return &musterv1.ProcRef{World: g.world(), Role: musterv1.Role_ROLE_HOST, Rank: g.rng.Uint32N(3), Incarnation: g.issued()}
}

func (g *Generator) run() *musterv1.HeldRank {
	if len(g.runs) == 0 || g.rng.IntN(10) == 0 {
		return &musterv1.HeldRank{Proc: &musterv1.ProcRef{World: g.world(), Role: musterv1.Role_ROLE_WORKER, Rank: g.rng.Uint32N(4)}, Order: g.issued()}
	}
	return proto.CloneOf(g.runs[g.rng.IntN(len(g.runs))])
}

func (g *Generator) hostJoin() *musterv1.JoinRequest {
	j := g.join()
	j.Role, j.Mode = musterv1.Role_ROLE_HOST, musterv1.Mode_MODE_UNSPECIFIED
	j.Rank, j.Key = g.rng.Uint32N(3), fmt.Sprint("a", g.rng.IntN(4))
	j.AssignRank = g.rng.IntN(3) > 0
	if h := g.host(); g.rng.IntN(3) == 0 {
		j.World, j.Rank, j.Incarnation, j.AssignRank = h.World, h.Rank, h.Incarnation, false
	}
	if h := g.host(); g.rng.IntN(6) == 0 {
		j.World, j.Rank, j.Incarnation, j.AssignRank = h.World, h.Rank, g.issued(), false
		j.Earlier = []uint64{g.issued(), h.Incarnation}
	}
	return j
}

// heldJoin is a program that claims its rank, or a host that joins one again.
func (g *Generator) heldJoin() *musterv1.JoinRequest {
	j, run := g.join(), g.run()
	j.World, j.Rank, j.Mode = run.Proc.World, run.Proc.Rank, musterv1.Mode_MODE_UNSPECIFIED
	if g.rng.IntN(2) == 0 {
		j.HeldOrder = run.Order
	} else if j.Incarnation = run.Proc.Incarnation; g.rng.IntN(6) == 0 {
		j.Incarnation, j.Earlier = g.issued(), []uint64{run.Proc.Incarnation}
	}
	return j
}

func (g *Generator) answer() *musterv1.Answer {
	run := g.run()
	switch g.rng.IntN(5) {
	case 0:
		h := g.host()
		c := &musterv1.Confirm{Proc: h, HighestOrder: g.issued(), MasterPort: 29500 * g.rng.Uint32N(2)}
		if orders := g.State.Orders(h); len(orders) > 0 {
			c.HighestOrder = orders[g.rng.IntN(len(orders))].Id
		}
		return &musterv1.Answer{Body: &musterv1.Answer_Confirm{Confirm: c}}
	case 1:
		r := g.stopResult()
		if g.rng.IntN(2) == 0 {
			r.Proc = g.host()
			if orders := g.State.Orders(r.Proc); len(orders) > 0 {
				r.Operation = orders[0].GetStop().GetOperation()
			}
		}
		return &musterv1.Answer{Body: &musterv1.Answer_StopResult{StopResult: r}}
	case 2, 3:
		return &musterv1.Answer{Body: &musterv1.Answer_Started{Started: &musterv1.Started{Proc: run.Proc, Order: run.Order}}}
	}
	return &musterv1.Answer{Body: &musterv1.Answer_Exited{Exited: &musterv1.Exited{Proc: run.Proc, Order: run.Order, Exit: g.exit()}}}
}

func (g *Generator) exit() *musterv1.Exit {
	switch g.rng.IntN(4) {
	case 0:
		return &musterv1.Exit{Code: 1 + g.rng.Uint32N(3), LastLines: "bad\nworse\n"}
	case 1:
		return &musterv1.Exit{Signal: 9}
	}
	return &musterv1.Exit{}
}

func (g *Generator) hostHello() *musterv1.Hello {
	h := g.hello()
	host := g.host()
	m := &musterv1.HelloMember{Proc: host, HighestOrder: g.issued()}
	ranks := map[uint32]bool{}
	for range g.rng.IntN(4) {
		run := g.run()
		run.Started = g.rng.IntN(3) > 0
		if g.rng.IntN(4) == 0 {
			run.Exit = g.exit()
		}
		h.Ranks = append(h.Ranks, run)
		ranks[run.Proc.Rank] = true
	}
	var held []uint32
	for rank := range uint32(8) {
		if ranks[rank] || g.rng.IntN(3) > 0 {
			held = append(held, rank)
		}
	}
	m.Held = id.AppendRuns(nil, held)
	h.Members = append(h.Members, m)
	return h
}
