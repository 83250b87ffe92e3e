package fsm

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// Decode reads a state file into a new State and checks it.
func Decode(r io.Reader) (*State, error) {
	f, err := NewFileReader(r)
	if err != nil {
		return nil, err
	}
	l := newLoader(MachineVersion)
	for {
		body, err := f.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := l.add(body); err != nil {
			return nil, err
		}
	}
	return l.finish()
}

// loader builds a State from records in file order.
type loader struct {
	knows   uint32 // the newest rules that a file may follow
	s       *State
	key     recordKey // of the record before
	members memberReader

	endedGenerations map[uint64]bool
	dated            []Slot // ranks whose assignment has a time

	checker *checker // nil until all is loaded
	fault   error    // that it found
}

func newLoader(knows uint32) *loader {
	s := New()
	return &loader{knows: knows, s: s, members: memberReader{shared: &s.shared}, endedGenerations: map[uint64]bool{}}
}

// add loads one record. Records out of order are refused, so that a state has one file.
func (l *loader) add(body []byte) error {
	l.checker, l.fault = nil, nil
	if rec, lastReportNs := l.members.read(body); rec != nil {
		m := rec.member()
		if err := l.follow(recordKey{procKind, m.world, uint64(m.role), uint64(m.rank)}); err != nil {
			return err
		}
		return l.member(rec, lastReportNs)
	}
	r := &musterv1.Record{}
	if err := proto.Unmarshal(body, r); err != nil {
		return fmt.Errorf("%w: a record cannot be read", ErrStateFile) // in fixed words: what protobuf says differs between builds
	}
	if len(r.ProtoReflect().GetUnknown()) > 0 || r.Body == nil {
		return fmt.Errorf("%w: a record of a kind this binary does not know: use a newer one", ErrStateFile)
	}
	if err := l.follow(keyOf(r)); err != nil {
		return err
	}
	return l.load(r)
}

// follow notes the key of the record that is next.
func (l *loader) follow(key recordKey) error {
	if l.key.compare(key) >= 0 {
		return fmt.Errorf("%w: records are out of order", ErrStateFile)
	}
	if (key.kind == coreKind) != (l.key.kind == 0) {
		return fmt.Errorf("%w: exactly one core record must come first", ErrStateFile)
	}
	l.key = key
	return nil
}

// kind is what a record is of: its number in Record's oneof. Kinds follow each other in a file.
type kind int

const (
	coreKind kind = 1 + iota
	nodeKind
	worldKind
	procKind
	detachedKind
	stopKind
	stopTargetKind
	endedKind
	requestKind
	eventKind
	hostRankKind
)

// recordKey is what records are ordered by: their kind, a name, then numbers. What a kind does not have is empty.
type recordKey struct {
	kind          kind
	name          string
	first, second uint64
}

func (k recordKey) compare(o recordKey) int {
	return cmp.Or(cmp.Compare(k.kind, o.kind), cmp.Compare(k.name, o.name), cmp.Compare(k.first, o.first), cmp.Compare(k.second, o.second))
}

func keyOf(r *musterv1.Record) recordKey {
	place := func(kind kind, p *musterv1.ProcRef) recordKey {
		return recordKey{kind, p.GetWorld(), uint64(p.GetRole()), uint64(p.GetRank())}
	}
	switch b := r.Body.(type) {
	case *musterv1.Record_Core:
		return recordKey{kind: coreKind}
	case *musterv1.Record_Node:
		return recordKey{kind: nodeKind, name: b.Node.ServerId}
	case *musterv1.Record_World:
		return recordKey{kind: worldKind, name: b.World.World}
	case *musterv1.Record_Proc:
		return place(procKind, b.Proc.Proc)
	case *musterv1.Record_Detached:
		return place(detachedKind, b.Detached.Proc)
	case *musterv1.Record_Stop:
		return recordKey{kind: stopKind, first: b.Stop.Operation}
	case *musterv1.Record_StopTarget:
		key := recordKey{kind: stopTargetKind, first: b.StopTarget.Operation, second: b.StopTarget.Order}
		if b.StopTarget.Place != 0 {
			key.second = uint64(b.StopTarget.Place)
		}
		return key
	case *musterv1.Record_Ended:
		return recordKey{kind: endedKind, name: b.Ended.World, first: b.Ended.Generation}
	case *musterv1.Record_Request:
		return recordKey{kind: requestKind, first: b.Request.Number}
	case *musterv1.Record_Event:
		return recordKey{kind: eventKind, first: b.Event.Number}
	case *musterv1.Record_HostRank:
		return recordKey{kind: hostRankKind, name: b.HostRank.World, first: uint64(b.HostRank.Rank)}
	}
	return recordKey{}
}

func (l *loader) load(r *musterv1.Record) error {
	s := l.s
	if p := placeOf(r); p != nil && !isPlace(member{p.World, p.Role, p.Rank}, p.Incarnation) {
		return fmt.Errorf("%w: a record of a member without world, role, rank or incarnation", ErrStateFile)
	}
	switch b := r.Body.(type) {
	case *musterv1.Record_Core:
		if b.Core.MachineVersion > l.knows {
			return fmt.Errorf("%w: follows rules of version %d, this binary knows %d: use a newer one", ErrStateFile, b.Core.MachineVersion, l.knows)
		}
		if b.Core.Settings == nil || len(b.Core.Digest) != len(s.digest) {
			return fmt.Errorf("%w: core record without settings or digest", ErrStateFile)
		}
		if err := ValidateSettings(b.Core.Settings); err != nil {
			return fmt.Errorf("%w: settings: %w", ErrStateFile, err)
		}
		s.core = b.Core
		copy(s.digest[:], b.Core.Digest)
		s.core.Digest = nil
	case *musterv1.Record_Node:
		s.nodes[b.Node.ServerId] = b.Node
	case *musterv1.Record_World:
		if b.World.World == "" || b.World.Condition == nil || b.World.Timeouts == nil || s.byGeneration[b.World.Generation] != nil {
			return fmt.Errorf("%w: world %q without condition or timeouts, or its generation twice", ErrStateFile, b.World.World)
		}
		w := newWorld()
		w.rec = b.World
		s.addWorld(b.World.World, b.World.Generation, w)
	case *musterv1.Record_Proc:
		return l.member(s.shared.recordOf(b.Proc), b.Proc.LastReportNs)
	case *musterv1.Record_Detached:
		rec := s.shared.recordOf(b.Detached)
		f := rec.facts()
		f.lastReportNs = b.Detached.LastReportNs
		rec.setFacts(f)
		s.keepDetached(rec)
	case *musterv1.Record_Stop:
		op := newStop()
		op.rec = b.Stop
		s.stops[b.Stop.Operation] = op
	case *musterv1.Record_StopTarget:
		op := s.stops[b.StopTarget.Operation]
		if op == nil || b.StopTarget.Proc == nil {
			return fmt.Errorf("%w: a target of a stop that is not there", ErrStateFile)
		}
		l.stopTarget(op, b.StopTarget)
	case *musterv1.Record_Ended:
		if b.Ended.Condition == nil {
			return fmt.Errorf("%w: ended world %q without condition", ErrStateFile, b.Ended.World)
		}
		s.ended = append(s.ended, b.Ended)
		l.endedGenerations[b.Ended.Generation] = true
	case *musterv1.Record_Request:
		s.requests.add(b.Request)
	case *musterv1.Record_Event:
		e := b.Event
		s.events.add(e, s.core.Settings, s.byGeneration[e.Generation] != nil || l.endedGenerations[e.Generation])
	case *musterv1.Record_HostRank:
		w := s.worlds[b.HostRank.World]
		if w == nil || b.HostRank.Rank >= id.MaxProcs || hasKey(w, b.HostRank.Key) {
			return fmt.Errorf("%w: a host rank of a world that is not there, or a key that has two", ErrStateFile)
		}
		s.storeHostRank(w, b.HostRank)
	}
	return nil
}

// member loads one of a world.
func (l *loader) member(rec *record, lastReportNs int64) error {
	w := l.s.worlds[rec.world()]
	if w == nil || rec.timeouts == nil {
		return fmt.Errorf("%w: a proc of a world that is not there, or without timeouts", ErrStateFile)
	}
	if sameTimeouts(rec.timeouts, w.rec.Timeouts) {
		rec.timeouts = w.rec.Timeouts // shared in memory
	}
	slot, _ := l.s.storeMember(w, rec, lastReportNs)
	if rec.assignment.GetDueNs() != 0 {
		l.dated = append(l.dated, slot)
	}
	if d, ok := spawnDue(rec); ok && rec.role != musterv1.Role_ROLE_HOST {
		l.s.loadPending(hostOf(w, rec.rank), d)
	}
	return nil
}

// isPlace tells whether a member can be there, under an incarnation. memberOf would have made every role one that there is.
func isPlace(m member, incarnation uint64) bool {
	return m.world != "" && (m.role == musterv1.Role_ROLE_WORKER || m.role == musterv1.Role_ROLE_HOST) && m.rank < id.MaxProcs && incarnation != 0
}

// sameTimeouts is proto.Equal of messages without unknown fields, of which a file may have a million pairs.
func sameTimeouts(a, b *musterv1.Timeouts) bool {
	return a.ReportIntervalNs == b.ReportIntervalNs && a.LeaseNs == b.LeaseNs && a.StartNs == b.StartNs && a.EvictionNs == b.EvictionNs &&
		a.DeliveryNs == b.DeliveryNs && a.ProcTimeoutNs == b.ProcTimeoutNs
}

func hasKey(w *world, key string) bool {
	_, ok := w.hostKeys[key]
	return ok
}

// placeOf is the place that a record is of; nil for other kinds.
func placeOf(r *musterv1.Record) *musterv1.ProcRef {
	or := func(p *musterv1.ProcRef) *musterv1.ProcRef {
		if p == nil {
			return &musterv1.ProcRef{}
		}
		return p
	}
	switch b := r.Body.(type) {
	case *musterv1.Record_Proc:
		return or(b.Proc.Proc)
	case *musterv1.Record_Detached:
		return or(b.Detached.Proc)
	case *musterv1.Record_StopTarget:
		return or(b.StopTarget.Proc)
	}
	return nil
}

// stopTarget adds one to its operation. All members and worlds have been loaded.
func (l *loader) stopTarget(op *stop, t *musterv1.StopTarget) {
	m := memberOf(t.Proc)
	op.index[m] = len(op.targets)
	op.targets = append(op.targets, t)
	if !t.Done {
		var w *world
		if _, rec := l.s.lookup(m); rec != nil {
			w = l.s.worlds[m.world]
		}
		op.wait(w, m, +1)
	}
	if hasStopDue(t) {
		l.s.loadPending(stopDue(t.Operation, t))
	}
}

// check checks some of what was loaded, once all of it is there. What it finds is told by finish.
func (l *loader) check() {
	if l.checker == nil {
		s := l.s
		slices.SortFunc(s.ended, func(a, b *musterv1.WorldRecord) int { return cmp.Compare(a.Ended, b.Ended) })
		s.sortPending()
		s.entry.effects = Effects{}
		l.checker = newChecker(s)
		return
	}
	if l.fault == nil {
		_, l.fault = l.checker.step()
	}
}

// finish checks what is not checked yet, and gives the state away.
func (l *loader) finish() (*State, error) {
	if l.key.kind == 0 {
		return nil, fmt.Errorf("%w: holds no record", ErrStateFile)
	}
	if l.checker == nil {
		l.check()
	}
	if l.fault == nil {
		l.fault = l.checker.finish()
	}
	if l.fault != nil {
		return nil, fmt.Errorf("%w: %w", ErrStateFile, l.fault)
	}
	return l.s, nil
}
