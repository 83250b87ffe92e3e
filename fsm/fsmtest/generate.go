package fsmtest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// Generator draws histories: few names and ranks, so that they meet; stale numbers, nonces and incarnations, so that what is late
// or repeated is as common as what is fresh; and a fleet that does what it is told, so that worlds also get somewhere. How often which,
// how large the tables are and which rules the cluster begins with depends on the seed. The same seed draws the same history.
type Generator struct {
	*Machine
	Foreign bool // the last Step's entry was of another term or epoch

	rng   *rand.Rand
	seen  []*musterv1.ProcRef  // memberships that were given
	ids   [][]byte             // request ids that were used
	sent  []*musterv1.Command  // to repeat
	runs  []*musterv1.HeldRank // that hosts were ordered to start
	saved *file                // a state file of this history
	// Of 100 commands, how many are the fleet's; of 1000 that might, how many end the system.
	obedient, ending int
}

// NewGenerator starts a cluster with small tables, so that they overflow. One history in three begins with the rules of an earlier
// version and may go over to the present ones.
func NewGenerator(seed uint64) *Generator {
	g := &Generator{Machine: NewMachine(), rng: rand.New(rand.NewPCG(seed, 1))}
	s := fsm.DefaultSettings()
	s.RequestTableSize, s.EndedWorlds, s.Events, s.WorldEvents = 16+64*g.rng.Uint32N(2), 3, 40, 6
	s.RequestWindowNs, s.RetentionNs = int64(time.Minute), int64(2*time.Minute)
	s.Timeouts.EvictionNs, s.Timeouts.StartNs = int64(30*time.Second), int64(time.Minute)
	s.BrakePercent, s.BrakeMinimum = 40+g.rng.Uint32N(40), 2+g.rng.Uint32N(2)
	g.obedient, g.ending = 30*g.rng.IntN(4), 1
	if g.rng.IntN(3) == 0 {
		g.ending = 60
	}
	g.MachineVersion = fsm.MachineVersion
	if g.rng.IntN(3) == 0 {
		g.MachineVersion = 1 + g.rng.Uint32N(fsm.MachineVersion-1)
	}
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
		g.newTerm()
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
	var commands []*musterv1.Command
	if g.rng.IntN(100) < g.obedient {
		commands = append(commands, g.everybodyReports())
	}
	for range 1 + g.rng.IntN(3) {
		c := g.command()
		commands = append(commands, c)
		g.sent = append(g.sent, proto.CloneOf(c))
	}
	return g.note(g.Append(g.Seal(commands...)))
}

// note remembers the memberships that were given.
func (g *Generator) note(applied fsm.Applied) fsm.Applied {
	for _, o := range applied.Outcomes {
		if j := o.GetJoin(); j != nil {
			g.seen = append(g.seen, j.Proc)
		}
	}
	return applied
}

// newTerm begins a term. The rules go over to what all voters have said that they know; now and then all have just been restarted with the
// newest.
func (g *Generator) newTerm() {
	t := g.termStart(nil)
	if g.State.MachineVersion() < fsm.MachineVersion && g.rng.IntN(6) == 0 {
		g.Apply(nodeStart(1, 0, fsm.MachineVersion), nodeStart(2, 0, fsm.MachineVersion), nodeStart(3, 0, fsm.MachineVersion))
	}
	if g.rng.IntN(2) == 0 {
		t.Voters = []string{serverID(1, 0), serverID(2, 0), serverID(3, 0)}
	}
	g.StartTerm(t)
}

func serverID(node, life int) string { return fmt.Sprintf("n%d-%08x", node, life) }

func (g *Generator) command() *musterv1.Command {
	n := g.rng.IntN(100)
	switch {
	case len(g.sent) > 0 && n < 7:
		return proto.CloneOf(g.sent[g.rng.IntN(len(g.sent))]) // a delayed copy
	case len(g.sent) > 0 && n < 10:
		return proto.CloneOf(g.sent[len(g.sent)-1-g.rng.IntN(min(4, len(g.sent)))]) // one that was sent again at once
	case n < 10+g.obedient:
		return g.obey()
	}
	return g.anyCommand()
}

func (g *Generator) anyCommand() *musterv1.Command {
	if g.rng.IntN(5) < 2 {
		return g.hostCommand()
	}
	if g.rng.IntN(5) < 2 {
		return g.systemCommand()
	}
	return g.memberCommand()
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

// ref is a membership: mostly one that was given, sometimes what a host was ordered to start, sometimes made up.
func (g *Generator) ref() *musterv1.ProcRef {
	if len(g.seen) == 0 || g.rng.IntN(10) == 0 {
		return &musterv1.ProcRef{World: g.world(), Role: musterv1.Role_ROLE_WORKER, Rank: g.rng.Uint32N(5), Incarnation: g.issued()}
	}
	if len(g.runs) > 0 && g.rng.IntN(10) == 0 {
		return g.runs[g.rng.IntN(len(g.runs))].Proc
	}
	recent := g.seen[max(0, len(g.seen)-12):]
	return recent[g.rng.IntN(len(recent))]
}

func (g *Generator) meta() *musterv1.RequestMeta {
	if len(g.ids) > 0 && g.rng.IntN(12) == 0 {
		return &musterv1.RequestMeta{Id: g.ids[len(g.ids)-1-g.rng.IntN(min(3, len(g.ids)))], Issued: g.issued()}
	}
	g.ids = append(g.ids, g.bytes())
	return &musterv1.RequestMeta{Id: g.ids[len(g.ids)-1], Issued: g.issued()}
}
