package fsm_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"muster/fsm"
	"muster/fsm/fsmtest"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// drawn is a history behind which no restore is staged, and its state file.
func drawn(seed uint64, steps int) (*fsmtest.Generator, []byte) {
	g := fsmtest.NewGenerator(seed)
	for range steps {
		g.Step()
	}
	g.Start(nil)
	file, err := fsmtest.Encode(g.State)
	if err != nil {
		panic(err)
	}
	return g, file
}

// FuzzDecode: bytes are no state file, or one whose state does not contradict itself.
func FuzzDecode(f *testing.F) {
	_, file := drawn(2, 60)
	f.Add(file)
	for _, version := range []string{"v1", "v2"} {
		file, err := os.ReadFile("testdata/golden/" + version + ".state")
		require.NoError(f, err)
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := fsm.Decode(bytes.NewReader(b)); err == nil {
			useful(t, s)
		} else {
			require.ErrorIs(t, err, fsm.ErrStateFile)
		}
	})
}

// FuzzDecode_Records is FuzzDecode behind the checksums: the records are put together to a file that is whole, read as a file and
// restored as an operator would.
func FuzzDecode_Records(f *testing.F) {
	for seed := range uint64(12) {
		_, file := drawn(seed, 6+2*int(seed))
		records, _, _ := fsmtest.Records(file)
		b, err := proto.Marshal(&musterv1.RestoreChunk{Records: records})
		require.NoError(f, err)
		f.Add(b)
	}
	_, present := drawn(5, 30)
	f.Fuzz(func(t *testing.T, b []byte) {
		chunk := &musterv1.RestoreChunk{}
		if proto.Unmarshal(b, chunk) != nil {
			return
		}
		for _, r := range chunk.Records {
			if len(r) == 0 {
				return // the end mark
			}
		}
		file := fsmtest.File(chunk.Records)
		s, err := fsm.Decode(bytes.NewReader(file))
		if err != nil {
			require.ErrorIs(t, err, fsm.ErrStateFile)
		} else {
			useful(t, s)
		}
		s, err = fsm.Decode(bytes.NewReader(present))
		require.NoError(t, err)
		restore(t, s, file, b)
		useful(t, s)
	})
}

// restore has a state restored from a file, in entries, and the same with something for a packed piece before.
func restore(t *testing.T, s *fsm.State, file, packed []byte) {
	records, header, trailer := fsmtest.Records(file)
	rid := []byte("fuzz")
	begin := &musterv1.Command{Body: &musterv1.Command_RestoreBegin{RestoreBegin: &musterv1.RestoreBegin{
		Meta: &musterv1.RequestMeta{Id: rid, Issued: s.Number()}, RestoreId: rid, Header: header, Adopt: true,
	}}}
	for i, c := range []*musterv1.Command{
		begin,
		{Body: &musterv1.Command_RestoreChunk{RestoreChunk: &musterv1.RestoreChunk{RestoreId: rid, Seq: 1, Packed: packed}}},
		begin,
		{Body: &musterv1.Command_RestoreChunk{RestoreChunk: &musterv1.RestoreChunk{RestoreId: rid, Seq: 1, Packed: fsm.PackRecords(packed)}}},
		begin,
		{Body: &musterv1.Command_RestoreChunk{RestoreChunk: &musterv1.RestoreChunk{RestoreId: rid, Seq: 1, Records: records}}},
		{Body: &musterv1.Command_RestoreCommit{RestoreCommit: &musterv1.RestoreCommit{RestoreId: rid, Trailer: trailer}}},
	} {
		apply(t, s, uint64(i+1), s.ClockNs(), c)
	}
}

// apply seals commands for a state; no rule may break.
func apply(t *testing.T, s *fsm.State, index uint64, stampNs int64, commands ...*musterv1.Command) fsm.Applied {
	a, err := s.Apply(index, 1, &musterv1.Entry{Format: fsm.EntryFormat, RaftTerm: 1, Epoch: s.Epoch(), StampNs: stampNs, Commands: commands})
	require.NoError(t, err)
	require.Empty(t, a.Broken)
	return a
}

// useful: a state that was loaded does not contradict itself, saves to what loads again, can be read, and goes on.
func useful(t *testing.T, s *fsm.State) {
	require.NoError(t, s.Check())
	read(t, s)
	file, err := fsmtest.Encode(s)
	require.NoError(t, err)
	again, err := fsm.Decode(bytes.NewReader(file))
	require.NoError(t, err)
	same, err := fsmtest.Encode(again)
	require.NoError(t, err)
	require.True(t, bytes.Equal(file, same), "loads to a state with another file")
	if s.Epoch() == 0 {
		return
	}
	goOn(t, s)
	require.NoError(t, s.Check())
	read(t, s)
}

// read asks a state whatever it can be asked.
func read(t *testing.T, s *fsm.State) {
	v, err := s.View(&musterv1.ViewRequest{IncludeEnded: true})
	require.NoError(t, err)
	for _, w := range v.Worlds {
		if e, next := s.Explain(&musterv1.ExplainRequest{World: w.World}); next != 0 {
			s.ExplainMore(e, next)
		}
		s.Supervision(w.World, true).Answer()
		s.History(w.World)
		for _, p := range w.Procs {
			s.Orders(p.Proc)
			s.Explain(&musterv1.ExplainRequest{World: w.World, Rank: p.Proc.Rank, OneRank: true, Role: p.Proc.Role})
		}
		s.ViewStop(&musterv1.ViewStopRequest{Operation: w.Stop})
	}
	for _, p := range s.DetachedMembers(nil) {
		s.Orders(p)
	}
	s.Watch(&musterv1.WatchRequest{From: s.Epoch()})
	s.Events(0, 0)
	s.Status()
}

// goOn lets happen whatever is due for long, and then stops everything.
func goOn(t *testing.T, s *fsm.State) {
	stamp := s.ClockNs()
	for i := range uint64(3) {
		var timers []fsm.Timer
		for timer := range s.Timers() {
			timers = append(timers, timer)
		}
		expire, due, overdue := s.Observe(timers)
		stamp += int64(1e12)
		apply(t, s, 100+i, stamp, &musterv1.Command{Body: &musterv1.Command_Undeliverable{Undeliverable: overdue}},
			&musterv1.Command{Body: &musterv1.Command_Due{Due: due}}, &musterv1.Command{Body: &musterv1.Command_Expire{Expire: expire}})
	}
	apply(t, s, 200, stamp, &musterv1.Command{Body: &musterv1.Command_Stop{Stop: &musterv1.StopRequest{
		Meta: &musterv1.RequestMeta{Id: []byte("stop"), Issued: s.Number()}, Everything: true,
	}}})
}

// FuzzApply: what can be read as an entry is applied to a state without a rule that breaks, and the state does not contradict itself behind
// it. The entry is made one of the present term and epoch, or all would be dropped.
func FuzzApply(f *testing.F) {
	var files [][]byte
	for seed := range uint64(4) {
		g, file := drawn(seed, 60)
		files = append(files, file)
		for _, l := range g.Log[len(g.Log)/2:] {
			f.Add(byte(seed), l.Entry)
		}
	}
	for i, version := range []string{"v1", "v2"} {
		for n, entry := range goldenEntries(f, version) {
			if n%5 == 0 {
				f.Add(byte(i), entry)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		e := &musterv1.Entry{}
		if proto.Unmarshal(b, e) != nil || ranksOf(e) > 1<<16 || !namesWorlds(e.ProtoReflect()) {
			return
		}
		s, err := fsm.Decode(bytes.NewReader(files[int(which)%len(files)]))
		require.NoError(t, err)
		e.RaftTerm, e.Epoch = 1, s.Epoch()
		e.StampNs = min(e.StampNs, 1<<60)
		a, err := s.Apply(1, 1, e)
		if err != nil {
			return // of a format or with a command that is not known: nothing was changed
		}
		require.Empty(t, a.Broken)
		if !s.Restoring() {
			useful(t, s)
		}
	})
}

// namesWorlds: wherever a message is to name a world or a proc it does. What does not is refused for its form before it is proposed.
func namesWorlds(m protoreflect.Message) (ok bool) {
	ok = true
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() == protoreflect.MessageKind && f.IsList():
			for i := range v.List().Len() {
				ok = ok && namesWorlds(v.List().Get(i).Message())
			}
		case f.Kind() == protoreflect.MessageKind:
			ok = namesWorlds(v.Message())
		case f.Name() == "world":
			ok = id.WorldID(v.String()).Validate() == nil
		}
		return ok
	})
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		proc := f.Kind() == protoreflect.MessageKind && !f.IsList() && f.Message().Name() == "ProcRef"
		if (proc || f.Name() == "world" && f.Kind() == protoreflect.StringKind) && !m.Has(f) {
			return false
		}
	}
	return ok
}

// ranksOf is how many ranks an entry names in packed runs. Sessions and the collector see to it that they are of members.
func ranksOf(e *musterv1.Entry) (n uint64) {
	for _, c := range e.Commands {
		for _, g := range c.GetReport().GetGroups() {
			for from, to := range id.Intervals(g.GetRanks().GetRuns()) {
				n += uint64(to - from)
			}
		}
	}
	return n
}

func goldenEntries(f *testing.F, version string) (entries [][]byte) {
	text, err := os.ReadFile("testdata/golden/" + version + ".log")
	require.NoError(f, err)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var index, term uint64
		var body string
		_, err := fmt.Sscan(line, &index, &term, &body)
		require.NoError(f, err)
		entry, err := base64.StdEncoding.DecodeString(body)
		require.NoError(f, err)
		entries = append(entries, entry)
	}
	return entries
}
