package fsm

import (
	"bytes"
	"crypto/sha256"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/wire"
)

// requestTable remembers what was answered to whom, so that a retried request is applied once. It is bounded by time and
// by size; nothing younger than the window is ever dropped to make room.
type requestTable struct {
	byID   map[string]*musterv1.RequestRecord
	oldest []*musterv1.RequestRecord // in order of their numbers
	bytes  int                       // of the outcomes
}

// maxRequestBytes bounds the answers kept, since one may be as large as a record.
const maxRequestBytes = 64 << 20

func newRequestTable() requestTable {
	return requestTable{byID: map[string]*musterv1.RequestRecord{}}
}

func (t *requestTable) add(r *musterv1.RequestRecord) {
	t.byID[string(r.Id)] = r
	t.oldest = append(t.oldest, r)
	t.bytes += len(r.Outcome)
}

// forgetRequests drops those older than the window and remembers the greatest number dropped.
func (s *State) forgetRequests() {
	t, settings := &s.requests, s.core.Settings
	n := 0
	for n < len(t.oldest) && t.oldest[n].ClockNs+settings.GetRequestWindowNs() < s.core.ClockNs {
		delete(t.byID, string(t.oldest[n].Id))
		t.bytes -= len(t.oldest[n].Outcome)
		s.entry.digest.dropped("request", t.oldest[n])
		s.core.LastRequestDropped = max(s.core.LastRequestDropped, t.oldest[n].Number)
		n++
	}
	if n > 0 {
		clear(t.oldest[:n])
		t.oldest = t.oldest[n:] // what is in front goes with the next growth
	}
}

// once applies a client request that has no key of its own: the same id gets the answer it got before, whatever that was.
func (s *State) once(meta *musterv1.RequestMeta, body proto.Message, apply func() *musterv1.Outcome) *musterv1.Outcome {
	number := s.draw()
	sum := bodySum(body)
	if r := s.requests.byID[string(meta.GetId())]; r != nil {
		return s.repeated(r, sum)
	}
	if meta.GetIssued() < s.core.LastRequestDropped {
		return s.refuseNumber(musterv1.Reason_REASON_REQUEST_TOO_OLD,
			"the request was first sent before the oldest one still remembered: it may have been applied already; "+
				"if you know it was not, send it again with issued = %d", number)
	}
	if uint32(len(s.requests.byID)) >= s.core.Settings.GetRequestTableSize() || s.requests.bytes > maxRequestBytes {
		return refuse(musterv1.Reason_REASON_FULL,
			"the request table is full with %d requests of the last %v: slow down and send it again", len(s.requests.byID),
			nanoseconds(s.core.Settings.GetRequestWindowNs()))
	}
	outcome := apply()
	s.remember(meta, sum, outcome, number)
	return outcome
}

func (s *State) repeated(r *musterv1.RequestRecord, sum []byte) *musterv1.Outcome {
	if !bytes.Equal(r.Body, sum) {
		return refuseField(musterv1.Reason_REASON_REQUEST_ID_REUSED, "meta.id",
			"the request id was used before for another request: draw a new one")
	}
	out := &musterv1.Outcome{}
	if err := proto.Unmarshal(r.Outcome, out); err != nil {
		panic(err) // written by remember
	}
	return out
}

func (s *State) remember(meta *musterv1.RequestMeta, sum []byte, outcome *musterv1.Outcome, number uint64) {
	b, err := wire.Append(nil, outcome)
	if err != nil {
		panic(err)
	}
	r := &musterv1.RequestRecord{Id: meta.GetId(), Body: sum, Outcome: b, Number: number, ClockNs: s.core.ClockNs}
	s.requests.add(r)
	s.entry.digest.record(&musterv1.Record{Body: &musterv1.Record_Request{Request: r}})
}

// bodySum tells requests with the same id apart: it covers everything but the meta.
func bodySum(m proto.Message) []byte {
	c := proto.Clone(m)
	if f := c.ProtoReflect().Descriptor().Fields().ByName("meta"); f != nil {
		c.ProtoReflect().Clear(f)
	}
	b, err := wire.Append(nil, c)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(append([]byte(c.ProtoReflect().Descriptor().FullName()+"\x00"), b...))
	return sum[:16]
}
