package metrics

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/system"
)

// full is a node of which every metric has something to tell.
func full() *Sample {
	return &Sample{
		Raft: raftnode.Status{Name: "n1", ServerID: "n1-0a", ClusterID: "c", Term: 3, Servers: []raftnode.Server{{Voter: true}, {Voter: true}, {}}},
		Log: raftnode.Stats{
			Elections: 2, SnapshotBytes: 4096, Followers: map[string]time.Duration{"n2": 20 * time.Millisecond, "n3": time.Minute},
		},
		Leader: system.Stats{Expired: 5, Held: 7, Uncharged: 1500 * time.Millisecond},
		Node:   &musterv1.NodeStatus{Role: musterv1.NodeStatus_NODE_ROLE_LEADER, TermPublished: true, Sessions: 9},
		State: &musterv1.StateStatus{
			Phase: musterv1.Phase_PHASE_STOPPING, Unhealthy: 4, Brake: &musterv1.Brake{State: musterv1.Brake_STATE_ON},
		},
		OrdersDue: 11,
	}
}

// gathered are Muster's own metrics of a node that has seen everything once.
func gathered(t *testing.T) (*Metrics, []*dto.MetricFamily) {
	t.Helper()
	m := New("v1", full)
	m.Sealed(3, 300)
	m.Committed(2 * time.Millisecond)
	m.Stored(time.Millisecond)
	m.Refused(musterv1.Reason_REASON_STALE)
	m.Handled("/muster.v1.SystemService/View", "OK")
	families, err := m.own.Gather()
	require.NoError(t, err)
	return m, families
}

var kinds = map[dto.MetricType]string{
	dto.MetricType_COUNTER: "counter", dto.MetricType_GAUGE: "gauge", dto.MetricType_HISTOGRAM: "histogram",
}

// TestPage compares deploy/metrics.md with what a node serves: each has what the other has, name, labels and type.
func TestPage(t *testing.T) {
	m, families := gathered(t)
	descs := make(chan *prometheus.Desc, 1000)
	m.own.Describe(descs)
	require.Len(t, families, len(descs), "a metric has no series here, so that nobody would miss it on the page: give it one in this test")

	var served []string
	for _, f := range families {
		labels := ""
		for i, l := range f.GetMetric()[0].GetLabel() {
			labels += map[bool]string{true: "{", false: ","}[i == 0] + l.GetName()
		}
		if labels != "" {
			labels += "}"
		}
		served = append(served, fmt.Sprintf("| `%s%s` | %s |", f.GetName(), labels, kinds[f.GetType()]))
	}
	page, err := os.ReadFile("../../../../deploy/metrics.md")
	require.NoError(t, err)
	listed := regexp.MustCompile("(?m)^\\| `[^`]*` \\| [a-z]+ \\|").FindAllString(string(page), -1)
	slices.Sort(served)
	slices.Sort(listed)
	require.Equal(t, served, listed, "deploy/metrics.md lists what is not served, or the other way round")
}

// TestNames holds names, units and help texts against the rules of Prometheus.
func TestNames(t *testing.T) {
	_, families := gathered(t)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

// TestValues: what the parts of a node say is what a scrape reads.
func TestValues(t *testing.T) {
	_, families := gathered(t)
	got := map[string]float64{}
	for _, f := range families {
		for _, series := range f.GetMetric() {
			name := f.GetName()
			for _, l := range series.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = series.GetGauge().GetValue() + series.GetCounter().GetValue() + float64(series.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"muster_node_info c n1 n1-0a": 1, "muster_node_role leader": 1, "muster_node_role follower": 0, "muster_node_leading": 1,
		"muster_node_parked": 0, "muster_sessions": 9, "muster_raft_elections_won_total": 2, "muster_raft_term": 3,
		"muster_raft_servers voter": 2, "muster_raft_servers nonvoter": 1, "muster_raft_follower_last_contact_seconds n2": 0.02,
		"muster_raft_follower_last_contact_seconds n3": 60, "muster_state_bytes": 4096, "muster_state_unhealthy_members": 4,
		"muster_state_phase stopping": 1, "muster_state_phase running": 0, "muster_state_brake on": 1, "muster_state_brake armed": 0,
		"muster_state_orders_due": 11, "muster_expiries_total": 5, "muster_expiries_held_total": 7, "muster_clock_uncharged_seconds_total": 1.5,
		"muster_proposals_refused_total stale": 1, "muster_proposals_refused_total full": 0, "muster_entry_commands": 1,
		"muster_grpc_requests_total OK /muster.v1.SystemService/View": 1,
	} {
		value, there := got[name]
		require.True(t, there, name)
		require.InDelta(t, want, value, 1e-9, name)
	}
}

// TestValues_BeforeTheFirstTerm: a node that has no state yet is in no phase, and one that never heard a leader does not say when.
func TestValues_BeforeTheFirstTerm(t *testing.T) {
	m := New("v1", func() *Sample { return &Sample{Raft: raftnode.Status{LastContact: -1}} })
	families, err := m.own.Gather()
	require.NoError(t, err)
	for _, f := range families {
		switch f.GetName() {
		case "muster_raft_last_contact_seconds":
			t.Error("it never heard from a leader")
		case "muster_state_phase", "muster_state_brake", "muster_node_role":
			for _, series := range f.GetMetric() {
				require.Zero(t, series.GetGauge().GetValue(), "%v", series)
			}
		}
	}
}
