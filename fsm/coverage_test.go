package fsm_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// TestGenerator_DrawsEverything: every kind of command, answer, refusal, event, verdict, order and status comes up in the histories, and
// each so often that a rule which broke in it would be found. What is new in the protocol and what the generator does not draw fails here.
func TestGenerator_DrawsEverything(t *testing.T) {
	t.Parallel()
	tally := fsmtest.NewTally()
	for seed := range uint64(100) {
		g := fsmtest.NewGenerator(seed)
		for range historyLength {
			g.Step()
		}
		require.NoError(t, tally.History(g.Log))
	}
	atLeast := func(name protoreflect.FullName, floor int) {
		if n, ok := floors[name]; ok {
			floor = n
		}
		if floor == never {
			assert.Zero(t, tally.Counts[name], "%s", name)
			return
		}
		assert.GreaterOrEqual(t, tally.Counts[name], floor, "%s in 100 histories: teach fsmtest's generator to draw it", name)
	}
	for _, m := range []proto.Message{&musterv1.Command{}, &musterv1.Outcome{}, &musterv1.Order{}, &musterv1.Answer{}} {
		fields := m.ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
		for i := range fields.Len() {
			atLeast(fields.Get(i).FullName(), 20)
			if m.ProtoReflect().Descriptor().Name() == "Command" {
				atLeast(fsmtest.Accepted(fields.Get(i).FullName()), 20)
			}
		}
	}
	for _, e := range []protoreflect.Enum{
		musterv1.Reason(0), musterv1.Event_Kind(0), musterv1.Verdict_Kind(0), musterv1.Status(0), musterv1.Phase(0), musterv1.Health(0),
		musterv1.Brake_State(0), musterv1.WorldStop_Result(0), musterv1.Assignment_State(0), musterv1.Mode(0),
	} {
		values := e.Descriptor().Values()
		for i := range values.Len() {
			atLeast(values.Get(i).FullName(), 20)
		}
	}
	for version := range uint32(fsm.MachineVersion) {
		atLeast(fsmtest.MachineVersionName(version+1), 3)
	}
	atLeast(fsmtest.Upgraded, 3)
}

// never is the floor of what must not come up.
const never = -1

// floors are other than 20 where something is rare, is common, or is not the state machine's to say.
var floors = map[protoreflect.FullName]int{
	"muster.v1.Command.join.accepted":          2000,
	"muster.v1.Command.upsert_world.accepted":  500,
	"muster.v1.Command.report.accepted":        2000,
	"muster.v1.Command.stop.accepted":          300,
	"muster.v1.Outcome.restore":                50, // and who asks again for one that took effect
	"muster.v1.Command.start.accepted":         8,
	"muster.v1.Outcome.start":                  8,
	"muster.v1.Command.release_alarm.accepted": 10,
	"muster.v1.Outcome.release_alarm":          10,
	"muster.v1.STATUS_LIVE":                    300,
	"muster.v1.STATUS_COMPLETED":               50,
	"muster.v1.STATUS_FAILED":                  50,
	"muster.v1.STATUS_STOPPED":                 200,
	"muster.v1.PHASE_RUNNING":                  8,
	"muster.v1.PHASE_STOPPING":                 8,
	"muster.v1.PHASE_STOPPED":                  8,
	"muster.v1.Brake.STATE_UNSPECIFIED":        5,
	"muster.v1.Event.KIND_STOP_DONE":           300,
	"muster.v1.Event.KIND_STARTED":             300,
	"muster.v1.Event.KIND_ENDED":               300,
	"muster.v1.Event.KIND_PROC_EXPIRED":        200,

	// Begins what is counted by its effects.
	"muster.v1.STATUS_AWAITING_CREATION": 50,
	// The zeros of enumerations, which are never sent or are what a proc has before it has begun.
	"muster.v1.STATUS_UNSPECIFIED":           never,
	"muster.v1.PHASE_UNSPECIFIED":            never,
	"muster.v1.REASON_UNSPECIFIED":           never,
	"muster.v1.MODE_UNSPECIFIED":             never,
	"muster.v1.Event.KIND_UNSPECIFIED":       never,
	"muster.v1.Verdict.KIND_UNSPECIFIED":     never,
	"muster.v1.WorldStop.RESULT_UNSPECIFIED": never,
	"muster.v1.Assignment.STATE_UNSPECIFIED": never,
	// A rule that breaks.
	"muster.v1.Event.KIND_RULE_BROKEN": never,
	"muster.v1.REASON_INTERNAL":        never,
	// Said by nodes around the state machine.
	"muster.v1.REASON_DISK":            never,
	"muster.v1.REASON_NO_LEADER":       never,
	"muster.v1.REASON_NOT_LEADER":      never,
	"muster.v1.REASON_NOT_SERVING":     never,
	"muster.v1.REASON_OUTCOME_UNKNOWN": never,
	// A rank whose program has nothing to join any more has ended, or its world is stopping, which is refused before.
	"muster.v1.REASON_SUPERSEDED": never,
}
