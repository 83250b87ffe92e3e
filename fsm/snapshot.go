package fsm

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/wire"
)

// A state file is the magic, then frames {length, CRC-32C, body}: the header, the records in key order, an end mark (a frame
// of length 0), the trailer. Every length is bounded, so that a damaged or hostile file costs no more memory than it is long.
const (
	fileMagic  = "MUSTER01"
	fileFormat = 1
	maxRecord  = 256 << 10 // twice the limit of a record, so that a limit may grow without a new format
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrStateFile is what every complaint about a state file wraps.
var ErrStateFile = errors.New("state file")

// Frozen is the state as it was when it was frozen. It shares records with the State, which never change. Safe for use by one
// goroutine, while others go on with the State.
type Frozen struct {
	header     *musterv1.SnapshotHeader
	core       *musterv1.CoreRecord
	nodes      []*musterv1.NodeRecord
	worlds     []*musterv1.WorldRecord
	recs       pages[*record]
	lastReport pages[int64]
	detached   []*record
	stops      []*musterv1.StopRecord
	targets    [][]*musterv1.StopTarget
	ended      []*musterv1.WorldRecord
	requests   []*musterv1.RequestRecord
	events     []*musterv1.Event   // the cluster's ring
	rings      [][]*musterv1.Event // those of worlds, unsorted
	hostRanks  []*musterv1.HostRank
}

// ErrRestoreStaged says that a snapshot would miss a restore that is under way; try again when it has ended.
var ErrRestoreStaged = errors.New("a restore is staged: no snapshot until it has ended")

// Freeze returns the state as it is now. It copies lists of worlds and of pages, no record and no time of a report: what is written
// afterwards copies its page. What has to be sorted is sorted when it is written. It may be called by one goroutine at a time, while others read.
func (s *State) Freeze() (*Frozen, error) {
	if s.staged != nil {
		return nil, ErrRestoreStaged
	}
	f := &Frozen{
		core: proto.CloneOf(s.core), recs: s.recs.freeze(), lastReport: s.lastReport.freeze(),
		ended: slices.Clone(s.ended), requests: slices.Clone(s.requests.oldest), events: s.events.cluster, rings: unsorted(nil, s.events.worlds),
	}
	f.core.Digest = slices.Clone(s.digest[:])
	f.header = &musterv1.SnapshotHeader{
		Format: fileFormat, ClusterId: s.core.ClusterId, Epoch: s.core.Epoch, Number: s.core.Number,
		Digest: f.core.Digest, ClockNs: s.core.ClockNs,
	}
	for _, n := range sorted(s.nodes) {
		f.nodes = append(f.nodes, n)
	}
	for _, w := range s.worldsFrom("") {
		f.worlds = append(f.worlds, w.rec)
		f.hostRanks = unsorted(f.hostRanks, w.hostRanks)
	}
	f.detached = unsorted(nil, s.detached)
	for _, op := range sorted(s.stops) {
		f.stops = append(f.stops, op.rec)
		f.targets = append(f.targets, slices.Clone(op.targets))
	}
	return f, nil
}

// Counts says how many living worlds and members it holds.
func (f *Frozen) Counts() (worlds, procs int) {
	for _, rec := range f.recs.all() {
		if rec != nil {
			procs++
		}
	}
	return len(f.worlds), procs
}

// WriteTo writes the state file: the same bytes for the same state, on any replica.
func (f *Frozen) WriteTo(w io.Writer) (int64, error) {
	fw := &fileWriter{w: bufio.NewWriterSize(w, 256<<10), sum: sha256.New()}
	fw.raw([]byte(fileMagic))
	fw.frame(f.header)
	f.records(fw)
	fw.raw(make([]byte, 8)) // the end mark: no length, no sum
	fw.frame(&musterv1.SnapshotTrailer{Count: fw.count, Sum: fw.sum.Sum(nil)})
	if fw.err == nil {
		fw.err = fw.w.Flush()
	}
	if fw.err != nil {
		return fw.n, fmt.Errorf("write state: %w", fw.err)
	}
	return fw.n, nil
}

// records writes every record, in file order.
func (f *Frozen) records(w *fileWriter) {
	w.record(&musterv1.Record{Body: &musterv1.Record_Core{Core: f.core}})
	for _, n := range f.nodes {
		w.record(&musterv1.Record{Body: &musterv1.Record_Node{Node: n}})
	}
	for _, world := range f.worlds {
		w.record(&musterv1.Record{Body: &musterv1.Record_World{World: world}})
	}
	for _, slot := range f.inOrder() {
		w.member(f.recs.at(slot), f.lastReport.at(slot), procKind)
	}
	slices.SortFunc(f.detached, func(a, b *record) int { return a.member().compare(b.member()) })
	for _, rec := range f.detached {
		w.member(rec, rec.facts().lastReportNs, detachedKind)
	}
	for _, op := range f.stops {
		w.record(&musterv1.Record{Body: &musterv1.Record_Stop{Stop: op}})
	}
	for _, targets := range f.targets {
		for _, t := range targets {
			w.record(&musterv1.Record{Body: &musterv1.Record_StopTarget{StopTarget: t}})
		}
	}
	ended := slices.Clone(f.ended)
	slices.SortFunc(ended, func(a, b *musterv1.WorldRecord) int {
		return cmp.Or(cmp.Compare(a.World, b.World), cmp.Compare(a.Generation, b.Generation))
	})
	for _, world := range ended {
		w.record(&musterv1.Record{Body: &musterv1.Record_Ended{Ended: world}})
	}
	for _, r := range f.requests {
		w.record(&musterv1.Record{Body: &musterv1.Record_Request{Request: r}})
	}
	for _, e := range eventsOf(f.events, f.rings) {
		w.record(&musterv1.Record{Body: &musterv1.Record_Event{Event: e}})
	}
	slices.SortFunc(f.hostRanks, func(a, b *musterv1.HostRank) int {
		return cmp.Or(cmp.Compare(a.World, b.World), cmp.Compare(a.Rank, b.Rank))
	})
	for _, rec := range f.hostRanks {
		w.record(&musterv1.Record{Body: &musterv1.Record_HostRank{HostRank: rec}})
	}
}

// inOrder is the slots of the members by (world, role, rank).
func (f *Frozen) inOrder() []Slot {
	ordinal := make(map[string]uint64, len(f.worlds))
	for i, w := range f.worlds { // by name
		ordinal[w.World] = uint64(i)
	}
	type placed struct {
		key  uint64 // the world's ordinal, the role, the rank
		slot Slot
	}
	places := make([]placed, 0, f.recs.len())
	for slot, rec := range f.recs.all() {
		if rec != nil {
			places = append(places, placed{ordinal[rec.world()]<<34 | uint64(rec.role)<<32 | uint64(rec.rank), slot})
		}
	}
	slices.SortFunc(places, func(a, b placed) int { return cmp.Compare(a.key, b.key) })
	slots := make([]Slot, len(places))
	for i, p := range places {
		slots[i] = p.slot
	}
	return slots
}

type fileWriter struct {
	w     *bufio.Writer
	n     int64
	err   error
	buf   []byte
	sum   hash.Hash
	count uint64
}

func (w *fileWriter) raw(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(b)
	w.n, w.err = w.n+int64(n), err
}

func (w *fileWriter) frame(m proto.Message) {
	if w.err != nil {
		return
	}
	if w.buf, w.err = wire.Append(w.buf[:0], m); w.err != nil {
		return
	}
	w.body()
}

// body writes buf as a frame.
func (w *fileWriter) body() {
	if len(w.buf) > maxRecord {
		w.err = fmt.Errorf("a record of %d bytes: at most %d", len(w.buf), maxRecord)
	}
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(w.buf)))
	binary.LittleEndian.PutUint32(head[4:], crc32.Checksum(w.buf, castagnoli))
	w.raw(head[:])
	w.raw(w.buf)
}

func (w *fileWriter) record(r *musterv1.Record) {
	w.frame(r)
	w.summed()
}

func (w *fileWriter) member(rec *record, lastReportNs int64, field kind) {
	if w.err != nil {
		return
	}
	w.buf = appendMember(w.buf[:0], rec, lastReportNs, field)
	w.body()
	w.summed()
}

func (w *fileWriter) summed() {
	sumRecord(w.sum, w.buf)
	w.count++
}

// sumRecord adds one record's body to the sum of a file.
func sumRecord(sum hash.Hash, body []byte) {
	var n [4]byte
	binary.LittleEndian.PutUint32(n[:], uint32(len(body)))
	sum.Write(n[:])
	sum.Write(body)
}

// FileReader reads a state file record by record, checking all it says of itself. Owned by one goroutine.
type FileReader struct {
	r       *bufio.Reader
	header  *musterv1.SnapshotHeader
	trailer *musterv1.SnapshotTrailer
	sum     hash.Hash
	count   uint64
}

// NewFileReader reads the header.
func NewFileReader(r io.Reader) (*FileReader, error) {
	f := &FileReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	magic := make([]byte, len(fileMagic))
	if _, err := io.ReadFull(f.r, magic); err != nil || !bytes.Equal(magic, []byte(fileMagic)) {
		return nil, fmt.Errorf("%w: does not begin with %q: this is no state file", ErrStateFile, fileMagic)
	}
	body, err := f.frame()
	if err != nil {
		return nil, err
	}
	f.header = &musterv1.SnapshotHeader{}
	if err := proto.Unmarshal(body, f.header); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrStateFile, err)
	}
	if f.header.Format != fileFormat {
		return nil, fmt.Errorf("%w: format %d, this binary reads %d: use a newer one", ErrStateFile, f.header.Format, fileFormat)
	}
	return f, nil
}

// Header of the file.
func (f *FileReader) Header() *musterv1.SnapshotHeader { return f.header }

// Trailer of the file, once Next has answered io.EOF.
func (f *FileReader) Trailer() *musterv1.SnapshotTrailer { return f.trailer }

// Next returns the body of the next record, valid until the next call; io.EOF behind the last one of a file that is whole.
func (f *FileReader) Next() ([]byte, error) {
	if f.trailer != nil {
		return nil, io.EOF
	}
	body, err := f.frame()
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		sumRecord(f.sum, body)
		f.count++
		return body, nil
	}
	body, err = f.frame()
	if err != nil {
		return nil, err
	}
	t := &musterv1.SnapshotTrailer{}
	if err := proto.Unmarshal(body, t); err != nil {
		return nil, fmt.Errorf("%w: trailer: %w", ErrStateFile, err)
	}
	if t.Count != f.count || !bytes.Equal(t.Sum, f.sum.Sum(nil)) {
		return nil, fmt.Errorf("%w: its trailer counts %d records, the file holds %d, or their sum differs: the file was altered",
			ErrStateFile, t.Count, f.count)
	}
	if _, err := f.r.ReadByte(); err != io.EOF {
		return nil, fmt.Errorf("%w: goes on behind its end", ErrStateFile)
	}
	f.trailer = t
	return nil, io.EOF
}

func (f *FileReader) frame() ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return nil, fmt.Errorf("%w: cut off: %w", ErrStateFile, noEOF(err))
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxRecord {
		return nil, fmt.Errorf("%w: a record claims %d bytes, at most %d: the file was altered", ErrStateFile, n, maxRecord)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(f.r, body); err != nil {
		return nil, fmt.Errorf("%w: cut off: %w", ErrStateFile, noEOF(err))
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("%w: a record does not match its checksum: the file was altered", ErrStateFile)
	}
	return body, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
