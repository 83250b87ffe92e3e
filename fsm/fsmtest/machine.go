package fsmtest

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/proto"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// Machine is a State with the log that made it. It plays the leader: it stamps and numbers entries.
type Machine struct {
	State   *fsm.State
	Log     []Logged
	Term    uint64
	ClockNs int64 // stamp of the next entry

	// MachineVersion is the newest rules that its leaders know: those that its first TermStart begins with.
	MachineVersion uint32
}

// Logged is one entry with where it stands.
type Logged struct {
	Index, Term uint64
	Entry       []byte
}

// SeedMicros is the Unix time, in microseconds, of a Machine's first TermStart: its epoch.
const SeedMicros = 1000

// NewMachine returns an empty one; Start begins its first term.
func NewMachine() *Machine { return &Machine{State: fsm.New(), MachineVersion: fsm.MachineVersion} }

// Start begins a new leadership term.
func (m *Machine) Start(settings *musterv1.Settings) { m.StartTerm(m.termStart(settings)) }

func (m *Machine) termStart(settings *musterv1.Settings) *musterv1.TermStart {
	return &musterv1.TermStart{
		ServerId: "n1-00000001", UnixMicros: SeedMicros, ClusterId: "c1", ExecutionId: "x1", Settings: settings, MachineVersion: m.MachineVersion,
	}
}

// StartTerm begins a new leadership term with t.
func (m *Machine) StartTerm(t *musterv1.TermStart) {
	m.Term++
	m.append(&musterv1.Entry{Format: fsm.EntryFormat, Commands: []*musterv1.Command{{Body: &musterv1.Command_TermStart{TermStart: t}}}})
	m.ClockNs = max(m.ClockNs, m.State.ClockNs())
}

// Apply seals commands in one entry of the present term and applies it.
func (m *Machine) Apply(commands ...*musterv1.Command) []*musterv1.Outcome {
	return m.append(m.Seal(commands...)).Outcomes
}

// Seal makes an entry of the present term.
func (m *Machine) Seal(commands ...*musterv1.Command) *musterv1.Entry {
	return &musterv1.Entry{
		Format: fsm.EntryFormat, RaftTerm: m.Term, Epoch: m.State.Epoch(), StampNs: m.ClockNs, WallMs: m.ClockNs / 1e6, Commands: commands,
	}
}

// Append applies an entry as it is, at the next index of the present term.
func (m *Machine) Append(e *musterv1.Entry) fsm.Applied { return m.append(e) }

func (m *Machine) append(e *musterv1.Entry) fsm.Applied {
	l := Logged{Index: uint64(len(m.Log) + 1), Term: m.Term, Entry: encode(e)}
	m.Log = append(m.Log, l)
	applied, err := l.Apply(m.State)
	if err != nil {
		panic(err)
	}
	return applied
}

// Apply applies the entry to a state, from its bytes, as a replica would.
func (l Logged) Apply(s *fsm.State) (fsm.Applied, error) {
	e := &musterv1.Entry{}
	if err := proto.Unmarshal(l.Entry, e); err != nil {
		return fsm.Applied{}, fmt.Errorf("entry %d: %w", l.Index, err)
	}
	return s.Apply(l.Index, l.Term, e)
}

// Encode returns the state file of s.
func Encode(s *fsm.State) ([]byte, error) {
	f, err := s.Freeze()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = f.WriteTo(&b)
	return b.Bytes(), err
}
