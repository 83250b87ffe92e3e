package fsmtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// Generator draws histories: few names and ranks, so that they meet; stale numbers, nonces and incarnations, so that what is late
// or repeated is as common as what is fresh. The same seed draws the same history.
type Generator struct {
	*Machine
	Foreign bool // the last Step's entry was of another term or epoch

	rng   *rand.Rand
	seen  []*musterv1.ProcRef  // memberships that were given
	ids   [][]byte             // request ids that were used
	sent  []*musterv1.Command  // to repeat
	runs  []*musterv1.HeldRank // that hosts were ordered to start
	saved [][]byte             // records of a state file, with
	head  *musterv1.SnapshotHeader
	tail  *musterv1.SnapshotTrailer
}

// NewGenerator starts a cluster with small tables, so that they overflow.
func NewGenerator(seed uint64) *Generator {
	g := &Generator{Machine: NewMachine(), rng: rand.New(rand.NewPCG(seed, 1))}
	s := fsm.DefaultSettings()
	s.RequestTableSize, s.EndedWorlds, s.Events, s.WorldEvents = 16, 3, 40, 6
	s.RequestWindowNs, s.RetentionNs = int64(time.Minute), int64(2*time.Minute)
	s.Timeouts.EvictionNs, s.Timeouts.StartNs = int64(30*time.Second), int64(time.Minute)
	g.Start(s)
	return g
}

// Step applies one more entry: usually some commands at a later clock, now and then a new term, an entry that must be dropped, or a
// restore of an earlier state.
func (g *Generator) Step() fsm.Applied {
	g.ClockNs += g.rng.Int64N(int64(4 * time.Second))
	g.Foreign = false
	switch n := g.rng.IntN(100); {
	case n < 3:
		g.Start(nil)
		return fsm.Applied{}
	case n < 5:
		g.Foreign = true
		e := g.Seal(g.command())
		if g.rng.IntN(2) == 0 {
			e.RaftTerm--
		} else {
			e.Epoch--
		}
		return g.Append(e)
	case n < 7:
		return g.restoreStep()
	}
	commands := make([]*musterv1.Command, 1+g.rng.IntN(4))
	for i := range commands {
		commands[i] = g.command()
		g.sent = append(g.sent, proto.CloneOf(commands[i]))
	}
	applied := g.Append(g.Seal(commands...))
	for _, o := range applied.Outcomes {
		if j := o.GetJoin(); j != nil {
			g.seen = append(g.seen, j.Proc)
		}
	}
	return applied
}

func (g *Generator) command() *musterv1.Command {
	if len(g.sent) > 0 && g.rng.IntN(12) == 0 {
		return proto.CloneOf(g.sent[g.rng.IntN(len(g.sent))]) // a delayed copy
	}
	if g.rng.IntN(5) < 2 {
		return g.hostCommand()
	}
	switch n := g.rng.IntN(100); {
	case n < 28:
		return &musterv1.Command{Body: &musterv1.Command_Join{Join: g.join()}}
	case n < 34:
		return &musterv1.Command{Body: &musterv1.Command_Leave{Leave: &musterv1.LeaveRequest{Proc: g.ref(), Issued: g.issued()}}}
	case n < 44:
		return &musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: g.upsert()}}
	case n < 50:
		return &musterv1.Command{Body: &musterv1.Command_Stop{Stop: g.stop()}}
	case n < 58:
		return &musterv1.Command{Body: &musterv1.Command_StopResult{StopResult: g.stopResult()}}
	case n < 74:
		return &musterv1.Command{Body: &musterv1.Command_Report{Report: g.report()}}
	case n < 79:
		return &musterv1.Command{Body: &musterv1.Command_Hello{Hello: g.hello()}}
	case n < 83:
		return &musterv1.Command{Body: &musterv1.Command_Confirm{Confirm: &musterv1.Confirm{Proc: g.ref(), HighestOrder: g.issued()}}}
	case n < 97:
		return g.observation()
	case n < 98:
		return &musterv1.Command{Body: &musterv1.Command_NodeStart{NodeStart: &musterv1.NodeStart{Node: &musterv1.NodeRecord{
			ServerId: fmt.Sprintf("n%d-%08x", 1+g.rng.IntN(3), g.rng.IntN(2)), Name: fmt.Sprintf("n%d", 1+g.rng.IntN(3)),
			MachineVersion: fsm.MachineVersion,
		}}}}
	default:
		return &musterv1.Command{Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}}
	}
}

func (g *Generator) world() string { return []string{"a", "b", "c", "hostile"}[g.rng.IntN(4)] }

func (g *Generator) bytes() []byte { return []byte(fmt.Sprintf("%016x", g.rng.Uint64())) }

// issued is a number that a client may have seen: mostly a fresh one.
func (g *Generator) issued() uint64 {
	n := g.State.Number()
	if g.rng.IntN(4) == 0 && n > 0 {
		return n - min(n, g.rng.Uint64N(200))
	}
	return n
}

// ref is a membership: mostly one that was given, sometimes made up.
func (g *Generator) ref() *musterv1.ProcRef {
	if len(g.seen) == 0 || g.rng.IntN(10) == 0 {
		return &musterv1.ProcRef{World: g.world(), Role: musterv1.Role_ROLE_WORKER, Rank: g.rng.Uint32N(5), Incarnation: g.issued()}
	}
	recent := g.seen[max(0, len(g.seen)-12):]
	return recent[g.rng.IntN(len(recent))]
}

func (g *Generator) join() *musterv1.JoinRequest {
	j := &musterv1.JoinRequest{
		World: g.world(), Rank: g.rng.Uint32N(5), Key: fmt.Sprint("k", g.rng.IntN(2)), Machine: "m", Address: "tcp:h:1",
		Nonce: g.bytes(), Issued: g.issued(), TakeOver: g.rng.IntN(6) == 0, HolderGone: g.ref().Incarnation,
		Labels: []*musterv1.Label{{Key: "zone", Value: fmt.Sprint(g.rng.IntN(2))}},
	}
	switch g.rng.IntN(400) {
	case 0:
		j.Mode = musterv1.Mode_MODE_MANAGING_SYSTEM // its death ends the story
	case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20:
		j.Mode = musterv1.Mode_MODE_DETACHED
	}
	return j
}

func (g *Generator) meta() *musterv1.RequestMeta {
	if len(g.ids) == 0 || g.rng.IntN(8) > 0 {
		g.ids = append(g.ids, g.bytes())
	}
	return &musterv1.RequestMeta{Id: g.ids[len(g.ids)-1-g.rng.IntN(min(3, len(g.ids)))], Issued: g.issued()}
}

func (g *Generator) upsert() *musterv1.UpsertWorldRequest {
	shape := &musterv1.Shape{Dims: []uint32{1 + g.rng.Uint32N(2), 1 + g.rng.Uint32N(2)}}
	if g.rng.IntN(5) == 0 {
		shape = &musterv1.Shape{Open: true}
	}
	u := &musterv1.UpsertWorldRequest{
		Meta: g.meta(), ReplaceEnded: g.rng.IntN(2) == 0,
		Spec:   &musterv1.WorldSpec{World: g.world(), Shape: shape, ProcsPerHost: 1 + g.rng.Uint32N(3)},
		Labels: []*musterv1.Label{{Key: "team", Value: fmt.Sprint(g.rng.IntN(2))}},
	}
	if !shape.Open && g.rng.IntN(2) == 0 {
		u.Spec.Exec = &musterv1.Exec{Program: "p", ReadyJoin: g.rng.IntN(3) == 0, MasterPort: 7000 * g.rng.Uint32N(2)}
		u.Spec.OnFailure = musterv1.FailurePolicy(g.rng.IntN(3))
	}
	return u
}

func (g *Generator) stop() *musterv1.StopRequest {
	q := &musterv1.StopRequest{Meta: g.meta(), ProcTimeoutNs: int64(g.rng.IntN(20)+1) * int64(time.Second)}
	if g.rng.IntN(400) == 0 {
		q.Everything = true // so does this
		return q
	}
	for range 1 + g.rng.IntN(2) {
		q.Worlds = append(q.Worlds, g.world())
	}
	return q
}

func (g *Generator) stopResult() *musterv1.StopResult {
	r := &musterv1.StopResult{Proc: g.ref(), Operation: g.issued(), ActorsStopped: 1}
	if orders := g.State.Orders(r.Proc); len(orders) > 0 {
		r.Operation = orders[0].GetStop().GetOperation()
	} else if g.rng.IntN(2) == 0 { // accepted before
		for _, n := range []uint64{g.State.Number(), g.State.Number() - 10, g.State.Number() - 20} {
			for o := n; o > n-10; o-- {
				if g.State.ViewStop(&musterv1.ViewStopRequest{Operation: o}) != nil {
					r.Operation = o
				}
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
			r.FailedActors = []*musterv1.FailedActor{{Actor: fmt.Sprint("a", g.rng.IntN(100)), Cause: "boom"}}
		}
		b.Reports = append(b.Reports, r)
	}
	return b
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
		if t.AtNs < g.ClockNs+g.rng.Int64N(int64(10*time.Second)) {
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
	for _, p := range g.State.DetachedMembers() {
		if g.rng.IntN(4) == 0 {
			due.Detached = append(due.Detached, p)
		}
	}
	return &musterv1.Command{Body: &musterv1.Command_Due{Due: due}}
}

// restoreStep saves the state, or restores what was saved, sometimes with a piece missing.
func (g *Generator) restoreStep() fsm.Applied {
	if g.saved == nil || g.rng.IntN(3) == 0 {
		g.save()
		return fsm.Applied{}
	}
	rid := g.bytes()
	g.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreBegin{RestoreBegin: &musterv1.RestoreBegin{
		Meta: g.meta(), RestoreId: rid, Header: g.head, UnixMicros: g.rng.Uint64N(5000),
	}}})
	half := len(g.saved) / 2
	chunks := [][][]byte{g.saved[:half], g.saved[half:]}
	if g.rng.IntN(4) == 0 {
		chunks = chunks[:1]
	}
	for i, records := range chunks {
		g.Apply(g.command()) // something between, which must be refused or harmless
		g.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreChunk{RestoreChunk: &musterv1.RestoreChunk{
			RestoreId: rid, Seq: uint64(i + 1), Records: records,
		}}})
	}
	if g.rng.IntN(6) == 0 {
		return g.Append(g.Seal(&musterv1.Command{Body: &musterv1.Command_RestoreAbort{RestoreAbort: &musterv1.RestoreAbort{RestoreId: rid}}}))
	}
	applied := g.Append(g.Seal(&musterv1.Command{Body: &musterv1.Command_RestoreCommit{RestoreCommit: &musterv1.RestoreCommit{RestoreId: rid, Trailer: g.tail}}}))
	if applied.Effects.Restored {
		g.ClockNs = max(g.ClockNs, g.State.ClockNs())
		g.Start(nil)
	}
	return applied
}

func (g *Generator) save() {
	file, err := Encode(g.State)
	if err != nil {
		return // a restore is staged
	}
	g.saved, g.head, g.tail = Records(file)
}

// Records takes a state file apart.
func Records(file []byte) (records [][]byte, header *musterv1.SnapshotHeader, trailer *musterv1.SnapshotTrailer) {
	r, err := fsm.NewFileReader(bytes.NewReader(file))
	if err != nil {
		panic(err)
	}
	for {
		body, err := r.Next()
		if err != nil {
			return records, r.Header(), r.Trailer()
		}
		records = append(records, slices.Clone(body))
	}
}
