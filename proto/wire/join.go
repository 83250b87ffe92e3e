package wire

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"

	musterv1 "muster/proto/muster/v1"
)

// The numbers below are those of the fields in the .proto files.

func (w *Writer) entry(e *musterv1.Entry) {
	w.known(e)
	w.Number(1, uint64(e.GetFormat()))
	w.Number(2, e.GetRaftTerm())
	w.Number(3, e.GetEpoch())
	w.Number(4, uint64(e.GetStampNs()))
	w.Number(5, uint64(e.GetWallMs()))
	for _, c := range e.GetCommands() {
		at := w.Begin()
		if body, ok := c.GetBody().(*musterv1.Command_Join); ok && body != nil && body.Join != nil && len(body.Join.Earlier) == 0 {
			w.known(c)
			inside := w.Begin()
			w.joinRequest(body.Join)
			w.End(inside, 3)
		} else {
			w.message(c)
		}
		w.End(at, 6)
	}
}

func (r *Reader) entry(e *musterv1.Entry) {
	e.Format = uint32(r.Number(1))
	e.RaftTerm = r.Number(2)
	e.Epoch = r.Number(3)
	e.StampNs = int64(r.Number(4))
	e.WallMs = int64(r.Number(5))
	for r.More(6) {
		body := r.Bytes(6)
		command := Reader{Left: body}
		if join := (Reader{Left: command.Bytes(3)}); len(join.Left) > 0 && command.Done() {
			// One piece of memory for what lives and dies together.
			c := &struct {
				musterv1.Command
				body musterv1.Command_Join
				join musterv1.JoinRequest
			}{}
			join.joinRequest(&c.join)
			if join.Done() {
				c.body.Join, c.Body = &c.join, &c.body
				e.Commands = append(e.Commands, &c.Command)
				continue
			}
		}
		c := &musterv1.Command{}
		r.parse(body, c)
		e.Commands = append(e.Commands, c)
	}
}

func (w *Writer) joinRequest(j *musterv1.JoinRequest) {
	w.known(j)
	w.Fault = w.Fault || len(j.GetEarlier()) > 0 // these are seldom
	w.Text(1, j.GetWorld())
	w.Number(2, uint64(j.GetRole()))
	w.Number(3, uint64(j.GetRank()))
	w.flag(4, j.GetAssignRank())
	w.Text(5, j.GetKey())
	w.Text(6, j.GetMachine())
	w.Text(7, j.GetAddress())
	for _, l := range j.GetLabels() {
		w.Message(8, l)
	}
	w.Number(9, uint64(j.GetMode()))
	w.Bytes(10, j.GetNonce())
	w.Number(11, j.GetIncarnation())
	w.Number(12, j.GetIssued())
	w.flag(13, j.GetTakeOver())
	w.Number(14, j.GetHolderGone())
	w.Number(15, j.GetHeldOrder())
}

func joinRequestSize(j *musterv1.JoinRequest) int {
	if len(j.GetEarlier()) > 0 {
		return options.Size(j)
	}
	n := len(j.ProtoReflect().GetUnknown()) +
		sizeOfBytes(len(j.GetWorld())) + sizeOfNumber(uint64(j.GetRole())) + sizeOfNumber(uint64(j.GetRank())) +
		sizeOfNumber(protowire.EncodeBool(j.GetAssignRank())) + sizeOfBytes(len(j.GetKey())) + sizeOfBytes(len(j.GetMachine())) +
		sizeOfBytes(len(j.GetAddress())) + sizeOfNumber(uint64(j.GetMode())) + sizeOfBytes(len(j.GetNonce())) + sizeOfNumber(j.GetIncarnation()) +
		sizeOfNumber(j.GetIssued()) + sizeOfNumber(protowire.EncodeBool(j.GetTakeOver())) + sizeOfNumber(j.GetHolderGone()) +
		sizeOfNumber(j.GetHeldOrder())
	for _, l := range j.GetLabels() {
		n += tagSize + protowire.SizeBytes(options.Size(l))
	}
	return n
}

func (r *Reader) joinRequest(j *musterv1.JoinRequest) {
	j.World = string(r.Text(1))
	j.Role = musterv1.Role(r.Number(2))
	j.Rank = uint32(r.Number(3))
	j.AssignRank = r.flag(4)
	j.Key = string(r.Text(5))
	j.Machine = string(r.Text(6))
	j.Address = string(r.Text(7))
	for r.More(8) {
		l := &musterv1.Label{}
		r.Message(8, l)
		j.Labels = append(j.Labels, l)
	}
	j.Mode = musterv1.Mode(r.Number(9))
	j.Nonce = bytes.Clone(r.Bytes(10))
	j.Incarnation = r.Number(11)
	j.Issued = r.Number(12)
	j.TakeOver = r.flag(13)
	j.HolderGone = r.Number(14)
	j.HeldOrder = r.Number(15)
}

func (w *Writer) joinResponse(j *musterv1.JoinResponse) {
	w.known(j)
	if p := j.GetProc(); p != nil {
		w.known(p)
		at := w.Begin()
		w.Place(p.GetWorld(), p.GetRole(), p.GetRank(), p.GetIncarnation())
		w.End(at, 1)
	}
	w.Timeouts(2, j.GetTimeouts())
	w.Number(3, j.GetGeneration())
	w.Number(4, j.GetHighestOrder())
	w.Number(5, j.GetNumber())
	w.Number(6, j.GetEpoch())
	w.Number(7, uint64(j.GetOrphanNs()))
}

func (r *Reader) joinResponse(j *musterv1.JoinResponse) {
	if r.More(1) {
		p := Reader{Left: r.Bytes(1)}
		j.Proc = &musterv1.ProcRef{}
		j.Proc.World = string(p.Text(1))
		j.Proc.Role = musterv1.Role(p.Number(2))
		j.Proc.Rank = uint32(p.Number(3))
		j.Proc.Incarnation = p.Number(4)
		r.Fault = r.Fault || !p.Done()
	}
	if r.More(2) {
		t := Reader{Left: r.Bytes(2)}
		j.Timeouts = &musterv1.Timeouts{}
		j.Timeouts.ReportIntervalNs = int64(t.Number(1))
		j.Timeouts.LeaseNs = int64(t.Number(2))
		j.Timeouts.StartNs = int64(t.Number(3))
		j.Timeouts.EvictionNs = int64(t.Number(4))
		j.Timeouts.DeliveryNs = int64(t.Number(5))
		j.Timeouts.ProcTimeoutNs = int64(t.Number(6))
		r.Fault = r.Fault || !t.Done()
	}
	j.Generation = r.Number(3)
	j.HighestOrder = r.Number(4)
	j.Number = r.Number(5)
	j.Epoch = r.Number(6)
	j.OrphanNs = int64(r.Number(7))
}

// outcome of a join; of all else it is left to protobuf.
func (w *Writer) outcome(o *musterv1.Outcome) {
	body, ok := o.GetBody().(*musterv1.Outcome_Join)
	if !ok || body == nil || body.Join == nil {
		w.Fault = true
		return
	}
	w.known(o)
	at := w.Begin()
	w.joinResponse(body.Join)
	w.End(at, 2)
}

// event writes a Record of one.
func (w *Writer) event(e *musterv1.Event) {
	w.known(e)
	at := w.Begin()
	w.Number(1, e.GetNumber())
	w.Number(2, uint64(e.GetKind()))
	w.Number(3, uint64(e.GetClockNs()))
	w.Number(4, uint64(e.GetWallMs()))
	w.Text(5, e.GetWorld())
	w.Number(6, e.GetGeneration())
	w.Bytes(7, e.GetRanks())
	w.Number(8, uint64(e.GetRole()))
	w.Number(9, uint64(e.GetStatus()))
	w.Text(10, e.GetText())
	w.End(at, 10)
}
