package fsm

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/wire/wiretest"
)

// fullRecord is a message that has all fields there are, and in them all there are.
func fullRecord(t *testing.T) *musterv1.ProcRecord { return wiretest.Fill(t, &musterv1.ProcRecord{}) }

// encodedMember is a Record of a proc as protobuf writes it.
func encodedMember(t testing.TB, p *musterv1.ProcRecord) []byte {
	return wiretest.Marshal(t, &musterv1.Record{Body: &musterv1.Record_Proc{Proc: p}})
}

// someRecords are messages with every field there is, alone and with all others, and with values that are special.
func someRecords(t *testing.T) map[string]*musterv1.ProcRecord {
	place := func() *musterv1.ProcRef {
		return &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_HOST, Rank: 1<<24 - 1, Incarnation: 1<<64 - 1}
	}
	full := fullRecord(t)
	timeouts := wiretest.Unknown(proto.CloneOf(full.Timeouts))
	records := map[string]*musterv1.ProcRecord{
		"everything":       full,
		"nothing":          {Proc: place()},
		"short nonce":      {Proc: place(), Nonce: []byte{1}},
		"common nonce":     {Proc: place(), Nonce: bytes.Repeat([]byte{0}, nonceSize)},
		"longer nonce":     {Proc: place(), Nonce: bytes.Repeat([]byte{2}, nonceSize+1)},
		"long nonce":       {Proc: place(), Nonce: bytes.Repeat([]byte{3}, 300)},
		"unknown enums":    {Proc: place(), Mode: -1, Health: 1 << 30},
		"empty messages":   {Proc: place(), Timeouts: &musterv1.Timeouts{}, Assignment: &musterv1.Assignment{}, Labels: []*musterv1.Label{{}, {Key: "k"}}},
		"negative":         {Proc: place(), LastReportNs: -1, Timeouts: &musterv1.Timeouts{EvictionNs: -1}},
		"unknown timeouts": {Proc: place(), Timeouts: timeouts},
	}
	for name, p := range wiretest.Alone(full) {
		p.Proc = place()
		records[name] = p
	}
	return records
}

// TestAppendMember_AsProtobuf: a record is written as the message that it was made of, whatever that had, and is read again.
func TestAppendMember_AsProtobuf(t *testing.T) {
	var shared interner
	reader := memberReader{shared: &shared}
	before := []byte("before")
	for name, p := range someRecords(t) {
		t.Run(name, func(t *testing.T) {
			want := encodedMember(t, p)
			rec := shared.recordOf(proto.CloneOf(p))
			require.Equal(t, memberOf(p.Proc), rec.member())
			require.True(t, rec.joinedWith(p.Nonce))
			require.False(t, rec.joinedWith(append(bytes.Clone(p.Nonce), 0)))
			require.True(t, proto.Equal(p.Proc, rec.ref()))
			require.Equal(t, append(bytes.Clone(before), want...), appendMember(bytes.Clone(before), rec, p.LastReportNs, procKind))

			detached := wiretest.Marshal(t, &musterv1.Record{Body: &musterv1.Record_Detached{Detached: p}})
			require.Equal(t, detached, appendMember(nil, rec, p.LastReportNs, detachedKind))

			for range 2 { // the second time with the timeouts of the first
				read, lastReportNs := reader.read(want)
				require.NotNil(t, read, "is left to protobuf")
				require.Equal(t, want, appendMember(nil, read, lastReportNs, procKind))
				require.Equal(t, rec, read)
			}
		})
	}
}

// TestMemberReader_KeepsNothing: what was read stays when the bytes that it was read from change.
func TestMemberReader_KeepsNothing(t *testing.T) {
	for name, p := range someRecords(t) {
		body := encodedMember(t, p)
		want := bytes.Clone(body)
		rec, lastReportNs := (&memberReader{shared: &interner{}}).read(body)
		clear(body)
		require.Equal(t, want, appendMember(nil, rec, lastReportNs, procKind), name)
	}
}

// TestMemberReader_LeavesToProtobuf: what appendMember would have written otherwise is not read.
func TestMemberReader_LeavesToProtobuf(t *testing.T) {
	whole := encodedMember(t, fullRecord(t))
	proc := wiretest.Marshal(t, fullRecord(t))
	field := func(n protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), b)
	}
	number := func(n protowire.Number) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), 1)
	}
	nothing := &musterv1.ProcRecord{Proc: &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Incarnation: 1}}
	with := func(change func(p *musterv1.ProcRecord)) []byte {
		p := proto.CloneOf(nothing)
		change(p)
		return encodedMember(t, p)
	}
	reader := memberReader{shared: &interner{}}
	rec, _ := reader.read(whole)
	require.NotNil(t, rec)
	for name, body := range map[string][]byte{
		"empty":            {},
		"empty proc":       field(4, nil),
		"cut off":          whole[:len(whole)-1],
		"a second one":     append(bytes.Clone(whole), whole...),
		"another kind":     field(5, proc),
		"a field twice":    field(4, append(bytes.Clone(proc), number(14)...)),
		"out of order":     field(4, append(number(14), proc...)),
		"unknown":          field(4, append(bytes.Clone(proc), number(99)...)),
		"another type":     field(4, append(number(2), proc...)),
		"not UTF-8":        bytes.Replace(whole, []byte("machine"), []byte("machin\xff"), 1),
		"timeouts damaged": field(4, append(field(1, wiretest.Marshal(t, nothing.Proc)), field(10, []byte{1})...)),
		"no world":         with(func(p *musterv1.ProcRecord) { p.Proc.World = "" }),
		"no role":          with(func(p *musterv1.ProcRecord) { p.Proc.Role = 0 }),
		"role unknown":     with(func(p *musterv1.ProcRecord) { p.Proc.Role = 3 }),
		"rank too high":    with(func(p *musterv1.ProcRecord) { p.Proc.Rank = 1 << 24 }),
		"no incarnation":   with(func(p *musterv1.ProcRecord) { p.Proc.Incarnation = 0 }),
	} {
		for range 2 {
			rec, _ := reader.read(body)
			require.Nil(t, rec, name)
		}
	}
}

// FuzzMemberReader: what is read is what protobuf reads.
func FuzzMemberReader(f *testing.F) {
	f.Add(encodedMember(f, &musterv1.ProcRecord{
		Proc:  &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: 3, Incarnation: 7},
		Nonce: []byte("nonce"), Key: "k", Machine: "m", Address: "a", Labels: []*musterv1.Label{{Key: "x"}}, Mode: 1, Health: 1, Cause: "c",
		Timeouts: &musterv1.Timeouts{LeaseNs: 1}, FailedActors: []*musterv1.FailedActor{{Actor: "f"}}, FailedActorCount: 1, LastReportNs: 5,
		HighestOrder: 6, Assignment: &musterv1.Assignment{Order: 1},
	}))
	f.Fuzz(func(t *testing.T, body []byte) {
		var shared interner
		rec, lastReportNs := (&memberReader{shared: &shared}).read(body)
		if rec == nil {
			return
		}
		r := &musterv1.Record{}
		require.NoError(t, proto.Unmarshal(body, r))
		require.Empty(t, r.ProtoReflect().GetUnknown())
		require.Equal(t, appendMember(nil, shared.recordOf(r.GetProc()), r.GetProc().GetLastReportNs(), procKind), appendMember(nil, rec, lastReportNs, procKind))
	})
}
