package fsm

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// stagedPatience is how long a staged restore waits for its next piece, in cluster time.
const stagedPatience = int64(10 * time.Second)

// staged is a restore under way. It is part of the state, but of no snapshot: while it is there, none is taken.
type staged struct {
	begin   *musterv1.RestoreBegin
	sum     hash.Hash
	count   uint64
	seq     uint64
	lastNs  int64
	loading *loader
	pieces  unpacker
}

// applyWhileStaged holds what a staged restore lets happen: reports, confirmations, ticks and the restore's own steps. Verdicts
// of time have no effect, everything else is refused.
func (s *State) applyWhileStaged(c *musterv1.Command) (out *musterv1.Outcome, handled bool) {
	switch c.Body.(type) {
	case *musterv1.Command_Tick, *musterv1.Command_Report, *musterv1.Command_Hello, *musterv1.Command_Confirm,
		*musterv1.Command_RestoreBegin, *musterv1.Command_RestoreChunk,
		*musterv1.Command_RestoreCommit, *musterv1.Command_RestoreAbort:
		return nil, false
	case *musterv1.Command_Expire, *musterv1.Command_Due, *musterv1.Command_Undeliverable, *musterv1.Command_Brake:
		return &musterv1.Outcome{}, true
	case *musterv1.Command_NodeStart, *musterv1.Command_StopResult, *musterv1.Command_Answers:
		return refuse(musterv1.Reason_REASON_RESTORING, "a restore is under way: say it again in a moment"), true
	default:
		s.draw() // a client's request
		return refuse(musterv1.Reason_REASON_RESTORING, "a restore is under way: ask again in a moment"), true
	}
}

// forgetStaged gives up a restore whose next piece has not come.
func (s *State) forgetStaged() {
	if s.staged != nil && s.core.ClockNs > s.staged.lastNs+stagedPatience {
		s.staged = nil
	}
}

// Restoring tells whether a restore is staged.
func (s *State) Restoring() bool { return s.staged != nil }

func (s *State) applyRestoreBegin(b *musterv1.RestoreBegin) *musterv1.Outcome {
	s.draw()
	if r := s.requests.byID[string(b.GetMeta().GetId())]; r != nil {
		return s.repeated(r, restoreSum(b)) // it was committed: the answer it got
	}
	if b.GetMeta().GetIssued() < s.core.LastRequestDropped {
		return s.refuseNumber(musterv1.Reason_REASON_REQUEST_TOO_OLD,
			"the restore was first asked for before the oldest request still remembered: send it again with issued = %d", s.core.Number)
	}
	h := b.GetHeader()
	if h.GetFormat() != fileFormat {
		return refuse(musterv1.Reason_REASON_BAD_STATE_FILE, "the file has format %d, this cluster reads %d", h.GetFormat(), fileFormat)
	}
	if h.GetClusterId() != s.core.ClusterId && s.core.Generation > 0 && !b.GetAdopt() {
		return refuse(musterv1.Reason_REASON_BAD_STATE_FILE,
			"the file is of cluster %s, this is %s and has had worlds of its own: say `adopt` if you mean it", h.GetClusterId(), s.core.ClusterId)
	}
	s.staged = &staged{begin: b, sum: sha256.New(), lastNs: s.core.ClockNs, loading: newLoader(s.restorable())}
	s.entry.digest.message(b)
	return &musterv1.Outcome{}
}

// restorable is the newest version of the rules that a restored file may follow: that of the state, not that of this binary, since a node that has
// yet to be upgraded must accept or refuse the same. (Up to the version before packed pieces binaries went by what they knew themselves.)
func (s *State) restorable() uint32 { return max(s.core.MachineVersion, packedVersion-1) }

// restoreSum is what a restore's id is remembered with: the file, not the attempt.
func restoreSum(b *musterv1.RestoreBegin) []byte {
	return bodySum(&musterv1.RestoreBegin{Header: b.GetHeader(), Adopt: b.GetAdopt()})
}

func (s *State) applyRestoreChunk(c *musterv1.RestoreChunk) *musterv1.Outcome {
	t := s.staged
	if t == nil || !bytes.Equal(t.begin.RestoreId, c.GetRestoreId()) {
		return s.noRestore()
	}
	if c.GetSeq() != t.seq+1 {
		s.staged = nil
		return refuse(musterv1.Reason_REASON_BAD_STATE_FILE, "piece %d of the restore came behind piece %d: begin again", c.GetSeq(), t.seq)
	}
	t.seq, t.lastNs = c.GetSeq(), s.core.ClockNs
	s.entry.digest.message(c)
	records := c.GetRecords()
	if s.PacksRecords() && len(c.GetPacked()) > 0 {
		var ok bool
		if records, ok = t.pieces.unpack(c.GetPacked()); !ok {
			s.staged = nil
			return refuse(musterv1.Reason_REASON_BAD_STATE_FILE, "piece %d of the restore cannot be unpacked: begin again", c.GetSeq())
		}
	}
	if len(records) == 0 {
		t.loading.check()
	}
	for _, body := range records {
		if err := t.loading.add(body); err != nil {
			s.staged = nil
			return refuse(musterv1.Reason_REASON_BAD_STATE_FILE, "%v", err)
		}
		sumRecord(t.sum, body)
		t.count++
	}
	return &musterv1.Outcome{}
}

func (s *State) applyRestoreAbort(a *musterv1.RestoreAbort) *musterv1.Outcome {
	if s.staged != nil && bytes.Equal(s.staged.begin.RestoreId, a.GetRestoreId()) {
		s.staged = nil
	}
	return &musterv1.Outcome{}
}

func (s *State) noRestore() *musterv1.Outcome {
	return refuse(musterv1.Reason_REASON_BAD_STATE_FILE,
		"that restore is not under way any more (a leader change or a pause of %v ends it): begin again", nanoseconds(stagedPatience))
}

// applyRestoreCommit swaps the staged state in, if it is whole.
func (s *State) applyRestoreCommit(c *musterv1.RestoreCommit) *musterv1.Outcome {
	t := s.staged
	if t == nil || !bytes.Equal(t.begin.RestoreId, c.GetRestoreId()) {
		return s.noRestore()
	}
	s.staged = nil
	sum := t.sum.Sum(nil)
	if c.GetTrailer().GetCount() != t.count || !bytes.Equal(c.GetTrailer().GetSum(), sum) {
		return refuse(musterv1.Reason_REASON_BAD_STATE_FILE, "%d records arrived of %d, or their sum differs: the file was altered",
			t.count, c.GetTrailer().GetCount())
	}
	file, err := t.loading.finish()
	if err != nil {
		return refuse(musterv1.Reason_REASON_BAD_STATE_FILE, "%v", err)
	}
	if h := t.begin.Header; file.core.Epoch == 0 || file.core.Epoch != h.GetEpoch() || file.core.Number != h.GetNumber() ||
		file.core.ClusterId != h.GetClusterId() || !bytes.Equal(file.digest[:], h.GetDigest()) {
		return refuse(musterv1.Reason_REASON_BAD_STATE_FILE, "the file's header is not that of its records")
	}
	s.adopt(file, t.loading.dated, t.begin.UnixMicros)
	s.entry.digest.sum.Write(sum)
	s.emit(&musterv1.Event{Kind: musterv1.Event_KIND_RESTORED, Text: "the state was restored from a file"})
	out := &musterv1.Outcome{Body: &musterv1.Outcome_Restore{Restore: &musterv1.RestoreStateResponse{
		Number: s.core.Epoch, Worlds: uint32(len(s.worlds)), Procs: uint32(s.recs.len() - len(s.free)),
	}}}
	s.remember(t.begin.Meta, restoreSum(t.begin), out, s.core.Number)
	s.entry.effects.Restored = true
	return out
}

// adopt makes the file's state this one. What belongs to the cluster rather than to its history stays: its id, its nodes, the
// requests it has answered. The clock never goes back, so the file's times move with it; dated as in shiftTimes. It costs no walk over
// the members but those.
func (s *State) adopt(file *State, dated []Slot, unixMicros uint64) {
	shift := max(s.core.ClockNs-file.core.ClockNs, 0)
	core := file.core
	core.ClusterId = s.core.ClusterId
	core.ClockNs += shift
	core.Number = max(file.core.Number, s.core.Number, unixMicros) + 1
	core.Epoch = core.Number
	core.Generation = max(file.core.Generation, s.core.Generation)
	core.MachineVersion = max(file.core.MachineVersion, s.core.MachineVersion)
	core.LastRequestDropped = core.Epoch
	core.RestoreEpoch = core.Epoch
	core.LastWorldDropped = max(file.core.LastWorldDropped, s.core.LastWorldDropped)
	core.GraceUntilNs = core.ClockNs + core.Settings.GetGraceNs()
	core.BareTermStarts = 0
	core.Brake = nil // nobody is silent who has a lease
	nodes, requests, entry, digest := s.nodes, s.requests, s.entry, s.digest
	*s = *file
	s.nodes, s.requests, s.entry, s.digest = nodes, requests, entry, digest
	s.shiftTimes(shift, dated)
	s.lastReport.fill(s.core.ClockNs) // one lease for everybody; a file has no free slots
}

// shiftTimes moves every time of a state that was loaded by ns; nobody has seen its records yet, so they are changed in place. dated are the
// slots of ranks whose assignment has one.
func (s *State) shiftTimes(ns int64, dated []Slot) {
	firstCause := func(c *musterv1.Cause) {
		if c != nil {
			c.AtNs += ns
		}
	}
	for _, w := range s.worldsFrom("") {
		w.rec.Condition.SinceNs += ns
		if w.rec.Spec != nil {
			w.rec.SpecSinceNs += ns
		}
		firstCause(w.rec.FirstCause)
	}
	for _, rec := range s.ended {
		rec.Condition.SinceNs += ns
		firstCause(rec.FirstCause)
	}
	for _, op := range sorted(s.stops) {
		op.rec.DeadlineNs += ns
		if op.rec.Done {
			op.rec.DoneNs += ns
		}
		for _, t := range op.targets {
			if t.DueNs != 0 {
				t.DueNs += ns
			}
		}
	}
	for _, slot := range dated {
		s.recs.at(slot).assignment.DueNs += ns
	}
	for _, waiting := range unsorted(nil, s.pending) {
		for i, d := range waiting {
			if d.dueNs != 0 {
				waiting[i].dueNs += ns
			}
		}
	}
	shifted := map[*musterv1.Event]bool{}
	for _, ring := range append(unsorted(nil, s.events.worlds), s.events.cluster) {
		for _, e := range ring {
			if !shifted[e] {
				e.ClockNs += ns
			}
			shifted[e] = true
		}
	}
}
