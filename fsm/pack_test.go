package fsm_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

func pack(records ...[]byte) []byte {
	var all []byte
	for _, r := range records {
		all = fsm.AppendRecord(all, r)
	}
	return fsm.PackRecords(all)
}

// packed sends a piece that is.
func (r *restoring) packed(id string, seq uint64, packed []byte) *musterv1.Outcome {
	return r.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreChunk{RestoreChunk: &musterv1.RestoreChunk{
		RestoreId: []byte(id), Seq: seq, Packed: packed,
	}}})[0]
}

// TestRestore_Packed: pieces that are packed come to the same state as others, and both may come in one restore.
func TestRestore_Packed(t *testing.T) {
	states := map[string][]*musterv1.Record{}
	for name, send := range map[string]func(r *restoring){
		"records": func(r *restoring) {
			require.Nil(t, r.chunk("a", 1, r.records[:2]).Body)
			require.Nil(t, r.chunk("a", 2, r.records[2:]).Body)
		},
		"packed": func(r *restoring) {
			require.Nil(t, r.packed("a", 1, pack(r.records[:2]...)).Body)
			require.Nil(t, r.packed("a", 2, pack(r.records[2:]...)).Body)
		},
		"both": func(r *restoring) {
			require.Nil(t, r.chunk("a", 1, r.records[:2]).Body)
			require.Nil(t, r.packed("a", 2, pack(r.records[2:]...)).Body)
		},
	} {
		r := newRestoring(t)
		require.Nil(t, r.begin("a", false).Body)
		send(r)
		require.Equal(t, uint32(1), r.commit("a").GetRestore().GetProcs(), name)
		require.NoError(t, r.State.Check(), name)
		file, err := fsmtest.Encode(r.State)
		require.NoError(t, err)
		states[name] = withoutDigest(t, file)
	}
	for name, records := range states {
		require.Len(t, records, len(states["records"]), name)
		for i, r := range records {
			require.True(t, proto.Equal(states["records"][i], r), "%s: %v", name, r)
		}
	}
}

// withoutDigest is the records of a file without the digest, which says how the state came to be.
func withoutDigest(t *testing.T, file []byte) []*musterv1.Record {
	bodies, _, _ := fsmtest.Records(file)
	records := make([]*musterv1.Record, len(bodies))
	for i, b := range bodies {
		records[i] = &musterv1.Record{}
		require.NoError(t, proto.Unmarshal(b, records[i]))
	}
	require.NotEmpty(t, records[0].GetCore().GetDigest())
	records[0].GetCore().Digest = nil
	return records
}

// TestRestore_PackedRefused: what cannot be unpacked, or would take more room than a piece may, ends the restore before it is looked at.
func TestRestore_PackedRefused(t *testing.T) {
	const unpacking, reading = "piece 1 of the restore cannot be unpacked", "a record cannot be read"
	for _, c := range []struct {
		name   string
		packed func(r *restoring) []byte
		want   string
	}{
		{"not packed", func(*restoring) []byte { return []byte("not packed") }, unpacking},
		{"cut off", func(r *restoring) []byte { b := pack(r.records...); return b[:len(b)-1] }, unpacking},
		{"a record cut off", func(*restoring) []byte { return s2.Encode(nil, []byte{5, 1, 2}) }, unpacking},
		{"a length without end", func(*restoring) []byte { return s2.Encode(nil, bytes.Repeat([]byte{0xff}, 20)) }, unpacking},
		{"larger than a piece", func(*restoring) []byte { return pack(bytes.Repeat([]byte{0xff}, 256<<10+1)) }, unpacking},
		{"claims to be large", func(*restoring) []byte { return protowire.AppendVarint(nil, 1<<31-1) }, unpacking},
		{"as large as may be", func(*restoring) []byte { return pack(bytes.Repeat([]byte{0xff}, 256<<10)) }, reading},
		{"a record that is none", func(*restoring) []byte { return pack([]byte{0xff}) }, reading},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRestoring(t)
			require.Nil(t, r.begin("a", false).Body)
			refusal := r.packed("a", 1, c.packed(r)).GetRefusal()
			require.Equal(t, musterv1.Reason_REASON_BAD_STATE_FILE, refusal.GetReason())
			require.Contains(t, refusal.GetMessage(), c.want)
			require.False(t, r.State.Restoring())
			require.Equal(t, 2, r.procs())
		})
	}
}

// TestRestore_PackedIsNew: by the rules of before a packed piece has no records, on every node.
func TestRestore_PackedIsNew(t *testing.T) {
	r := &restoring{Machine: fsmtest.NewMachine()}
	r.MachineVersion = 4
	r.Start(nil)
	r.join(t, "w", 0)
	require.False(t, r.State.PacksRecords())
	file, err := fsmtest.Encode(r.State)
	require.NoError(t, err)
	r.records, r.header, r.trailer = fsmtest.Records(file)
	require.Nil(t, r.begin("a", false).Body)
	require.Nil(t, r.packed("a", 1, pack(r.records...)).Body)
	require.Contains(t, r.commit("a").GetRefusal().GetMessage(), "0 records arrived")
	require.Nil(t, r.begin("b", false).Body)
	require.Nil(t, r.chunk("b", 1, r.records).Body)
	require.NotNil(t, r.commit("b").GetRestore())
}

// TestRestore_NewerRules: while another node has yet to be upgraded, which would not know what a file follows, no node restores it. Before there were
// packed pieces, each binary restored what it knew itself.
func TestRestore_NewerRules(t *testing.T) {
	newest := newRestoring(t)
	for rules, known := range map[uint32]uint32{1: 4, 4: 4, 5: 5, fsm.MachineVersion: fsm.MachineVersion} {
		r := &restoring{Machine: fsmtest.NewMachine(), records: newest.records, header: newest.header, trailer: newest.trailer}
		r.MachineVersion = rules
		r.Start(nil)
		require.Nil(t, r.begin("a", true).Body)
		out := r.chunk("a", 1, r.records)
		if known == fsm.MachineVersion {
			require.NotNil(t, r.commit("a").GetRestore())
			continue
		}
		require.Equal(t, fmt.Sprintf("state file: follows rules of version %d, this binary knows %d: use a newer one", fsm.MachineVersion, known), out.GetRefusal().GetMessage())
		require.False(t, r.State.Restoring())
		require.Equal(t, rules, r.State.MachineVersion())
	}
}

// TestPackRecords_Nothing: a piece without records is no piece that is packed.
func TestPackRecords_Nothing(t *testing.T) {
	require.Nil(t, fsm.PackRecords(nil))
	all := fsm.AppendRecord(nil, bytes.Repeat([]byte{7}, 300))
	require.Len(t, all, fsm.RecordSize(bytes.Repeat([]byte{7}, 300)))
}
