package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/system"
)

// Sample is what a node's parts say of themselves at a scrape.
type Sample struct {
	Raft   raftnode.Status
	Log    raftnode.Stats
	Leader system.Stats
	Node   *musterv1.NodeStatus
	State  *musterv1.StateStatus
	// OrdersDue is how many orders have not been confirmed.
	OrdersDue int
	// Alarms is how many `muster status` shows of this node.
	Alarms int
}

// emit gives one series of a metric its value; labels in the order in which the metric has them.
type emit func(value float64, labels ...string)

// metric is one that is read at a scrape.
type metric struct {
	name   string
	kind   prometheus.ValueType
	labels []string
	help   string
	read   func(*Sample, emit)
}

// value reads a metric without labels.
func value[N int | int64 | uint32 | uint64 | float64](get func(*Sample) N) func(*Sample, emit) {
	return func(s *Sample, out emit) { out(float64(get(s))) }
}

// truth is 1 or 0.
func truth(get func(*Sample) bool) func(*Sample, emit) {
	return func(s *Sample, out emit) { out(oneIf(get(s))) }
}

// oneOf has a series for each name, 1 for the one that holds.
func oneOf(names []string, get func(*Sample) string) func(*Sample, emit) {
	return func(s *Sample, out emit) {
		holds := get(s)
		for _, name := range names {
			out(oneIf(name == holds), name)
		}
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// reader collects the metrics that are read at a scrape, all from one Sample.
type reader struct {
	take  func() *Sample
	descs []*prometheus.Desc // of metrics, in their order
}

func newReader(take func() *Sample) *reader {
	r := &reader{take: take}
	for _, m := range metrics {
		r.descs = append(r.descs, prometheus.NewDesc(m.name, m.help, m.labels, nil))
	}
	return r
}

func (r *reader) Describe(out chan<- *prometheus.Desc) {
	for _, d := range r.descs {
		out <- d
	}
}

func (r *reader) Collect(out chan<- prometheus.Metric) {
	s := r.take()
	for i, m := range metrics {
		m.read(s, func(value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(r.descs[i], m.kind, value, labels...)
		})
	}
}
