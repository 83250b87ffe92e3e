package fsmtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// options are the key=value words of a command; flags have no value.
type options map[string]string

func split(words []string) (plain []string, o options) {
	o = options{}
	for _, w := range words {
		key, value, found := strings.Cut(w, "=")
		if found || w == "takeover" || w == "replace" || w == "exec" || w == "keep" || w == "stops" {
			o[key] = value
		} else {
			plain = append(plain, w)
		}
	}
	return plain, o
}

func (o options) number(key string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(o[key], 10, 64); err == nil {
		return n
	}
	return otherwise
}

func (o options) duration(key string) int64 {
	d, _ := time.ParseDuration(o[key])
	return int64(d)
}

func (o options) has(key string) bool { _, ok := o[key]; return ok }

func (s *script) command(words []string) (*musterv1.Command, error) {
	args, o := split(words[1:])
	switch words[0] {
	case "tick":
		return &musterv1.Command{Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}}, nil
	case "join":
		return &musterv1.Command{Body: &musterv1.Command_Join{Join: s.join(args[0], o)}}, nil
	case "leave":
		return &musterv1.Command{Body: &musterv1.Command_Leave{Leave: &musterv1.LeaveRequest{Proc: s.ref(args[0]), Issued: s.State.Number()}}}, nil
	case "upsert":
		return &musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: s.upsert(args[0], o)}}, nil
	case "report":
		return &musterv1.Command{Body: &musterv1.Command_Report{Report: s.report(args, o)}}, nil
	case "fail":
		return &musterv1.Command{Body: &musterv1.Command_Report{Report: &musterv1.ReportBatch{Reports: []*musterv1.ProcReport{{
			Proc: s.ref(args[0]), HeldOrder: o.number("held", 0), FailedActors: []*musterv1.FailedActor{{Actor: args[1], Cause: strings.Join(args[2:], " ")}},
		}}}}}, nil
	case "says":
		health := musterv1.Health(musterv1.Health_value["HEALTH_"+strings.ToUpper(args[1])])
		return &musterv1.Command{Body: &musterv1.Command_Report{Report: &musterv1.ReportBatch{Reports: []*musterv1.ProcReport{{
			Proc: s.ref(args[0]), Health: health, Cause: strings.Join(args[2:], " "),
		}}}}}, nil
	case "hello":
		return &musterv1.Command{Body: &musterv1.Command_Hello{Hello: s.hello(args, o)}}, nil
	case "confirm":
		n, _ := strconv.ParseUint(args[1], 10, 64)
		return &musterv1.Command{Body: &musterv1.Command_Confirm{Confirm: &musterv1.Confirm{
			Proc: s.ref(args[0]), HighestOrder: n, MasterPort: uint32(o.number("port", 0)),
		}}}, nil
	case "expire":
		e := &musterv1.Expire{}
		for _, a := range args {
			e.Procs = append(e.Procs, s.ref(a))
		}
		return &musterv1.Command{Body: &musterv1.Command_Expire{Expire: e}}, nil
	case "due":
		return s.due(args)
	case "stop":
		return &musterv1.Command{Body: &musterv1.Command_Stop{Stop: s.stop(args, o)}}, nil
	case "stopresult":
		n, _ := strconv.ParseUint(args[1], 10, 64)
		return &musterv1.Command{Body: &musterv1.Command_StopResult{StopResult: &musterv1.StopResult{Proc: s.ref(args[0]), Operation: n, ActorsStopped: 1}}}, nil
	}
	return s.hostCommand(words[0], args, o)
}

func (s *script) join(name string, o options) *musterv1.JoinRequest {
	p := s.ref(name + "@0")
	s.nonces++
	j := &musterv1.JoinRequest{
		World: p.World, Role: p.Role, Rank: p.Rank, Key: "m1", Machine: "m1", Nonce: []byte(fmt.Sprintf("nonce-%010d", s.nonces)),
		Issued: o.number("issued", s.State.Number()), TakeOver: o.has("takeover"), HolderGone: o.number("gone", 0), Address: o["address"],
	}
	j.AssignRank = p.Role == musterv1.Role_ROLE_HOST && !strings.Contains(name, "/")
	j.Incarnation, j.HeldOrder = o.number("inc", 0), o.number("held", 0)
	for _, one := range strings.FieldsFunc(o["earlier"], func(r rune) bool { return r == ',' }) {
		n, _ := strconv.ParseUint(one, 10, 64)
		j.Earlier = append(j.Earlier, n)
	}
	if o.has("key") {
		j.Key, j.Machine = o["key"], o["key"]
	}
	if o.has("nonce") {
		j.Nonce = []byte(fmt.Sprintf("%16s", o["nonce"]))
	}
	switch o["mode"] {
	case "detached":
		j.Mode = musterv1.Mode_MODE_DETACHED
	case "managing":
		j.Mode = musterv1.Mode_MODE_MANAGING_SYSTEM
	}
	return j
}

func (s *script) meta(o options) *musterv1.RequestMeta {
	s.ids++
	name := fmt.Sprint("request-", s.ids)
	if o.has("id") {
		name = o["id"]
	}
	return &musterv1.RequestMeta{Id: []byte(fmt.Sprintf("%16s", name)), Issued: o.number("issued", s.State.Number())}
}

func (s *script) upsert(name string, o options) *musterv1.UpsertWorldRequest {
	shape := &musterv1.Shape{Open: o["shape"] == "open"}
	for _, d := range strings.Split(o["shape"], ",") {
		if n, err := strconv.ParseUint(d, 10, 32); err == nil {
			shape.Dims = append(shape.Dims, uint32(n))
		}
	}
	u := &musterv1.UpsertWorldRequest{
		Meta: s.meta(o), ReplaceEnded: o.has("replace"), LabelRevision: o.number("revision", 0),
		Spec: &musterv1.WorldSpec{World: name, Shape: shape, ProcsPerHost: uint32(o.number("per", 8))},
	}
	if o.has("exec") {
		u.Spec.Exec = &musterv1.Exec{Program: "train", MasterPort: uint32(o.number("port", 0)), ReadyJoin: o["ready"] == "join"}
	}
	if o.has("keep") {
		u.Spec.OnFailure = musterv1.FailurePolicy_FAILURE_POLICY_KEEP
	} else if o.has("stops") {
		u.Spec.OnFailure = musterv1.FailurePolicy_FAILURE_POLICY_STOP
	}
	t := &musterv1.Timeouts{
		LeaseNs: o.duration("lease"), ReportIntervalNs: o.duration("report"), StartNs: o.duration("start"), EvictionNs: o.duration("eviction"),
		ProcTimeoutNs: o.duration("proc"),
	}
	if proto.Size(t) > 0 {
		u.Spec.Timeouts = t
	}
	if o.has("label") {
		key, value, _ := strings.Cut(o["label"], ":")
		u.Labels = []*musterv1.Label{{Key: key, Value: value}}
	}
	return u
}

func (s *script) report(names []string, o options) *musterv1.ReportBatch {
	type place struct {
		world string
		role  musterv1.Role
	}
	ranks := map[place][]uint32{}
	var places []place
	for _, n := range names {
		p := s.ref(n)
		at := place{p.World, p.Role}
		if ranks[at] == nil {
			places = append(places, at)
		}
		ranks[at] = append(ranks[at], p.Rank)
	}
	b := &musterv1.ReportBatch{}
	for _, at := range places {
		slices.Sort(ranks[at])
		b.Groups = append(b.Groups, &musterv1.ReportGroup{Number: o.number("number", s.State.Number()), Ranks: &musterv1.RankRuns{
			World: at.world, Role: at.role, Runs: id.AppendRuns(nil, ranks[at]),
		}})
	}
	return b
}

func (s *script) stop(names []string, o options) *musterv1.StopRequest {
	q := &musterv1.StopRequest{Meta: s.meta(o), ProcTimeoutNs: o.duration("timeout"), Reason: o["reason"]}
	if len(names) == 1 && names[0] == "everything" {
		q.Everything = true
	} else {
		q.Worlds = names
	}
	return q
}

func (s *script) due(args []string) (*musterv1.Command, error) {
	d := &musterv1.Due{}
	n, _ := strconv.ParseUint(args[1], 10, 64)
	switch args[0] {
	case "stop":
		d.Stops = []uint64{n}
	case "ended":
		d.Ended = []uint64{n}
	case "start", "eviction":
		v, err := s.State.View(&musterv1.ViewRequest{Worlds: []string{args[1]}})
		if err != nil || len(v.Worlds) == 0 {
			return nil, fmt.Errorf("no world %s (%v)", args[1], err)
		}
		since := &musterv1.WorldSince{Generation: v.Worlds[0].Generation, SinceNs: v.Worlds[0].Condition.SinceNs}
		if args[0] == "start" {
			d.Starts = []*musterv1.WorldSince{since}
		} else {
			d.Evictions = []*musterv1.WorldSince{since}
		}
	}
	return &musterv1.Command{Body: &musterv1.Command_Due{Due: d}}, nil
}
