package node

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/cmd/muster/node/metrics"
)

const (
	webHeaderTimeout = 5 * time.Second
	webTimeout       = 15 * time.Second // of a request with its answer
	webIdleTimeout   = 2 * time.Minute  // Prometheus asks again on the same connection
	maxWebHeader     = 8 << 10
	maxWebConns      = 64 // more are closed at once
)

// newWeb is plain HTTP for whoever looks at the node: metrics, and whether it is there.
func (n *Node) newWeb() *http.Server {
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", n.metrics.Handler())
	routes.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	routes.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !n.ready.Load() {
			http.Error(w, "not ready: muster status tells why", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return &http.Server{
		Handler: routes, ReadHeaderTimeout: webHeaderTimeout, ReadTimeout: webTimeout, WriteTimeout: webTimeout, IdleTimeout: webIdleTimeout,
		MaxHeaderBytes: maxWebHeader, ConnState: limitConns(maxWebConns),
		ErrorLog: n.log.Named("http").StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
}

// limitConns closes what is opened beyond a number of connections.
func limitConns(limit int64) func(net.Conn, http.ConnState) {
	var open atomic.Int64
	return func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			if open.Add(1) > limit {
				_ = c.Close()
			}
		case http.StateClosed:
			open.Add(-1)
		}
	}
}

// stopWeb lets answers finish until ctx ends.
func (n *Node) stopWeb(ctx context.Context) {
	if n.web.Shutdown(ctx) != nil {
		_ = n.web.Close()
	}
}

// sample is what a scrape reads.
func (n *Node) sample() *metrics.Sample {
	s := &metrics.Sample{Raft: n.raft.Status(), Log: n.raft.Stats(), Leader: n.system.Stats()}
	var alarms []string
	s.Node, s.State, alarms = n.Status()
	s.Alarms = len(alarms)
	n.Read(func(at StateAt) { s.OrdersDue = at.State.PendingOrders() })
	return s
}
