package fsmtest

import (
	"fmt"
	"time"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// systemCommand draws what operators ask for, and what nodes say of themselves and of the whole.
func (g *Generator) systemCommand() *musterv1.Command {
	switch n := g.rng.IntN(100); {
	case n < 38:
		return &musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: g.upsert()}}
	case n < 56:
		return &musterv1.Command{Body: &musterv1.Command_Stop{Stop: g.stop()}}
	case n < 64:
		return &musterv1.Command{Body: &musterv1.Command_Restart{Restart: g.restart()}}
	case n < 70:
		return &musterv1.Command{Body: &musterv1.Command_DeleteWorld{DeleteWorld: &musterv1.DeleteWorldRequest{Meta: g.meta(), World: g.world()}}}
	case n < 73:
		return g.startExecution()
	case n < 80:
		return &musterv1.Command{Body: &musterv1.Command_Set{Set: g.set()}}
	case n < 83:
		return &musterv1.Command{Body: &musterv1.Command_ReleaseAlarm{ReleaseAlarm: &musterv1.ReleaseAlarmRequest{Meta: g.meta()}}}
	case n < 94:
		return g.brake()
	}
	return g.anyNodeStart()
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
	if g.rng.IntN(8) == 0 {
		u.LabelRevision = g.issued()
	}
	if !shape.Open && g.rng.IntN(2) == 0 {
		u.Spec.Exec = &musterv1.Exec{Program: "p", ReadyJoin: g.rng.IntN(3) == 0, MasterPort: 7000 * g.rng.Uint32N(2)}
		u.Spec.OnFailure = musterv1.FailurePolicy(g.rng.IntN(3))
	}
	if g.rng.IntN(5) == 0 {
		u.Spec.Timeouts = &musterv1.Timeouts{LeaseNs: int64(4+g.rng.IntN(9)) * int64(time.Second), ReportIntervalNs: int64(time.Second)}
		if g.rng.IntN(2) == 0 {
			u.Spec.Timeouts.EvictionNs = fsm.Never
		}
	}
	return u
}

func (g *Generator) stop() *musterv1.StopRequest {
	q := &musterv1.StopRequest{Meta: g.meta(), ProcTimeoutNs: int64(g.rng.IntN(20)) * int64(time.Second)}
	if g.ends() {
		q.Everything = true
		return q
	}
	for range 1 + g.rng.IntN(2) {
		q.Worlds = append(q.Worlds, g.world())
	}
	return q
}

func (g *Generator) restart() *musterv1.RestartRequest {
	q := &musterv1.RestartRequest{Meta: g.meta(), World: g.world()}
	switch g.rng.IntN(3) {
	case 0:
		q.All = true
	case 1:
		for rank := range uint32(4) {
			if g.rng.IntN(3) == 0 {
				q.Ranks = append(q.Ranks, rank)
			}
		}
	}
	return q
}

func (g *Generator) startExecution() *musterv1.Command {
	return &musterv1.Command{Body: &musterv1.Command_Start{Start: &musterv1.StartRequest{Meta: g.meta(), ExecutionId: fmt.Sprint("x", g.rng.IntN(9))}}}
}

// set changes a setting or two, also to what they cannot be.
func (g *Generator) set() *musterv1.SetRequest {
	seconds := func(from, n int) int64 { return int64(from+g.rng.IntN(n)) * int64(time.Second) }
	changes := []*musterv1.SettingChange{
		{Name: "lease", Value: seconds(3, 9)}, {Name: "retention", Value: seconds(0, 150)}, {Name: "request-window", Value: seconds(30, 60)},
		{Name: "brake-minimum", Value: int64(g.rng.IntN(3))}, {Name: "brake-percent", Value: int64(g.rng.IntN(110))},
		{Name: "ended-worlds", Value: int64(g.rng.IntN(4))}, {Name: "events", Value: int64(20 + g.rng.IntN(40))},
		{Name: "world-events", Value: int64(g.rng.IntN(9))}, {Name: "orphan-stop", Value: int64(g.rng.IntN(3))}, {Name: "no-such-setting"},
		{Name: "grace", Value: seconds(0, 4)},
	}
	q := &musterv1.SetRequest{Meta: g.meta()}
	for range 1 + g.rng.IntN(2) {
		q.Changes = append(q.Changes, changes[g.rng.IntN(len(changes))])
	}
	return q
}

// brake moves the mass-expiry brake: mostly as a leader would, sometimes as it must not.
func (g *Generator) brake() *musterv1.Command {
	to := musterv1.Brake_State(g.rng.IntN(4))
	agents, silent := g.State.Agents(0, g.State.Slots(), g.ClockNs)
	switch g.rng.IntN(4) {
	case 0:
		agents, silent = g.rng.Uint32N(12), g.rng.Uint32N(12)
	case 1:
	default:
		to = next(g.State.Brake().State)
	}
	return &musterv1.Command{Body: &musterv1.Command_Brake{Brake: &musterv1.BrakeChange{To: to, Agents: agents, Silent: silent}}}
}

// next is where the brake goes from a state.
func next(from musterv1.Brake_State) musterv1.Brake_State {
	switch from {
	case musterv1.Brake_STATE_UNSPECIFIED:
		return musterv1.Brake_STATE_ON
	case musterv1.Brake_STATE_ON:
		return musterv1.Brake_STATE_RELEASED
	}
	return musterv1.Brake_STATE_UNSPECIFIED
}

// anyNodeStart registers a node, sometimes under a new server id, sometimes with an older binary.
func (g *Generator) anyNodeStart() *musterv1.Command {
	node, life := 1+g.rng.IntN(3), 0
	if g.rng.IntN(6) == 0 {
		life = 1
	}
	version := uint32(fsm.MachineVersion)
	if g.rng.IntN(6) == 0 {
		version = g.rng.Uint32N(version)
	}
	return nodeStart(node, life, version)
}

func nodeStart(node, life int, version uint32) *musterv1.Command {
	return &musterv1.Command{Body: &musterv1.Command_NodeStart{NodeStart: &musterv1.NodeStart{Node: &musterv1.NodeRecord{
		ServerId: serverID(node, life), Name: fmt.Sprint("n", node), MachineVersion: version,
	}}}}
}
