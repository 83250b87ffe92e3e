package fsmtest

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// Tally counts what happened in histories: by full name of the field that was set of a Command, Outcome, Answer or Order, and of the value
// of an enumeration that was told or that a member had. What no history draws, no history tests.
type Tally struct {
	Counts map[protoreflect.FullName]int
	state  *fsm.State
}

// NewTally returns an empty one.
func NewTally() *Tally { return &Tally{Counts: map[protoreflect.FullName]int{}} }

// Upgraded counts the histories in which the rules went over to a newer version.
const Upgraded protoreflect.FullName = "machine_version.upgraded"

// MachineVersionName is the name under which histories count that began with the rules of a version.
func MachineVersionName(version uint32) protoreflect.FullName {
	return protoreflect.FullName(fmt.Sprint("machine_version.", version))
}

// Accepted is the name under which commands of a kind count that were not refused.
func Accepted(command protoreflect.FullName) protoreflect.FullName { return command + ".accepted" }

// History counts what a log does, by applying it once more.
func (t *Tally) History(log []Logged) error {
	t.state = fsm.New()
	began := uint32(0)
	for i, l := range log {
		e := &musterv1.Entry{}
		if err := proto.Unmarshal(l.Entry, e); err != nil {
			return err
		}
		number := t.state.Number()
		applied, err := t.state.Apply(l.Index, l.Term, e)
		if err != nil {
			return err
		}
		t.applied(e, applied)
		for _, event := range t.state.Events(0, number) {
			t.event(event)
		}
		if i == 0 {
			began = t.state.MachineVersion()
			t.Counts[MachineVersionName(began)]++
		}
		if i%8 == 0 {
			t.members()
		}
	}
	if t.state.MachineVersion() > began {
		t.Counts[Upgraded]++
	}
	return nil
}

func (t *Tally) applied(e *musterv1.Entry, applied fsm.Applied) {
	for i, o := range applied.Outcomes {
		t.oneof(e.Commands[i])
		for _, a := range e.Commands[i].GetAnswers().GetAnswers() {
			t.oneof(a)
		}
		t.outcome(e.Commands[i], o)
	}
	for _, v := range applied.Effects.Verdicts {
		t.enum(v.Kind)
	}
	for _, p := range applied.Effects.Orders {
		for _, o := range t.state.Orders(p) {
			t.oneof(o)
		}
	}
}

// outcome counts an answer and, where it is no refusal, its command as Accepted.
func (t *Tally) outcome(c *musterv1.Command, o *musterv1.Outcome) {
	t.oneof(o)
	if r := o.GetRefusal(); r != nil {
		t.enum(r.Reason)
	} else {
		t.Counts[Accepted(body(c))]++
	}
	for _, v := range o.GetVerdicts().GetVerdicts() {
		t.enum(v.Kind)
	}
	for _, w := range o.GetStop().GetWorlds() {
		t.enum(w.Result)
	}
}

func (t *Tally) event(e *musterv1.Event) {
	t.enum(e.Kind)
	switch e.Kind {
	case musterv1.Event_KIND_WORLD_STATUS:
		t.enum(e.Status)
	case musterv1.Event_KIND_BRAKE:
		t.enum(t.state.Brake().State)
	case musterv1.Event_KIND_PHASE:
		t.enum(t.state.Status().Phase)
	}
}

// members counts what there is.
func (t *Tally) members() {
	v, err := t.state.View(&musterv1.ViewRequest{})
	if err != nil {
		panic(err)
	}
	for _, w := range v.Worlds {
		t.enum(w.Condition.Status)
		for _, p := range w.Procs {
			t.enum(p.Health)
			t.enum(p.Mode)
			if p.Assignment != nil {
				t.enum(p.Assignment.State)
			}
		}
	}
	t.Counts[detachedName] += len(t.state.DetachedMembers(nil))
}

var detachedName = musterv1.Mode_MODE_DETACHED.Descriptor().Values().ByNumber(musterv1.Mode_MODE_DETACHED.Number()).FullName()

func (t *Tally) oneof(m proto.Message) { t.Counts[body(m)]++ }

// body is the name of the field that is set of a message's only oneof.
func body(m proto.Message) protoreflect.FullName {
	r := m.ProtoReflect()
	oneof := r.Descriptor().Oneofs().Get(0)
	if f := r.WhichOneof(oneof); f != nil {
		return f.FullName()
	}
	return oneof.FullName() + ".none"
}

func (t *Tally) enum(e protoreflect.Enum) {
	if v := e.Descriptor().Values().ByNumber(e.Number()); v != nil {
		t.Counts[v.FullName()]++
	}
}
