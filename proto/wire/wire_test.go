package wire

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/wire/wiretest"
)

func commandOf(j *musterv1.JoinRequest) *musterv1.Command {
	return &musterv1.Command{Body: &musterv1.Command_Join{Join: j}}
}

func outcomeOf(j *musterv1.JoinResponse) *musterv1.Outcome {
	return &musterv1.Outcome{Body: &musterv1.Outcome_Join{Join: j}}
}

// joinRequest has all fields that are written by hand.
func joinRequest(t testing.TB) *musterv1.JoinRequest {
	j := wiretest.Fill(t, &musterv1.JoinRequest{})
	j.Earlier = nil
	return j
}

// usual are messages as they travel, which must not be left to protobuf.
func usual(t testing.TB) map[string]proto.Message {
	request, response := joinRequest(t), wiretest.Fill(t, &musterv1.JoinResponse{})
	messages := map[string]proto.Message{
		"request":           request,
		"response":          response,
		"outcome":           outcomeOf(response),
		"no request":        &musterv1.JoinRequest{},
		"no response":       &musterv1.JoinResponse{},
		"extremes":          &musterv1.JoinRequest{Role: -1, Mode: math.MaxInt32, Rank: math.MaxUint32, Issued: math.MaxUint64},
		"negative":          &musterv1.JoinResponse{OrphanNs: -1, Timeouts: &musterv1.Timeouts{EvictionNs: -1}},
		"unknown timeouts":  &musterv1.JoinResponse{Timeouts: wiretest.Unknown(&musterv1.Timeouts{LeaseNs: 1})},
		"empty messages":    &musterv1.JoinResponse{Proc: &musterv1.ProcRef{}, Timeouts: &musterv1.Timeouts{}},
		"labels":            &musterv1.JoinRequest{Labels: []*musterv1.Label{{}, wiretest.Unknown(&musterv1.Label{Key: "k"}), {Value: "ü"}}},
		"long":              &musterv1.JoinRequest{Machine: string(bytes.Repeat([]byte("m"), 300)), Nonce: make([]byte, 20_000)},
		"entry":             &musterv1.Entry{Format: 1, RaftTerm: 2, Epoch: 3, StampNs: 4, WallMs: 5, Commands: []*musterv1.Command{commandOf(request)}},
		"entry of nothing":  &musterv1.Entry{},
		"entry before 1970": &musterv1.Entry{StampNs: -1, WallMs: math.MinInt64},
		"entry of all sorts": &musterv1.Entry{Commands: []*musterv1.Command{
			commandOf(&musterv1.JoinRequest{World: "w", Earlier: []uint64{1, 1 << 60}}),
			{Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}}, commandOf(request), commandOf(&musterv1.JoinRequest{}), {},
			{Body: (*musterv1.Command_Join)(nil)},
			{Body: &musterv1.Command_Leave{Leave: wiretest.Fill(t, &musterv1.LeaveRequest{})}}, wiretest.Unknown(&musterv1.Command{}), commandOf(request),
		}},
	}
	for name, m := range wiretest.Alone(request) {
		messages["request of "+name] = m
	}
	for name, m := range wiretest.Alone(response) {
		messages["response of "+name] = m
	}
	return messages
}

// unusual are messages of the same types that are left to protobuf.
func unusual(t testing.TB) map[string]proto.Message {
	request, response := joinRequest(t), wiretest.Fill(t, &musterv1.JoinResponse{})
	place := proto.CloneOf(response)
	wiretest.Unknown(place.Proc)
	return map[string]proto.Message{
		"earlier":               wiretest.Fill(t, &musterv1.JoinRequest{}),
		"unknown in a request":  wiretest.Unknown(proto.CloneOf(request)),
		"unknown in a response": wiretest.Unknown(proto.CloneOf(response)),
		"unknown in a place":    place,
		"unknown in an outcome": wiretest.Unknown(outcomeOf(response)),
		"unknown in a command":  &musterv1.Entry{Commands: []*musterv1.Command{wiretest.Unknown(commandOf(request))}},
		"unknown in an entry":   wiretest.Unknown(&musterv1.Entry{Commands: []*musterv1.Command{commandOf(request)}}),
		"another outcome":       &musterv1.Outcome{Body: &musterv1.Outcome_Refusal{Refusal: wiretest.Fill(t, &musterv1.Refusal{})}},
		"an outcome of nothing": &musterv1.Outcome{},
		"nil in an outcome":     outcomeOf(nil),
		"a nil outcome":         &musterv1.Outcome{Body: (*musterv1.Outcome_Join)(nil)},
	}
}

// TestAppend_AsProtobuf: what is written by hand is what protobuf writes, behind what is there already.
func TestAppend_AsProtobuf(t *testing.T) {
	check := func(name string, m proto.Message) {
		want := wiretest.Marshal(t, m)
		got, err := Append([]byte("before"), m)
		require.NoError(t, err, name)
		require.Equal(t, append([]byte("before"), want...), got, name)
		require.Equal(t, len(want), Size(m), name)
	}
	for name, m := range usual(t) {
		_, ok := appendByHand(nil, m)
		require.True(t, ok, "%s: is left to protobuf", name)
		check(name, m)
	}
	for name, m := range unusual(t) {
		_, ok := appendByHand(nil, m)
		require.False(t, ok, name)
		check(name, m)
	}
	for name, c := range map[string]*musterv1.Command{
		"join": commandOf(joinRequest(t)), "earlier": commandOf(wiretest.Fill(t, &musterv1.JoinRequest{})), "nil": commandOf(nil), "nil body": {Body: (*musterv1.Command_Join)(nil)}, "nothing": {}, "unknown": wiretest.Unknown(commandOf(&musterv1.JoinRequest{})),
		"unknown inside": commandOf(wiretest.Unknown(&musterv1.JoinRequest{World: "w"})), "tick": {Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}},
	} {
		check("command "+name, c)
	}
}

// TestAppendEvent_AsProtobuf is the same for events.
func TestAppendEvent_AsProtobuf(t *testing.T) {
	full := wiretest.Fill(t, &musterv1.Event{})
	events := wiretest.Alone(full)
	events["everything"], events["nothing"], events["unknown"] = full, &musterv1.Event{}, wiretest.Unknown(proto.CloneOf(full))
	events["negative"] = &musterv1.Event{ClockNs: -1, WallMs: -1}
	for name, e := range events {
		got, err := AppendEvent([]byte("before"), e)
		require.NoError(t, err, name)
		require.Equal(t, append([]byte("before"), wiretest.Marshal(t, &musterv1.Record{Body: &musterv1.Record_Event{Event: e}})...), got, name)
	}
}

// TestAppend_RefusesWhatProtobufRefuses: text that is not UTF-8, wherever it is.
func TestAppend_RefusesWhatProtobufRefuses(t *testing.T) {
	const bad = "\xff"
	for name, m := range map[string]proto.Message{
		"world":   &musterv1.JoinRequest{World: bad},
		"key":     &musterv1.JoinRequest{Key: bad},
		"machine": &musterv1.JoinRequest{Machine: bad},
		"address": &musterv1.JoinRequest{Address: bad},
		"label":   &musterv1.JoinRequest{Labels: []*musterv1.Label{{Value: bad}}},
		"place":   &musterv1.JoinResponse{Proc: &musterv1.ProcRef{World: bad}},
		"outcome": outcomeOf(&musterv1.JoinResponse{Proc: &musterv1.ProcRef{World: bad}}),
		"entry":   &musterv1.Entry{Commands: []*musterv1.Command{commandOf(&musterv1.JoinRequest{World: bad})}},
	} {
		_, want := options.Marshal(m)
		require.Error(t, want, name)
		_, err := Append(nil, m)
		require.EqualError(t, err, want.Error(), name)
	}
	for _, e := range []*musterv1.Event{{World: bad}, {Text: bad}} {
		_, err := AppendEvent(nil, e)
		require.Error(t, err)
	}
}

// TestUnmarshal_ByHand: what was written is read again, without protobuf, and nothing is kept of the bytes.
func TestUnmarshal_ByHand(t *testing.T) {
	for name, m := range usual(t) {
		if _, written := m.(*musterv1.Outcome); written {
			continue // only written
		}
		b := wiretest.Marshal(t, m)
		got := m.ProtoReflect().New().Interface()
		byHand := readByHand(bytes.Clone(b), got)
		if name == "unknown timeouts" {
			require.False(t, byHand, "what is unknown is left to protobuf")
			continue
		}
		require.True(t, byHand, "%s: is left to protobuf", name)
		require.True(t, proto.Equal(m, got), "%s: %v", name, got)

		again := m.ProtoReflect().New().Interface()
		require.NoError(t, Unmarshal(b, again), name)
		clear(b)
		require.True(t, proto.Equal(m, again), "%s: %v", name, again)
	}
}

// TestUnmarshal_Empties: what a message had before is gone, whoever reads it.
func TestUnmarshal_Empties(t *testing.T) {
	for name, b := range map[string][]byte{
		"by hand":     wiretest.Marshal(t, &musterv1.JoinRequest{World: "new"}),
		"by protobuf": append(wiretest.Marshal(t, &musterv1.JoinRequest{Rank: 3}), wiretest.Marshal(t, &musterv1.JoinRequest{World: "new", Rank: 0})...),
	} {
		m := wiretest.Fill(t, &musterv1.JoinRequest{})
		require.NotEmpty(t, m.Earlier)
		require.NoError(t, Unmarshal(b, m), name)
		want := &musterv1.JoinRequest{}
		require.NoError(t, proto.Unmarshal(b, want), name)
		require.True(t, proto.Equal(want, m), "%s: %v", name, m)
	}
}

// strange are bytes that Append would not have written, of which protobuf makes something or nothing.
func strange(t testing.TB) map[string][]byte {
	request := wiretest.Marshal(t, joinRequest(t))
	number := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	field := func(n protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), b)
	}
	join := func(n int) []byte {
		b := []byte(nil)
		for range n {
			b = append(b, field(3, request)...)
		}
		return b
	}
	return map[string][]byte{
		"cut off":             request[:len(request)-1],
		"twice":               append(bytes.Clone(request), request...),
		"out of order":        append(number(15, 1), request...),
		"unknown":             append(bytes.Clone(request), number(99, 1)...),
		"another type":        append(bytes.Clone(request), number(1, 1)...),
		"zeros":               append(field(1, nil), append(number(2, 0), field(10, nil)...)...),
		"longer than needed":  {0x18, 0x83, 0x80, 0x00},
		"too great":           number(3, math.MaxUint64),
		"true is not 1":       number(4, 7),
		"not UTF-8":           field(1, []byte("\xff")),
		"a label cut off":     field(8, []byte{0x0a, 5}),
		"a label not UTF-8":   field(8, field(1, []byte("\xff"))),
		"a group":             {0x0b, 0x0c},
		"field 0":             {0x00},
		"commands":            append(field(6, join(1)), field(6, join(2))...),
		"a command and more":  field(6, append(join(1), number(99, 1)...)),
		"a join not UTF-8":    field(6, field(3, field(1, []byte("\xff")))),
		"two in one command":  field(6, append(field(2, nil), join(1)...)),
		"an empty join":       field(6, field(3, nil)),
		"an empty command":    field(6, nil),
		"commands then stamp": append(field(6, join(1)), number(4, 1)...),
	}
}

// readable are the types that Unmarshal reads by hand.
var readable = []proto.Message{&musterv1.Entry{}, &musterv1.JoinRequest{}, &musterv1.JoinResponse{}}

// requireAsProtobuf holds that b is read as protobuf reads it, as whatever it may be.
func requireAsProtobuf(t *testing.T, b []byte) {
	for _, as := range readable {
		want, got := as.ProtoReflect().New().Interface(), as.ProtoReflect().New().Interface()
		refusal := proto.Unmarshal(b, want)
		err := Unmarshal(b, got)
		if refusal != nil {
			require.EqualError(t, err, refusal.Error(), "%T", as)
			continue
		}
		require.NoError(t, err, "%T", as)
		require.True(t, proto.Equal(want, got), "%T: %v, want %v", as, got, want)
		whole, err := Append(nil, got)
		require.NoError(t, err)
		require.Equal(t, string(wiretest.Marshal(t, want)), string(whole), "%T", as)
		require.Equal(t, len(whole), Size(got), "%T", as)
	}
}

func TestUnmarshal_AsProtobuf(t *testing.T) {
	for name, b := range strange(t) {
		t.Run(name, func(t *testing.T) { requireAsProtobuf(t, b) })
	}
}

// FuzzUnmarshal: whatever comes is read as protobuf reads it, and written as protobuf writes it.
func FuzzUnmarshal(f *testing.F) {
	for _, m := range usual(f) {
		f.Add(wiretest.Marshal(f, m))
	}
	for _, b := range strange(f) {
		f.Add(b)
	}
	f.Fuzz(requireAsProtobuf)
}

// TestAppend_AllocatesNothing where there is room.
func TestAppend_AllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 1<<10)
	for _, m := range []proto.Message{
		&musterv1.JoinRequest{World: "w", Key: "k", Machine: "m", Address: "a", Nonce: make([]byte, 16)},
		outcomeOf(&musterv1.JoinResponse{Proc: &musterv1.ProcRef{World: "w"}, Timeouts: &musterv1.Timeouts{LeaseNs: 1}}),
	} {
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = Append(buf, m) }), "%T", m)
		require.Zero(t, testing.AllocsPerRun(100, func() { Size(m) }), "%T", m)
	}
	e := &musterv1.Event{World: "w", Ranks: []byte{1}, Text: "on m"}
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = AppendEvent(buf, e) }))
}

// BenchmarkJoin is what a join's messages cost on the way through client, leader and log, by hand and by protobuf.
func BenchmarkJoin(b *testing.B) {
	request := &musterv1.JoinRequest{World: "bench-joins", Rank: 12345, Key: "bench", Machine: "bench", Address: "tcp:bench:1", Nonce: make([]byte, 16), Issued: 1 << 50}
	entry := &musterv1.Entry{Format: 1, RaftTerm: 2, Epoch: 1 << 50, StampNs: 1 << 40, WallMs: 1 << 40}
	for range 64 {
		entry.Commands = append(entry.Commands, commandOf(request))
	}
	buf := make([]byte, 0, 1<<20)
	for name, way := range map[string]struct {
		marshal   func([]byte, proto.Message) ([]byte, error)
		unmarshal func([]byte, proto.Message) error
	}{"hand": {Append, Unmarshal}, "protobuf": {options.MarshalAppend, proto.Unmarshal}} {
		for kind, m := range map[string]proto.Message{"request": request, "entry": entry} {
			encoded := wiretest.Marshal(b, m)
			b.Run("append/"+kind+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, _ = way.marshal(buf, m)
				}
			})
			b.Run("unmarshal/"+kind+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := way.unmarshal(encoded, m.ProtoReflect().New().Interface()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
