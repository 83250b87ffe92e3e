package server

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/wire"
)

// Limits of requests that are not of identifiers, which id owns. The largest request that passes is 128 KiB, since it travels in the
// log and is kept as a record.
const (
	maxRequest = 128 << 10
	maxWorlds  = 1000
	maxText    = 1024
	maxKey     = 256
	maxMachine = 256
	maxEarlier = 256
	maxDims    = 16
	idLength   = 16
)

func checkSize(m proto.Message) error {
	if n := wire.Size(m); n > maxRequest {
		return invalid("request", "%d bytes: at most %d", n, maxRequest)
	}
	return nil
}

func checkMeta(m *musterv1.RequestMeta) error {
	if len(m.GetId()) != idLength {
		return invalid("meta.id", "%d bytes: draw %d random ones for each request", len(m.GetId()), idLength)
	}
	return nil
}

func checkWorld(field, name string) error {
	if err := id.WorldID(name).Validate(); err != nil {
		return invalid(field, "%v", err)
	}
	return nil
}

// checkLabels also sorts them, as they are kept.
func checkLabels(field string, labels []*musterv1.Label) error {
	if len(labels) > id.MaxLabels {
		return invalid(field, "%d labels: at most %d", len(labels), id.MaxLabels)
	}
	size := 0
	for _, l := range labels {
		if err := id.ValidateLabel(l.GetKey(), l.GetValue()); err != nil {
			return invalid(field, "%v", err)
		}
		size += len(l.GetKey()) + len(l.GetValue())
	}
	if size > id.MaxLabelBytes {
		return invalid(field, "%d bytes of keys and values: at most %d", size, id.MaxLabelBytes)
	}
	slices.SortFunc(labels, func(a, b *musterv1.Label) int { return strings.Compare(a.Key, b.Key) })
	for i := 1; i < len(labels); i++ {
		if labels[i-1].Key == labels[i].Key {
			return invalid(field, "key %q is given twice", labels[i].Key)
		}
	}
	return nil
}

func checkText(field, text string, limit int) error {
	if len(text) > limit || !utf8.ValidString(text) {
		return invalid(field, "%d bytes: at most %d, in UTF-8", len(text), limit)
	}
	return nil
}

func checkUpsert(q *musterv1.UpsertWorldRequest) error {
	spec := q.GetSpec()
	for _, err := range []error{
		checkSize(q), checkMeta(q.GetMeta()), checkWorld("spec.world", spec.GetWorld()), checkShape(spec), checkLabels("labels", q.GetLabels()),
		checkTimeouts(spec.GetTimeouts()), checkExec(spec),
	} {
		if err != nil {
			return err
		}
	}
	if spec.GetAddress() != "" {
		if err := id.ValidateAddress(spec.GetAddress()); err != nil {
			return invalid("spec.address", "%v", err)
		}
	}
	if _, known := musterv1.FailurePolicy_name[int32(spec.GetOnFailure())]; !known {
		return invalid("spec.on_failure", "%d: no such policy", spec.GetOnFailure())
	}
	return nil
}

func checkShape(spec *musterv1.WorldSpec) error {
	shape := spec.GetShape()
	if shape == nil {
		return invalid("spec.shape", "is missing: give dimensions, or open")
	}
	if shape.GetOpen() {
		if len(shape.GetDims()) > 0 {
			return invalid("spec.shape", "open and dimensions exclude each other")
		}
		return nil
	}
	if spec.GetProcsPerHost() == 0 {
		return invalid("spec.procs_per_host", "0: must be at least 1 for a definite shape")
	}
	if len(shape.GetDims()) > maxDims {
		return invalid("spec.shape", "%d dimensions: at most %d", len(shape.GetDims()), maxDims)
	}
	n := uint64(1)
	for _, d := range shape.GetDims() {
		if d == 0 {
			return invalid("spec.shape", "a dimension is 0: each must be at least 1")
		}
		if n *= uint64(d); n > id.MaxProcs {
			return invalid("spec.shape", "more than %d procs: the product of the dimensions must not exceed that", id.MaxProcs)
		}
	}
	return nil
}

func checkTimeouts(t *musterv1.Timeouts) error {
	if t == nil {
		return nil
	}
	for _, f := range []struct {
		name string
		ns   int64
	}{
		{"report_interval_ns", t.ReportIntervalNs}, {"lease_ns", t.LeaseNs}, {"start_ns", t.StartNs},
		{"delivery_ns", t.DeliveryNs}, {"proc_timeout_ns", t.ProcTimeoutNs},
	} {
		if f.ns < 0 {
			return invalid("spec.timeouts."+f.name, "%v: must not be negative", time.Duration(f.ns))
		}
	}
	return nil
}

func checkStop(q *musterv1.StopRequest) error {
	for _, err := range []error{checkSize(q), checkMeta(q.GetMeta())} {
		if err != nil {
			return err
		}
	}
	switch {
	case q.GetEverything() && len(q.GetWorlds()) > 0:
		return invalid("worlds", "everything and worlds exclude each other")
	case !q.GetEverything() && len(q.GetWorlds()) == 0:
		return invalid("worlds", "is empty: name the worlds to stop, or say everything")
	case len(q.GetWorlds()) > maxWorlds:
		return invalid("worlds", "%d: at most %d", len(q.GetWorlds()), maxWorlds)
	case q.GetProcTimeoutNs() < 0 || q.GetProcTimeoutNs() > int64(365*24*time.Hour):
		return invalid("proc_timeout_ns", "%v: must be 0 to a year", time.Duration(q.GetProcTimeoutNs()))
	}
	for _, w := range q.GetWorlds() {
		if err := checkWorld("worlds", w); err != nil {
			return err
		}
	}
	return checkText("reason", q.GetReason(), maxText)
}

func checkView(q *musterv1.ViewRequest) error {
	if len(q.GetWorlds()) > maxWorlds {
		return invalid("worlds", "%d: at most %d", len(q.GetWorlds()), maxWorlds)
	}
	for _, w := range q.GetWorlds() {
		if err := checkWorld("worlds", w); err != nil {
			return err
		}
	}
	if err := checkLabels("world_labels", q.GetWorldLabels()); err != nil {
		return err
	}
	return checkLabels("proc_labels", q.GetProcLabels())
}

func checkProc(field string, p *musterv1.ProcRef) error {
	if err := checkWorld(field+".world", p.GetWorld()); err != nil {
		return err
	}
	if p.GetRank() >= id.MaxProcs {
		return invalid(field+".rank", "%d: must be below %d", p.GetRank(), id.MaxProcs)
	}
	return nil
}
