package fsm

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// record is a member as the state holds it, of a world or Detached. It is replaced, never changed, so that it may be kept and read without a
// lock; its setters are for who has just made it. There may be a million of them, and as messages each takes three times the memory: a
// ProcRecord, its ProcRef and its nonce, and in both messages what protobuf keeps for itself. Its 112 bytes are a size that the allocator
// has. Files and the digest have it in protobuf's encoding (appendMember), answers and effects by ref.
type record struct {
	worldName    *string // shared, as is machineName; nil: empty
	incarnation  uint64
	highestOrder uint64
	timeouts     *musterv1.Timeouts   // shared
	assignment   *musterv1.Assignment // nil: no host runs it
	rare         *rareFacts           // nil: it has none
	machineName  *string
	texts        string // the key, and the address behind it
	keyLength    uint32
	nonceLength  uint8 // 0 where it is among the rare facts
	nonce        [nonceSize]byte
	rank         uint32
	role         musterv1.Role
	mode         musterv1.Mode
	health       musterv1.Health
}

// nonceSize is the length of the nonces that clients draw. A log or a file may hold others.
const nonceSize = 16

// rareFacts are what few members have.
type rareFacts struct {
	labels           []*musterv1.Label
	cause            string
	failedActors     []*musterv1.FailedActor
	failedActorCount uint32
	longNonce        []byte // nil unless it is longer than nonceSize
	lastReportNs     int64  // of a Detached member, as a file had it: those do not report
}

func (f *rareFacts) empty() bool {
	return len(f.labels) == 0 && f.cause == "" && len(f.failedActors) == 0 && f.failedActorCount == 0 && f.longNonce == nil && f.lastReportNs == 0
}

// newRecord begins a record of a place under a new incarnation.
func (s *State) newRecord(m member, mode musterv1.Mode, timeouts *musterv1.Timeouts) *record {
	return &record{
		worldName: s.shared.pointer(m.world), role: m.role, rank: m.rank, incarnation: s.draw(), mode: mode, timeouts: timeouts,
	}
}

// assign gives it to a host to start, for the key and on the machine of another record.
func (r *record) assign(like *record) {
	r.setTexts(like.key(), "")
	r.machineName = like.machineName
	r.assignment = &musterv1.Assignment{State: musterv1.Assignment_STATE_ASSIGNED}
}

// clone is a copy to be changed, with an assignment of its own.
func (r *record) clone() *record {
	c := *r
	if r.assignment != nil {
		c.assignment = proto.CloneOf(r.assignment)
	}
	return &c
}

func (r *record) member() member { return member{r.world(), r.role, r.rank} }

// ref is a new message that names it; nil where there is no record.
func (r *record) ref() *musterv1.ProcRef {
	if r == nil {
		return nil
	}
	return r.member().ref(r.incarnation)
}

func (r *record) world() string   { return pointedAt(r.worldName) }
func (r *record) machine() string { return pointedAt(r.machineName) }

func (r *record) key() string     { return r.texts[:r.keyLength] }
func (r *record) address() string { return r.texts[r.keyLength:] }

func (r *record) setTexts(key, address string) {
	r.texts, r.keyLength = key+address, uint32(len(key))
}

func (r *record) setAddress(address string) { r.setTexts(r.key(), address) }

// assigned is its assignment; nil, too, where there is no record.
func (r *record) assigned() *musterv1.Assignment {
	if r == nil {
		return nil
	}
	return r.assignment
}

// isAlive is false where there is no record.
func (r *record) isAlive() bool { return r != nil && r.health == musterv1.Health_HEALTH_ALIVE }

func (r *record) facts() rareFacts {
	if r.rare == nil {
		return rareFacts{}
	}
	return *r.rare
}

func (r *record) setFacts(f rareFacts) {
	r.rare = nil
	if !f.empty() {
		kept := f // not f itself, or each call would allocate
		r.rare = &kept
	}
}

func (r *record) labels() []*musterv1.Label { return r.facts().labels }
func (r *record) cause() string             { return r.facts().cause }

func (r *record) failedActors() []*musterv1.FailedActor { return r.facts().failedActors }
func (r *record) failedActorCount() uint32              { return r.facts().failedActorCount }

func (r *record) setLabels(labels []*musterv1.Label) {
	f := r.facts()
	f.labels = labels
	r.setFacts(f)
}

// setHealth notes how it is, and why.
func (r *record) setHealth(health musterv1.Health, cause string) {
	r.health = health
	f := r.facts()
	f.cause = cause
	r.setFacts(f)
}

func (r *record) setFailedActors(actors []*musterv1.FailedActor, count uint32) {
	f := r.facts()
	f.failedActors, f.failedActorCount = actors, count
	r.setFacts(f)
}

func (r *record) setNonce(nonce []byte) {
	f := r.facts()
	f.longNonce = nil
	if len(nonce) > nonceSize {
		f.longNonce, nonce = slices.Clone(nonce), nil
	}
	r.nonceLength = uint8(copy(r.nonce[:], nonce))
	r.setFacts(f)
}

// joinedWith tells whether a nonce is that of the join that made it.
func (r *record) joinedWith(nonce []byte) bool { return bytes.Equal(r.nonceBytes(), nonce) }

// nonceBytes is not to be changed.
func (r *record) nonceBytes() []byte {
	if long := r.facts().longNonce; long != nil {
		return long
	}
	return r.nonce[:r.nonceLength]
}

// recordOf is the record of a message that was read, which names a place and an incarnation. Its last report is left out.
func (i *interner) recordOf(p *musterv1.ProcRecord) *record {
	i.labels(p.Labels)
	r := &record{
		worldName: i.pointer(p.Proc.World), role: p.Proc.Role, rank: p.Proc.Rank, incarnation: p.Proc.Incarnation,
		machineName: i.pointer(p.Machine), mode: p.Mode, health: p.Health, timeouts: p.Timeouts, highestOrder: p.HighestOrder, assignment: p.Assignment,
	}
	r.setTexts(p.Key, p.Address)
	r.setFacts(rareFacts{labels: p.Labels, cause: p.Cause, failedActors: p.FailedActors, failedActorCount: p.FailedActorCount})
	r.setNonce(p.Nonce)
	return r
}
