package fsm

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"

	"muster/fsm/id"
)

// wanted is how many procs a spec asks for; definite is false for open shapes and worlds that await their creation.
func wanted(spec *musterv1.WorldSpec) (n uint32, definite bool) {
	if spec == nil || spec.GetShape().GetOpen() {
		return 0, false
	}
	n = 1
	for _, d := range spec.GetShape().GetDims() {
		n *= d
	}
	return n, true
}

// maxWorlds bounds the living worlds; a stop of all of them must fit in a record.
const maxWorlds = 1 << 15

func (s *State) mayCreate() *musterv1.Outcome {
	if len(s.worlds) < maxWorlds {
		return nil
	}
	return refuse(musterv1.Reason_REASON_FULL, "there are %d worlds: stop some before you create more", len(s.worlds))
}

// createWorld makes a living world of that name; spec is nil when a member joined a world that nobody has created.
func (s *State) createWorld(name string, created uint64, spec *musterv1.WorldSpec) *world {
	s.core.Generation++
	w := newWorld()
	s.addWorld(name, s.core.Generation, w)
	rec := &musterv1.WorldRecord{
		World: name, Generation: s.core.Generation, Created: created, LabelRevision: created,
		Timeouts: resolve(spec.GetTimeouts(), s.core.Settings.GetTimeouts()),
		Condition: &musterv1.Condition{
			Status: musterv1.Status_STATUS_AWAITING_CREATION, SinceNs: s.core.ClockNs, SinceUnixMs: s.entry.wallMs,
			Reason: "members have joined; nobody has created the world",
		},
	}
	if s.HasBrake() {
		rec.LastRemoval = s.lastRemoval(name)
	}
	s.putWorld(w, rec)
	if spec != nil {
		s.specify(w, spec)
	}
	s.emit(&musterv1.Event{Kind: musterv1.Event_KIND_WORLD_CREATED, World: name, Generation: rec.Generation, Text: describe(spec)})
	return w
}

// lastRemoval is a number by which every member of the worlds that had this name was gone, so that no late copy of a join makes it one
// of the next. Those of worlds that are forgotten count under the last that was.
func (s *State) lastRemoval(name string) uint64 {
	return max(s.latestEnded(name).GetEnded(), s.core.LastWorldDropped)
}

func describe(spec *musterv1.WorldSpec) string {
	if spec == nil {
		return "by a member's join"
	}
	if n, definite := wanted(spec); definite {
		return fmt.Sprintf("with %d procs", n)
	}
	return "open"
}

// specify gives w what was asked of it, from where its start timeout counts.
func (s *State) specify(w *world, spec *musterv1.WorldSpec) {
	rec := proto.CloneOf(w.rec)
	rec.Spec = spec
	rec.SpecSinceNs = s.core.ClockNs
	rec.Timeouts = resolve(spec.GetTimeouts(), s.core.Settings.GetTimeouts())
	rec.Condition = &musterv1.Condition{
		Status: musterv1.Status_STATUS_UNHEALTHY, SinceNs: s.core.ClockNs, SinceUnixMs: s.entry.wallMs, Reason: "starting",
	}
	s.putWorld(w, rec)
	s.movedWorld(rec)
	s.recountReady(w)
	s.timer(Timer{AtNs: rec.SpecSinceNs + rec.Timeouts.StartNs, Kind: TimerStart, ID: rec.Generation})
}

// applyUpsertWorld creates a world, completes one that awaits its creation, or confirms that it is as asked.
func (s *State) applyUpsertWorld(u *musterv1.UpsertWorldRequest) *musterv1.Outcome {
	return s.once(u.GetMeta(), u, func() *musterv1.Outcome {
		if s.core.Phase != musterv1.Phase_PHASE_RUNNING {
			return s.refusePhase()
		}
		spec := u.GetSpec()
		if spec.GetExec() != nil && !s.knowsHosts() {
			return refuseField(musterv1.Reason_REASON_UNSUPPORTED, "spec.exec",
				"programs need hosts, which not all nodes know: restart the older ones with this version, then the leader")
		}
		if err := ValidateTimeouts(resolve(spec.GetTimeouts(), s.core.Settings.GetTimeouts()), s.core.Settings.GetGraceNs()); err != nil {
			return refuseField(musterv1.Reason_REASON_INVALID, "spec.timeouts", "%v", err)
		}
		if spec.GetExec() != nil {
			if out := mayHaveHosts(spec); out != nil {
				return out
			}
		}
		w := s.worlds[spec.GetWorld()]
		switch {
		case w == nil:
			return s.upsertNew(u)
		case w.rec.Condition.Status == musterv1.Status_STATUS_STOPPING:
			return refuse(musterv1.Reason_REASON_WORLD_STOPPING, "world %s is stopping: wait until it has ended, then replace it", w.rec.World)
		case w.rec.Spec == nil:
			return s.upsertAwaiting(w, u)
		default:
			return s.upsertSame(w, u)
		}
	})
}

func (s *State) upsertNew(u *musterv1.UpsertWorldRequest) *musterv1.Outcome {
	name := u.Spec.GetWorld()
	if old := s.latestEnded(name); old != nil && !u.ReplaceEnded {
		return refuse(musterv1.Reason_REASON_WORLD_ENDED,
			"world %s has ended (%s, generation %d): say `replace ended` to create it again", name, StatusName(old.Condition.Status), old.Generation)
	}
	if u.LabelRevision != 0 {
		return refuseField(musterv1.Reason_REASON_CONTRADICTS, "label_revision", "world %s does not exist yet: its labels have no revision", name)
	}
	if out := s.mayCreate(); out != nil {
		return out
	}
	w := s.createWorld(name, s.core.Number, u.Spec)
	if out := s.addLabels(w, u); out != nil {
		return out // over the limits, which form checks refuse before
	}
	s.settle(w, "")
	return s.upserted(w, true)
}

// maxPerHost bounds the ranks that one host is given, and so what one join costs.
const maxPerHost = 4096

// mayHaveHosts holds what hosts ask of a spec.
func mayHaveHosts(spec *musterv1.WorldSpec) *musterv1.Outcome {
	if n, definite := wanted(spec); definite && min(n, spec.GetProcsPerHost()) > maxPerHost {
		return refuseField(musterv1.Reason_REASON_INVALID, "spec.procs_per_host",
			"a host of world %s would run %d procs: at most %d", spec.GetWorld(), min(n, spec.GetProcsPerHost()), maxPerHost)
	}
	return nil
}

func (s *State) upsertAwaiting(w *world, u *musterv1.UpsertWorldRequest) *musterv1.Outcome {
	if n, definite := wanted(u.Spec); definite {
		var outside []uint32
		for rank := range w.workers.from(0) {
			if rank >= n {
				outside = append(outside, rank)
			}
		}
		if len(outside) > 0 {
			return refuseField(musterv1.Reason_REASON_CONTRADICTS, "spec.shape",
				"world %s has members outside the shape's ranks 0 to %d: %s", w.rec.World, n-1, printRanks(outside))
		}
	}
	if w.hosts.len() > 0 {
		if out := mayHaveHosts(u.Spec); out != nil {
			return out
		}
	}
	if out := s.addLabels(w, u); out != nil {
		return out
	}
	s.specify(w, u.Spec)
	for rank := range w.hosts.from(0) {
		s.assignRanks(w, rank)
	}
	s.orderSpawns(w)
	s.settle(w, "")
	return s.upserted(w, true)
}

func (s *State) upsertSame(w *world, u *musterv1.UpsertWorldRequest) *musterv1.Outcome {
	if field := s.specDiffers(w.rec.Spec, u.Spec); field != "" {
		return refuseField(musterv1.Reason_REASON_CONTRADICTS, "spec."+field,
			"world %s exists (generation %d) and its %s differs from what is asked: stop it and replace it, or ask for what it is",
			w.rec.World, w.rec.Generation, field)
	}
	before := w.rec.LabelRevision
	if out := s.addLabels(w, u); out != nil {
		return out
	}
	return s.upserted(w, w.rec.LabelRevision != before)
}

// specDiffers names the first field that differs. What older voters cannot name is not named before all can.
func (s *State) specDiffers(have, want *musterv1.WorldSpec) string {
	if proto.Equal(have, want) {
		return ""
	}
	a, b := have.ProtoReflect(), want.ProtoReflect()
	fields := a.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Name() == "address" && !s.HasBrake() {
			continue
		}
		if a.Has(f) != b.Has(f) || !a.Get(f).Equal(b.Get(f)) {
			return string(f.Name())
		}
	}
	return "spec"
}

func (s *State) upserted(w *world, changed bool) *musterv1.Outcome {
	return &musterv1.Outcome{Body: &musterv1.Outcome_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldResponse{
		Generation: w.rec.Generation, LabelRevision: w.rec.LabelRevision, Changed: changed,
		Condition: w.rec.Condition, Number: s.core.Number,
	}}}
}

// addLabels adds those of u that w does not have. It refuses before it writes.
func (s *State) addLabels(w *world, u *musterv1.UpsertWorldRequest) *musterv1.Outcome {
	if u.LabelRevision != 0 && u.LabelRevision != w.rec.LabelRevision {
		return refuseField(musterv1.Reason_REASON_CONTRADICTS, "label_revision",
			"the labels of world %s are at revision %d, not %d: read them and ask again", w.rec.World, w.rec.LabelRevision, u.LabelRevision)
	}
	labels := slices.Clone(w.rec.Labels)
	for _, l := range u.Labels {
		i, found := slices.BinarySearchFunc(labels, l.Key, func(have *musterv1.Label, key string) int {
			if have.Key < key {
				return -1
			} else if have.Key > key {
				return 1
			}
			return 0
		})
		if found && labels[i].Value != l.Value {
			return refuseField(musterv1.Reason_REASON_CONTRADICTS, "labels",
				"label %q of world %s is %q already; labels are added, never overwritten", l.Key, w.rec.World, labels[i].Value)
		}
		if !found {
			labels = slices.Insert(labels, i, l)
		}
	}
	size := 0
	for _, l := range labels {
		size += len(l.Key) + len(l.Value)
	}
	if len(labels) > id.MaxLabels || size > id.MaxLabelBytes {
		return refuseField(musterv1.Reason_REASON_INVALID, "labels", "world %s would have %d labels of %d bytes: at most %d of %d bytes",
			w.rec.World, len(labels), size, id.MaxLabels, id.MaxLabelBytes)
	}
	if len(labels) > len(w.rec.Labels) {
		rec := proto.CloneOf(w.rec)
		rec.Labels, rec.LabelRevision = labels, s.core.Number
		s.putWorld(w, rec)
	}
	return nil
}

// settle computes what w is now and says so if that is new. cause is what just happened, kept as the reason when it ends a
// Live spell.
func (s *State) settle(w *world, cause string) {
	if s.worlds[w.rec.World] != w {
		return // it has just ended
	}
	switch {
	case w.rec.Condition.Status == musterv1.Status_STATUS_STOPPING:
	case w.rec.Spec == nil:
		if w.empty() {
			s.removeWorld(w)
		}
	case s.isComplete(w):
		s.endWorld(w, musterv1.Status_STATUS_COMPLETED, "every rank completed")
	case s.isLive(w):
		if w.rec.Condition.Status != musterv1.Status_STATUS_LIVE {
			s.setCondition(w, musterv1.Status_STATUS_LIVE, "every wanted rank is there and healthy")
		}
	case s.endsLive(w):
		s.setCondition(w, musterv1.Status_STATUS_UNHEALTHY, cause)
		if ev := w.rec.Timeouts.EvictionNs; ev != Never {
			s.timer(Timer{AtNs: s.core.ClockNs + ev, Kind: TimerEviction, ID: w.rec.Generation})
		}
	}
}

// endsLive tells whether w was Live until now, so that settle needs a cause.
func (s *State) endsLive(w *world) bool {
	return w.rec.Condition.Status == musterv1.Status_STATUS_LIVE && !s.isLive(w)
}

func (s *State) isLive(w *world) bool {
	if n, definite := wanted(w.rec.Spec); definite {
		return w.joined == n && w.healthy == n
	}
	return w.joined > 0 && w.healthy == w.joined
}

func (s *State) isComplete(w *world) bool {
	if n, definite := wanted(w.rec.Spec); definite {
		return w.completed == n
	}
	return w.joined > 0 && w.completed == w.joined
}

// setCondition changes w's status, now.
func (s *State) setCondition(w *world, status musterv1.Status, reason string) {
	rec := proto.CloneOf(w.rec)
	rec.Condition = &musterv1.Condition{
		Status: status, SinceNs: s.core.ClockNs, SinceUnixMs: s.entry.wallMs, Reason: clip(reason),
		WasLive: w.rec.Condition.WasLive || status == musterv1.Status_STATUS_LIVE,
	}
	if status == musterv1.Status_STATUS_LIVE {
		s.endTrouble(rec, w.rec.Condition)
	}
	s.putWorld(w, rec)
	s.emit(&musterv1.Event{
		Kind: musterv1.Event_KIND_WORLD_STATUS, World: rec.World, Generation: rec.Generation, Status: status, Text: clip(reason),
	})
}

const (
	maxEarlierCauses = 16
	maxEarlierLines  = 1 << 10
)

// endTrouble keeps apart what began the spell of trouble that is over, so that no later noise washes it away.
func (s *State) endTrouble(rec *musterv1.WorldRecord, was *musterv1.Condition) {
	cause := rec.FirstCause
	rec.FirstCause = nil
	if !s.HasBrake() {
		return
	}
	if cause == nil && was.WasLive { // else it had only been starting
		cause = &musterv1.Cause{Text: was.Reason, AtNs: was.SinceNs, AtUnixMs: was.SinceUnixMs}
	}
	keepCause(rec, cause)
}

// keepCause adds a cause, if there is one, to the earlier ones of rec.
func keepCause(rec *musterv1.WorldRecord, cause *musterv1.Cause) {
	if cause == nil {
		return
	}
	cause = proto.CloneOf(cause)
	if exit := cause.GetExit(); exit != nil {
		exit.LastLines = clipTo(exit.LastLines, maxEarlierLines)
	}
	kept := rec.EarlierCauses
	rec.EarlierCauses = append(slices.Clone(kept[max(0, len(kept)-maxEarlierCauses+1):]), cause)
}

// endWorld frees the name: the world becomes a record that can be read, its members are told and gone.
func (s *State) endWorld(w *world, status musterv1.Status, reason string) {
	for _, slot := range s.membersFrom(w, cursor{}) {
		s.verdict(s.recs.at(slot).ref(), musterv1.Verdict_KIND_ENDED, status)
		s.dropMember(w, slot)
	}
	s.setCondition(w, status, reason)
	rec := proto.CloneOf(w.rec)
	rec.Ended = s.core.Number
	s.forgetHostRanks(w)
	s.dropWorld(rec.World, rec.Generation)
	s.movedWorld(rec)
	s.putEnded(rec)
	s.dropSurplusEnded()
}

// dropSurplusEnded forgets the oldest of what has ended where more is kept than there may be.
func (s *State) dropSurplusEnded() {
	for len(s.ended) > int(s.core.Settings.GetEndedWorlds()) {
		s.dropEnded(0)
	}
}

func (s *State) putEnded(rec *musterv1.WorldRecord) {
	s.ended = append(s.ended, rec)
	s.entry.digest.record(&musterv1.Record{Body: &musterv1.Record_Ended{Ended: rec}})
	s.retentionTimer(rec)
}

func (s *State) retentionTimer(rec *musterv1.WorldRecord) {
	s.timer(Timer{AtNs: s.retentionEnd(rec), Kind: TimerRetention, ID: rec.Generation})
}

// retentionTimers: a change of the settings may have made them earlier.
func (s *State) retentionTimers() {
	for _, rec := range s.ended {
		s.retentionTimer(rec)
	}
}

// dropEnded forgets the i-th ended world.
func (s *State) dropEnded(i int) {
	rec := s.ended[i]
	s.ended = slices.Delete(s.ended, i, i+1)
	s.core.LastWorldDropped = s.core.Number
	s.entry.digest.dropped("ended", rec)
	delete(s.events.worlds, rec.Generation)
	s.emitDropped(rec, "is forgotten")
	s.forgetStops()
}

// removeWorld takes away a world that never was: one that awaited its creation and has no member left.
func (s *State) removeWorld(w *world) {
	s.forgetHostRanks(w)
	s.dropWorld(w.rec.World, w.rec.Generation)
	s.core.LastWorldDropped = s.core.Number
	s.entry.digest.dropped("world", w.rec)
	delete(s.events.worlds, w.rec.Generation)
	s.emitDropped(w.rec, "has no member left")
}

// latestEnded is the last ended world of that name, nil if none is kept.
func (s *State) latestEnded(name string) *musterv1.WorldRecord {
	for _, rec := range slices.Backward(s.ended) {
		if rec.World == name {
			return rec
		}
	}
	return nil
}

// endedAt finds the world of that name that lived at a number and has ended since.
func (s *State) endedAt(name string, number uint64) *musterv1.WorldRecord {
	for _, rec := range s.ended { // oldest end first: the first that ended behind number
		if rec.World == name && rec.Created < number && number < rec.Ended {
			return rec
		}
	}
	return nil
}
