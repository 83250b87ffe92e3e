package fsmtest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// hostCommand is what hosts say, and what is said about them.
func (s *script) hostCommand(name string, args []string, o options) (*musterv1.Command, error) {
	switch name {
	case "started", "exited":
		order, err := strconv.ParseUint(args[1], 10, 64)
		if err != nil {
			return nil, err
		}
		a := &musterv1.Answer{Body: &musterv1.Answer_Started{Started: &musterv1.Started{Proc: s.ref(args[0] + "@0"), Order: order}}}
		if name == "exited" {
			a.Body = &musterv1.Answer_Exited{Exited: &musterv1.Exited{Proc: s.ref(args[0] + "@0"), Order: order, Exit: &musterv1.Exit{
				Code: uint32(o.number("code", 0)), Signal: uint32(o.number("signal", 0)),
				Failure: strings.ReplaceAll(o["failure"], "_", " "), LastLines: strings.ReplaceAll(o["lines"], "_", " "),
			}}}
		}
		return &musterv1.Command{Body: &musterv1.Command_Answers{Answers: &musterv1.Answers{Answers: []*musterv1.Answer{a}}}}, nil
	case "held":
		b := s.report(args, o)
		for _, g := range b.Groups {
			g.ByHost = true
		}
		return &musterv1.Command{Body: &musterv1.Command_Report{Report: b}}, nil
	case "undeliverable":
		order, err := strconv.ParseUint(args[1], 10, 64)
		return &musterv1.Command{Body: &musterv1.Command_Undeliverable{Undeliverable: &musterv1.Undeliverable{
			Orders: []*musterv1.OverdueOrder{{Proc: s.ref(args[0]), Order: order}},
		}}}, err
	case "restart":
		q := &musterv1.RestartRequest{Meta: s.meta(o), World: args[0]}
		for _, a := range args[1:] {
			rank, err := strconv.ParseUint(a, 10, 32)
			if q.All = a == "all"; !q.All && err != nil {
				return nil, err
			}
			if !q.All {
				q.Ranks = append(q.Ranks, uint32(rank))
			}
		}
		return &musterv1.Command{Body: &musterv1.Command_Restart{Restart: q}}, nil
	case "set":
		q := &musterv1.SetRequest{Meta: s.meta(o)}
		for _, a := range args {
			name, text, _ := strings.Cut(a, ":")
			value, err := strconv.ParseInt(text, 10, 64)
			if d, bad := time.ParseDuration(text); bad == nil {
				value, err = int64(d), nil
			}
			if err != nil {
				return nil, err
			}
			q.Changes = append(q.Changes, &musterv1.SettingChange{Name: name, Value: value})
		}
		return &musterv1.Command{Body: &musterv1.Command_Set{Set: q}}, nil
	case "release":
		return &musterv1.Command{Body: &musterv1.Command_ReleaseAlarm{ReleaseAlarm: &musterv1.ReleaseAlarmRequest{Meta: s.meta(o)}}}, nil
	case "brake":
		var silent, agents uint32
		if _, err := fmt.Sscanf(args[1], "%d/%d", &silent, &agents); err != nil {
			return nil, err
		}
		to := map[string]musterv1.Brake_State{"on": musterv1.Brake_STATE_ON, "off": musterv1.Brake_STATE_RELEASED, "arm": musterv1.Brake_STATE_UNSPECIFIED}[args[0]]
		return &musterv1.Command{Body: &musterv1.Command_Brake{Brake: &musterv1.BrakeChange{To: to, Silent: silent, Agents: agents}}}, nil
	case "delete":
		return &musterv1.Command{Body: &musterv1.Command_DeleteWorld{DeleteWorld: &musterv1.DeleteWorldRequest{Meta: s.meta(o), World: args[0]}}}, nil
	case "start":
		return &musterv1.Command{Body: &musterv1.Command_Start{Start: &musterv1.StartRequest{Meta: s.meta(o), ExecutionId: args[0]}}}, nil
	}
	return nil, fmt.Errorf("unknown command %q", name)
}

// hello lists members; a host's, with what it holds.
func (s *script) hello(args []string, o options) *musterv1.Hello {
	h := &musterv1.Hello{Epoch: o.number("epoch", s.State.Epoch())}
	for _, a := range args {
		m := &musterv1.HelloMember{Proc: s.ref(a), HighestOrder: o.number("order", 0), MasterPort: uint32(o.number("port", 0))}
		var ranks []uint32
		for _, one := range strings.Split(o["held"], ",") {
			parts := strings.Split(one, ":")
			if len(parts) < 2 {
				continue
			}
			rank, _ := strconv.ParseUint(parts[0], 10, 32)
			order, _ := strconv.ParseUint(parts[1], 10, 64)
			held := &musterv1.HeldRank{
				Proc: &musterv1.ProcRef{World: m.Proc.World, Role: musterv1.Role_ROLE_WORKER, Rank: uint32(rank)}, Order: order, Started: true,
			}
			if len(parts) > 2 {
				code, _ := strconv.ParseUint(parts[2], 10, 32)
				held.Exit = &musterv1.Exit{Code: uint32(code)}
			}
			h.Ranks, ranks = append(h.Ranks, held), append(ranks, uint32(rank))
		}
		m.Held = id.AppendRuns(nil, ranks)
		h.Members = append(h.Members, m)
	}
	return h
}

func printOrder(o *musterv1.Order) string {
	switch w := o.What.(type) {
	case *musterv1.Order_Spawn:
		return fmt.Sprintf("start %s of %d, local rank %d of %d, host rank %d of %d, meet at %s:%d", printRef(w.Spawn.Proc), w.Spawn.WorldSize,
			w.Spawn.LocalRank, w.Spawn.LocalWorldSize, w.Spawn.HostRank, w.Spawn.Hosts, w.Spawn.MasterAddress, w.Spawn.MasterPort)
	case *musterv1.Order_StopRank:
		return fmt.Sprintf("end %s, started by order %d, %v, %s", printRef(w.StopRank.Proc), w.StopRank.SpawnedBy,
			time.Duration(w.StopRank.ProcTimeoutNs), w.StopRank.Reason)
	}
	return fmt.Sprintf("stop, operation %d, %v, %s", o.GetStop().Operation, time.Duration(o.GetStop().ProcTimeoutNs), o.GetStop().Reason)
}

func (s *script) explain(name string) string {
	world, _, oneRank := strings.Cut(strings.TrimPrefix(name, "host:"), "/")
	p := s.ref(name + "@0")
	r, _ := s.State.Explain(&musterv1.ExplainRequest{World: world, Rank: p.Rank, OneRank: oneRank, Role: p.Role})
	if r == nil {
		return "unknown"
	}
	var b strings.Builder
	if c := r.World.FirstCause; c != nil {
		fmt.Fprintf(&b, "first cause: rank %d on %s, %s\n", c.Rank, c.Machine, c.Text)
	}
	if r.MissingCount > 0 {
		fmt.Fprintf(&b, "missing: %d ranks", r.MissingCount)
		for rank := range id.Ranks(r.Missing) {
			fmt.Fprintf(&b, " %d", rank)
		}
		b.WriteString("\n")
	}
	if r.MissingHostCount > 0 {
		fmt.Fprintf(&b, "missing hosts: %v\n", r.MissingHosts)
	}
	for _, p := range r.Procs {
		b.WriteString(strings.TrimLeft(printProc(p), " "))
	}
	for _, o := range r.Orders {
		fmt.Fprintf(&b, "due: order %d to %s: %s, for %v\n", o.Id, place(o.To), o.What, time.Duration(o.AgeNs))
	}
	for _, n := range r.Next {
		fmt.Fprintf(&b, "next: at %v %s\n", time.Duration(n.AtNs), n.What)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}
