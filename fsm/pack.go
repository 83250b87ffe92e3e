package fsm

import (
	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"
)

// A piece of a restore travels packed: most records are of members, which have nearly all in common, and what is not written need not be synced.
// What one node packs all unpack to the same, whatever version of the library
// each has.

// maxUnpacked bounds what a piece may unpack to, in bytes: 256 KiB, or one record that is as large as any may be, with its length.
const maxUnpacked = maxRecord + 3

// AppendRecord writes a record of a state file behind others, for PackRecords and SplitRecords.
func AppendRecord(b, record []byte) []byte { return protowire.AppendBytes(b, record) }

// RecordSize is how many bytes AppendRecord writes.
func RecordSize(record []byte) int { return protowire.SizeBytes(len(record)) }

// PackRecords makes the packed part of a piece of what AppendRecord has put together. More than maxUnpacked is refused by whoever unpacks it.
func PackRecords(all []byte) []byte {
	if len(all) == 0 {
		return nil
	}
	return s2.Encode(nil, all)
}

// SplitRecords appends the records that AppendRecord has put together to some, as parts of all; not ok if they are not whole.
func SplitRecords(records [][]byte, all []byte) (_ [][]byte, ok bool) {
	for len(all) > 0 {
		r, n := protowire.ConsumeBytes(all)
		if n < 0 {
			return nil, false
		}
		records, all = append(records, r), all[n:]
	}
	return records, true
}

// PacksRecords: all nodes follow rules by which a piece of a restore may be packed.
func (s *State) PacksRecords() bool { return s.core.MachineVersion >= packedVersion }

// unpacker unpacks pieces. What it returned is overwritten by the next.
type unpacker struct {
	all     []byte
	records [][]byte
}

func (u *unpacker) unpack(packed []byte) (records [][]byte, ok bool) {
	if n, err := s2.DecodedLen(packed); err != nil || n > maxUnpacked {
		return nil, false
	}
	all, err := s2.Decode(u.all[:cap(u.all)], packed)
	if err != nil {
		return nil, false
	}
	u.all = all
	if records, ok = SplitRecords(u.records[:0], all); ok {
		u.records = records
	}
	return records, ok
}
