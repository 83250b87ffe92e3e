package metrics

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

const (
	// scrapeTimeout bounds gathering and formatting.
	scrapeTimeout = 10 * time.Second
	// maxScrapes at once; more are told to come again.
	maxScrapes = 4
)

// Metrics of one node. Safe for concurrent use. It is the raftnode.Observer of its node.
type Metrics struct {
	own, runtime *prometheus.Registry // Muster's series, and those of the process and Go

	commands, bytes prometheus.Histogram
	committed       prometheus.Histogram
	stored          prometheus.Histogram
	refused         *prometheus.CounterVec
	requests        *prometheus.CounterVec
	broken          prometheus.Counter
}

// New returns the metrics of a node that runs a version of the binary. take is called at each scrape, perhaps by several at once.
func New(version string, take func() *Sample) *Metrics {
	m := &Metrics{
		own: prometheus.NewRegistry(), runtime: prometheus.NewRegistry(),
		commands: histogram("muster_entry_commands", "Commands in an entry that this node handed to Raft.",
			prometheus.ExponentialBuckets(1, 2, 14)),
		bytes: histogram("muster_entry_bytes", "Size of an entry that this node handed to Raft.",
			prometheus.ExponentialBuckets(64, 4, 8)),
		committed: histogram("muster_entry_commit_duration_seconds", "From handing an entry to Raft until it was applied here.",
			prometheus.ExponentialBuckets(0.0005, 2, 14)),
		stored: histogram("muster_raft_log_fsync_duration_seconds", "Time of a write to this node's log, until it was safe on disk.",
			prometheus.ExponentialBuckets(0.0001, 2, 16)),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_proposals_refused_total", Help: "Commands proposed on this node that had no effect, by reason.",
		}, []string{"reason"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_grpc_requests_total", Help: "gRPC calls that this node has answered, by method and code; streams count when they end.",
		}, []string{"method", "code"}),
		broken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_broken_rules_total", Help: "Rules of the state machine that broke while an entry was applied here.",
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "muster_build_info", Help: "Always 1. The binary's version, and the newest version of the rules that it knows.",
		ConstLabels: prometheus.Labels{"version": version, "machine_version": strconv.Itoa(fsm.MachineVersion)},
	})
	info.Set(1)
	for number := range musterv1.Reason_name {
		if reason := musterv1.Reason(number); reason != musterv1.Reason_REASON_UNSPECIFIED {
			m.refused.WithLabelValues(reasonName(reason))
		}
	}
	m.own.MustRegister(info, m.commands, m.bytes, m.committed, m.stored, m.refused, m.requests, m.broken, newReader(take))
	// go_gc_heap_live_bytes: what lives on the heap, without what is yet to be collected.
	live := collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)})
	m.runtime.MustRegister(collectors.NewGoCollector(live), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
}

// reasonName is a reason as a label.
func reasonName(reason musterv1.Reason) string {
	return strings.ToLower(strings.TrimPrefix(reason.String(), "REASON_"))
}

// Sealed is a raftnode.Observer's.
func (m *Metrics) Sealed(commands, bytes int) {
	m.commands.Observe(float64(commands))
	m.bytes.Observe(float64(bytes))
}

// Committed is a raftnode.Observer's.
func (m *Metrics) Committed(d time.Duration) { m.committed.Observe(d.Seconds()) }

// Stored is a raftnode.Observer's.
func (m *Metrics) Stored(d time.Duration) { m.stored.Observe(d.Seconds()) }

// Refused counts a proposal that had no effect.
func (m *Metrics) Refused(reason musterv1.Reason) {
	m.refused.WithLabelValues(reasonName(reason)).Inc()
}

// Handled counts a call that was answered with a gRPC code.
func (m *Metrics) Handled(method, code string) { m.requests.WithLabelValues(method, code).Inc() }

// Broke counts rules that broke.
func (m *Metrics) Broke(rules int) { m.broken.Add(float64(rules)) }

// Handler serves everything in the form that a scrape asks for.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{m.own, m.runtime}, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout,
	})
}
