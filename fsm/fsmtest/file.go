package fsmtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"google.golang.org/protobuf/proto"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// Records takes a state file apart.
func Records(file []byte) (records [][]byte, header *musterv1.SnapshotHeader, trailer *musterv1.SnapshotTrailer) {
	r, err := fsm.NewFileReader(bytes.NewReader(file))
	if err != nil {
		panic(err)
	}
	for {
		body, err := r.Next()
		if err != nil {
			return records, r.Header(), r.Trailer()
		}
		records = append(records, slices.Clone(body))
	}
}

// File puts records together to a state file that is whole, whatever they are. Its header is what the first record says, if that is a core.
func File(records [][]byte) []byte {
	header := &musterv1.SnapshotHeader{Format: 1}
	if r := (&musterv1.Record{}); len(records) > 0 && proto.Unmarshal(records[0], r) == nil && r.GetCore() != nil {
		c := r.GetCore()
		header.ClusterId, header.Epoch, header.Number, header.Digest, header.ClockNs = c.ClusterId, c.Epoch, c.Number, c.Digest, c.ClockNs
	}
	b := append([]byte("MUSTER01"), frame(encode(header))...)
	for _, body := range records {
		b = append(b, frame(body)...)
	}
	b = append(b, make([]byte, 8)...) // the end mark
	return append(b, frame(encode(&musterv1.SnapshotTrailer{Count: uint64(len(records)), Sum: sumRecords(records)}))...)
}

func frame(body []byte) []byte {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(head, body...)
}

// sumRecords is what a trailer says of records.
func sumRecords(records [][]byte) []byte {
	sum := sha256.New()
	for _, body := range records {
		sum.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(body))))
		sum.Write(body)
	}
	return sum.Sum(nil)
}

func encode(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}
