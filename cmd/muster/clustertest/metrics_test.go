package clustertest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"muster/cmd/muster/node"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// get asks a node over plain HTTP, on a connection of its own.
func get(t *testing.T, c *Cluster, m *Member, path string) (status int, body string) {
	t.Helper()
	web := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return c.Network.Dialer("client")(ctx, address)
		},
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(Within(t, Patience), http.MethodGet, "http://"+m.Address+path, nil)
	require.NoError(t, err)
	response, err := web.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

// scrape reads a node's metrics, as Prometheus would. Of a histogram it is the count; labels stand behind the name.
func scrape(t *testing.T, c *Cluster, m *Member) map[string]float64 {
	t.Helper()
	status, text := get(t, c, m, "/metrics")
	require.Equal(t, http.StatusOK, status)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err)
	got := map[string]float64{}
	for name, f := range families {
		for _, series := range f.GetMetric() {
			key := name
			for _, l := range series.GetLabel() {
				key += " " + l.GetValue()
			}
			got[key] = series.GetGauge().GetValue() + series.GetCounter().GetValue() + float64(series.GetHistogram().GetSampleCount())
		}
	}
	return got
}

// total is the sum of a metric over the nodes that run.
func total(t *testing.T, c *Cluster, name string) float64 {
	t.Helper()
	sum := 0.0
	for _, m := range c.Running() {
		sum += scrape(t, c, m)[name]
	}
	return sum
}

// TestMetrics_TellWhatHappens plays a small story and looks at what the nodes say of it.
func TestMetrics_TellWhatHappens(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		leader := c.Leader()
		before := scrape(t, c, leader)
		require.EqualValues(t, 1, before["muster_node_leading"])
		require.EqualValues(t, 1, before["muster_node_role leader"])
		require.EqualValues(t, 3, before["muster_raft_servers voter"])
		require.EqualValues(t, 1, before["muster_state_phase running"])
		require.EqualValues(t, 1, before["muster_state_brake armed"])
		require.EqualValues(t, 1, total(t, c, "muster_raft_elections_won_total"))
		require.EqualValues(t, 1, total(t, c, "muster_node_leading"))

		CreateWorld(t, cl, "w", 2)
		stays := Join(t, cl, "w", 0)
		far := c.ClientAt("far")
		_, err := far.Join(Within(t, Patience), client.MemberConfig{World: "w", Rank: 1, Key: "far", Machine: "far"})
		require.NoError(t, err)
		_, err = cl.Cluster().UpsertWorld(Within(t, Patience), &musterv1.UpsertWorldRequest{
			Spec: &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{3}}, ProcsPerHost: 8},
		})
		require.Error(t, err, "it has another shape")
		time.Sleep(5 * time.Second)

		after := scrape(t, c, leader)
		require.EqualValues(t, 2, after["muster_sessions"])
		require.EqualValues(t, 1, after["muster_state_worlds"])
		require.EqualValues(t, 2, after["muster_state_members"])
		require.Zero(t, after["muster_state_unhealthy_members"])
		require.EqualValues(t, 1, after["muster_proposals_refused_total contradicts"])
		require.EqualValues(t, 1, after["muster_grpc_requests_total OK /muster.v1.SystemService/UpsertWorld"])
		require.EqualValues(t, 1, after["muster_grpc_requests_total FailedPrecondition /muster.v1.SystemService/UpsertWorld"])
		for _, grows := range []string{
			"muster_entry_commit_duration_seconds", "muster_entry_commands", "muster_entry_bytes", "muster_raft_log_fsync_duration_seconds",
			"muster_entries_applied_total", "muster_raft_commit_index", "muster_raft_applied_index", "muster_raft_log_since_snapshot_bytes",
		} {
			require.Greater(t, after[grows], before[grows], grows)
		}
		for _, m := range c.Members {
			if m != leader {
				require.Less(t, after["muster_raft_follower_last_contact_seconds "+m.Name], 1.0)
			}
		}

		c.Network.Isolate("far")
		time.Sleep(15 * time.Second)
		after = scrape(t, c, leader)
		require.EqualValues(t, 1, after["muster_expiries_total"])
		require.EqualValues(t, 1, after["muster_state_unhealthy_members"])
		require.EqualValues(t, 1, total(t, c, "muster_expiries_total"), "counted where it was led, and nowhere else")

		c.Isolate(leader)
		c.Leader()
		c.Heal()
		c.Eventually("one leader again", func() bool { return total(t, c, "muster_node_leading") == 1 })
		require.EqualValues(t, 2, total(t, c, "muster_raft_elections_won_total"))
		require.NoError(t, stays.Err())
	})
}

// TestMetrics_HeldExpiries: what the mass-expiry brake holds back is counted, once for each silence.
func TestMetrics_HeldExpiries(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 6)
		far := c.ClientAt("far")
		for rank := range uint32(6) {
			_, err := far.Join(Within(t, Patience), client.MemberConfig{World: "w", Rank: rank, Key: "far", Machine: "far"})
			require.NoError(t, err)
		}
		time.Sleep(3 * time.Second)
		c.Network.Isolate("far")
		time.Sleep(15 * time.Second)
		leader := c.Leader()
		braked := scrape(t, c, leader)
		require.EqualValues(t, 1, braked["muster_state_brake on"])
		require.EqualValues(t, 1, braked["muster_node_alarms"])
		require.EqualValues(t, 6, braked["muster_expiries_held_total"])
		require.Zero(t, braked["muster_expiries_total"])

		time.Sleep(20 * time.Second)
		released := scrape(t, c, leader)
		require.EqualValues(t, 6, released["muster_expiries_total"], "the brake has let go")
		require.EqualValues(t, 6, released["muster_expiries_held_total"])
	})
}

// TestMetrics_UnchargedTime: a leader whose entries are not committed charges nobody, and says how long.
func TestMetrics_UnchargedTime(t *testing.T) {
	slow := func(cfg *node.Config) { cfg.Timeout = 20 * time.Second } // the leader goes on believing in itself
	Bubble(t, slow, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 1)
		Join(t, cl, "w", 0)
		leader := c.Leader()
		require.Zero(t, scrape(t, c, leader)["muster_clock_uncharged_seconds_total"])
		for _, m := range c.Members {
			if m != leader {
				c.Network.Cut(leader.Address, m.Address)
			}
		}
		time.Sleep(10 * time.Second)
		cut := scrape(t, c, leader)
		require.InDelta(t, 9, cut["muster_clock_uncharged_seconds_total"], 0.75)
		for _, m := range c.Members {
			if m != leader {
				require.InDelta(t, 10, cut["muster_raft_follower_last_contact_seconds "+m.Name], 3)
			}
		}
		c.Heal()
	})
}

// TestWeb_Readiness: a node is ready while it knows who leads, and alive anyway; there is nothing else to find.
func TestWeb_Readiness(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		leader := c.Leader()
		c.Eventually("readiness", func() bool {
			status, _ := get(t, c, leader, "/readyz")
			return status == http.StatusOK
		})
		for _, m := range c.Members {
			if m != leader {
				c.Kill(m)
			}
		}
		c.Eventually("a lonely node that is not ready", func() bool {
			status, _ := get(t, c, leader, "/readyz")
			return status == http.StatusServiceUnavailable
		})
		status, _ := get(t, c, leader, "/healthz")
		require.Equal(t, http.StatusOK, status)
		status, _ = get(t, c, leader, "/debug/pprof/")
		require.Equal(t, http.StatusNotFound, status)
		require.Zero(t, scrape(t, c, leader)["muster_node_leading"])
	})
}

// TestWeb_SlowClients: whoever does not finish asking is cut off, too many at once are refused, and none of them holds a node's end up.
func TestWeb_SlowClients(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		leader := c.Leader()
		dial := func() net.Conn {
			conn, err := c.Network.Dialer("client")(Within(t, Patience), leader.Address)
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close() })
			_, err = conn.Write([]byte("GET /metrics HTTP/1.1\r\nHost:"))
			require.NoError(t, err)
			return conn
		}
		began := time.Now()
		for range 64 {
			dial()
		}
		time.Sleep(100 * time.Millisecond)
		surplus := dial()
		_, err := surplus.Read(make([]byte, 1))
		require.Error(t, err)
		require.Less(t, time.Since(began), time.Second, "one too many is closed at once")
		time.Sleep(6 * time.Second)
		scrape(t, c, leader) // the slow ones are gone

		idle := dial()
		_, err = idle.Write([]byte(" x\r\n\r\n"))
		require.NoError(t, err)
		slow := dial()
		time.Sleep(time.Second)
		began = time.Now()
		require.NoError(t, leader.Node.Close(Within(t, 10*time.Second)))
		require.Less(t, time.Since(began), 6*time.Second)
		leader.Node = nil
		for _, conn := range []net.Conn{idle, slow} {
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Second)))
			_, err := io.Copy(io.Discard, conn)
			require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "it is still open")
		}
	})
}

// TestWeb_BesideCalls: gRPC and plain HTTP share the port, and a scrape says which calls there were.
func TestWeb_BesideCalls(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		leader := c.Leader()
		cl := c.Client()
		for range 3 {
			c.View(cl)
			scrape(t, c, leader)
		}
		require.GreaterOrEqual(t, scrape(t, c, leader)["muster_grpc_requests_total OK /muster.v1.SystemService/View"], 3.0)
	})
}
