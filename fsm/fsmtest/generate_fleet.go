package fsmtest

import (
	"fmt"
	"slices"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// everybodyReports is a batch in which all members are alive, hosts with what they run. Now and then a world is left out.
func (g *Generator) everybodyReports() *musterv1.Command {
	b := &musterv1.ReportBatch{}
	number := g.State.Number()
	add := func(world string, role musterv1.Role, ranks []uint32, byHost bool) {
		if len(ranks) > 0 {
			b.Groups = append(b.Groups, &musterv1.ReportGroup{Number: number, ByHost: byHost, Ranks: &musterv1.RankRuns{
				World: world, Role: role, Runs: id.AppendRuns(nil, ranks),
			}})
		}
	}
	for _, w := range g.worlds() {
		if g.rng.IntN(20) == 0 {
			continue
		}
		var own, held, hosts []uint32
		for _, p := range w.Procs {
			switch {
			case p.Proc.Role == musterv1.Role_ROLE_HOST:
				hosts = append(hosts, p.Proc.Rank)
			case p.Assignment != nil && !p.Assignment.Claimed:
				held = append(held, p.Proc.Rank)
			default:
				own = append(own, p.Proc.Rank)
			}
		}
		add(w.World, musterv1.Role_ROLE_WORKER, own, false)
		add(w.World, musterv1.Role_ROLE_WORKER, held, true)
		add(w.World, musterv1.Role_ROLE_HOST, hosts, false)
	}
	return &musterv1.Command{Body: &musterv1.Command_Report{Report: b}}
}

// worlds are those of some names, or all.
func (g *Generator) worlds(names ...string) []*musterv1.WorldView {
	v, err := g.State.View(&musterv1.ViewRequest{Worlds: names})
	if err != nil {
		panic(err)
	}
	return v.Worlds
}

// obey is what somebody does who does what the state asks for: whoever is wanted joins, is told, answers, and gets to its end.
func (g *Generator) obey() *musterv1.Command {
	switch g.State.Status().Phase {
	case musterv1.Phase_PHASE_STOPPED:
		return g.startExecution()
	case musterv1.Phase_PHASE_STOPPING:
		for _, p := range g.State.DetachedMembers(nil) {
			if orders := g.State.Orders(p); len(orders) > 0 {
				return g.answers(g.obeyed(orders[0])...)
			}
		}
	}
	name := g.world()
	worlds := g.worlds(name)
	if len(worlds) == 0 {
		u := g.upsert()
		u.Spec.World, u.ReplaceEnded = name, true
		return &musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: u}}
	}
	w := worlds[0]
	if w.Spec == nil || g.rng.IntN(30) == 0 {
		return g.upsertFor(w)
	}
	if c := g.obeyIn(w); c != nil {
		return c
	}
	return g.wanted(w)
}

// upsertFor completes what awaits its creation, or asks for what there is with one label more.
func (g *Generator) upsertFor(w *musterv1.WorldView) *musterv1.Command {
	u := g.upsert()
	u.LabelRevision = w.LabelRevision
	if w.Spec != nil {
		u.Spec = w.Spec
		u.Labels = []*musterv1.Label{{Key: fmt.Sprint("l", g.rng.IntN(9)), Value: "v"}}
	} else {
		u.Spec.World, u.Spec.Shape, u.Labels = w.World, &musterv1.Shape{Dims: []uint32{5}}, nil
	}
	return &musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: u}}
}

// obeyIn is what the first member does that has something to do, beginning anywhere; nil where nobody has.
func (g *Generator) obeyIn(w *musterv1.WorldView) *musterv1.Command {
	at := g.rng.IntN(len(w.Procs) + 1)
	for _, p := range append(w.Procs[at:], w.Procs[:at]...) {
		if orders := g.State.Orders(p.Proc); len(orders) > 0 {
			return g.answers(g.obeyed(orders[g.rng.IntN(len(orders))])...)
		}
		if a := p.Assignment; a != nil {
			if c := g.run1(w, p, a); c != nil {
				return c
			}
		} else if p.Health == musterv1.Health_HEALTH_EXPIRED || p.Health == musterv1.Health_HEALTH_CONNECTION_FAILURE {
			return g.joinAgain(p)
		}
	}
	return nil
}

// run1 takes a rank that a host runs one step further.
func (g *Generator) run1(w *musterv1.WorldView, p *musterv1.ProcView, a *musterv1.Assignment) *musterv1.Command {
	gone := p.Health == musterv1.Health_HEALTH_EXPIRED || p.Health == musterv1.Health_HEALTH_CONNECTION_FAILURE
	switch {
	case a.State == musterv1.Assignment_STATE_ACCEPTED:
		return g.answers(&musterv1.Answer{Body: &musterv1.Answer_Started{Started: &musterv1.Started{Proc: p.Proc, Order: a.Order}}})
	case a.State != musterv1.Assignment_STATE_STARTED:
		return nil
	case gone && g.rng.IntN(2) == 0:
		j := g.join()
		j.World, j.Rank, j.Mode, j.HeldOrder, j.Issued = p.Proc.World, p.Proc.Rank, 0, a.Order, g.State.Number()
		return &musterv1.Command{Body: &musterv1.Command_Join{Join: j}}
	case gone, !a.Claimed && (w.Spec.GetExec().GetReadyJoin() || g.rng.IntN(8) == 0):
		j := g.join()
		j.World, j.Rank, j.Mode, j.Incarnation, j.Issued = p.Proc.World, p.Proc.Rank, 0, p.Proc.Incarnation, g.State.Number()
		return &musterv1.Command{Body: &musterv1.Command_Join{Join: j}}
	case w.Condition.WasLive && g.rng.IntN(3) == 0:
		exit := &musterv1.Exit{}
		if g.rng.IntN(5) == 0 {
			exit = g.exit()
		}
		return g.answers(exited(p.Proc, a.Order, exit))
	}
	return nil
}

func exited(p *musterv1.ProcRef, order uint64, exit *musterv1.Exit) *musterv1.Answer {
	return &musterv1.Answer{Body: &musterv1.Answer_Exited{Exited: &musterv1.Exited{Proc: p, Order: order, Exit: exit}}}
}

func (g *Generator) answers(a ...*musterv1.Answer) *musterv1.Command {
	return &musterv1.Command{Body: &musterv1.Command_Answers{Answers: &musterv1.Answers{Answers: a}}}
}

// obeyed is what an addressee says to an order: that it accepted it and, mostly, what came of it.
func (g *Generator) obeyed(o *musterv1.Order) []*musterv1.Answer {
	out := []*musterv1.Answer{{Body: &musterv1.Answer_Confirm{Confirm: &musterv1.Confirm{Proc: o.Proc, HighestOrder: o.Id, MasterPort: 29500}}}}
	if g.rng.IntN(4) == 0 {
		return out
	}
	switch what := o.What.(type) {
	case *musterv1.Order_Spawn:
		return append(out, &musterv1.Answer{Body: &musterv1.Answer_Started{Started: &musterv1.Started{Proc: what.Spawn.Proc, Order: o.Id}}})
	case *musterv1.Order_StopRank:
		return append(out, exited(what.StopRank.Proc, what.StopRank.SpawnedBy, g.exit()))
	case *musterv1.Order_Stop:
		return append(out, &musterv1.Answer{Body: &musterv1.Answer_StopResult{StopResult: &musterv1.StopResult{Proc: o.Proc, Operation: what.Stop.Operation}}})
	}
	return out
}

// joinAgain is what a member does that was silent and lives.
func (g *Generator) joinAgain(p *musterv1.ProcView) *musterv1.Command {
	j := g.join()
	j.World, j.Role, j.Rank, j.Mode, j.Issued = p.Proc.World, p.Proc.Role, p.Proc.Rank, p.Mode, g.State.Number()
	if p.Proc.Role == musterv1.Role_ROLE_HOST {
		j.Incarnation, j.Key = p.Proc.Incarnation, p.Machine
		j.Machine = p.Machine
	}
	return &musterv1.Command{Body: &musterv1.Command_Join{Join: j}}
}

// wanted joins for a place that w still wants filled: a host where it runs programs, else a worker. Where all are there it is any command.
func (g *Generator) wanted(w *musterv1.WorldView) *musterv1.Command {
	present := func(role musterv1.Role, rank uint32) bool {
		return slices.ContainsFunc(w.Procs, func(p *musterv1.ProcView) bool { return p.Proc.Role == role && p.Proc.Rank == rank })
	}
	j := g.join()
	j.World, j.Mode, j.Issued = w.World, 0, g.State.Number()
	if w.Spec.GetExec() != nil || g.rng.IntN(6) == 0 {
		for rank := range (w.Wanted + w.Spec.ProcsPerHost - 1) / w.Spec.ProcsPerHost {
			if !present(musterv1.Role_ROLE_HOST, rank) {
				j.Role, j.AssignRank, j.Rank, j.Key = musterv1.Role_ROLE_HOST, true, 0, fmt.Sprint("a", g.rng.IntN(6))
				j.Machine = j.Key
				return &musterv1.Command{Body: &musterv1.Command_Join{Join: j}}
			}
		}
	}
	for rank := range max(w.Wanted, 2) {
		if !present(musterv1.Role_ROLE_WORKER, rank) && w.Spec.GetExec() == nil {
			j.Rank = rank
			return &musterv1.Command{Body: &musterv1.Command_Join{Join: j}}
		}
	}
	return g.anyCommand()
}
