package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"muster/cmd/muster/node"
	"muster/raftnode"
)

// closeTimeout bounds handing over and ending a server that was asked to stop.
const closeTimeout = raftnode.HangLimit + time.Second // a disk that hangs is told as that

// serverFlags is what `muster server` is told.
type serverFlags struct {
	node          string
	peers         string
	listen        string
	advertise     string
	dataDir       string
	logStore      raftnode.LogStore
	insecure      bool
	logLevel      string
	profile       string
	timeout       time.Duration
	snapshotBytes int64
	minFree       int64
	hangs         chan string // what the disk does not answer; capacity one
	settings      settingsFlags
}

func newServer(c *cli) *cobra.Command {
	f := &serverFlags{hangs: make(chan string, 1)}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run one node of a cluster",
		Long: `Run one node of a cluster.

Give --node and the same --peers to all three nodes: the first start with empty data directories forms the cluster. Without
any flags a cluster of one node runs, for trying things out. Ctrl-C and SIGTERM hand leadership over and end in order.

When a write to the disk of --data-dir does not come back within 10 seconds, the server ends with exit code 5: another node leads by
then, and a supervisor may start this one again. A disk that refuses writes keeps it from leading and voting, but does not end it.

Metrics for Prometheus are on the same port: http://127.0.0.1:7380/metrics.

The flags on timeouts are what a new cluster starts with; later the state has them, and a node whose flags differ says so.`,
		Example: `  muster server
  muster server --node n1 --peers n1=127.0.0.1:7380,n2=127.0.0.1:7381,n3=127.0.0.1:7382 --data-dir /var/lib/muster/n1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.ErrOrStderr()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.node, "node", "n1", "name of this node, one of --peers")
	flags.StringVar(&f.peers, "peers", "", "all nodes, the same list on each: n1=host:port,n2=host:port,n3=host:port; empty = a cluster of one")
	flags.StringVar(&f.listen, "listen", "", "address to listen at (default: this node's address in --peers, or "+defaultServer+")")
	flags.StringVar(&f.advertise, "advertise", "", "address the others reach this node at (default: its address in --peers, or --listen)")
	flags.StringVar(&f.dataDir, "data-dir", "", "directory for log, votes and snapshots (default: NODE.muster)")
	flags.StringVar((*string)(&f.logStore), "log-store", string(raftnode.Bolt), "what keeps the log: boltdb, or wal, which is faster and younger; "+
		"`muster server migrate-log` changes it")
	flags.BoolVar(&f.insecure, "insecure", false, "listen at an address that is not loopback although Muster has no TLS yet")
	flags.StringVar(&f.logLevel, "log-level", "info", "trace, debug, info, warn or error")
	var profiles []string
	for _, p := range raftnode.Profiles {
		profiles = append(profiles, fmt.Sprintf("%s (%s: %v)", p.Name, p.Distance, p.Timeout))
	}
	flags.StringVar(&f.profile, "profile", raftnode.Profiles[0].Name, "how far apart the nodes are, which --election-timeout follows from; the same on each node: "+
		strings.Join(profiles, " or "))
	flags.DurationVar(&f.timeout, "election-timeout", 0, "silence after which the others elect a new leader, the same on each node (default: that of --profile)")
	flags.Int64Var(&f.snapshotBytes, "snapshot-bytes", raftnode.DefaultSnapshotBytes, "log written between snapshots; more where a snapshot takes long, which is then a quarter of the time")
	flags.Int64Var(&f.minFree, "min-free", 0, fmt.Sprintf("bytes that should be free on the disk of --data-dir: below it a leader refuses what is new "+
		"(default: 4 times --snapshot-bytes, at least %d; -1 = never)", raftnode.DefaultMinFree))
	f.settings.register(flags)
	cmd.AddCommand(newMigrateLog(c))
	return cmd
}

func newMigrateLog(c *cli) *cobra.Command {
	var dir, to string
	cmd := &cobra.Command{
		Use:   "migrate-log",
		Short: "Move the log of a node that does not run into another store",
		Long: `Move the log of a node that does not run into another store, and start the server with the same --log-store afterwards. Do it node by
node: the others go on meanwhile, and nodes of one cluster may have different stores. When it is interrupted, run it again.`,
		Example: `  muster server migrate-log --data-dir /var/lib/muster/n3 --to wal`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usagef("--data-dir is missing: give the directory of the node")
			}
			if to != string(raftnode.Bolt) && to != string(raftnode.WAL) {
				return usagef("--to %q: give %s or %s", to, raftnode.Bolt, raftnode.WAL)
			}
			entries, err := raftnode.MigrateLog(cmd.Context(), dir, raftnode.LogStore(to))
			if err != nil {
				return err
			}
			if entries == 0 {
				return c.printer(cmd).line("%s: the log is in %s, and nothing had to be copied", dir, to)
			}
			return c.printer(cmd).line("%s: %d entries moved into %s: start the server with --log-store %s", dir, entries, to, to)
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", "", "directory of the node")
	cmd.Flags().StringVar(&to, "to", "", "boltdb or wal")
	return cmd
}

func (f *serverFlags) run(ctx context.Context, log io.Writer) error {
	cfg, err := f.config(log)
	if err != nil {
		return err
	}
	if cfg.Storage, err = raftnode.OpenStorage(f.dataDir, f.node, f.logStore); err != nil {
		return err
	}
	if cfg.Listener, err = net.Listen("tcp", f.listen); err != nil {
		_ = cfg.Storage.Close()
		return fmt.Errorf("listen: %w: is another server running there?", err)
	}
	n, err := node.Start(cfg)
	if err != nil {
		return err
	}
	cfg.Logger.Info("listening", "node", f.node, "address", f.listen, "advertise", cfg.Advertise, "data", f.dataDir, "version", version)
	tuning, tuned := context.WithCancel(context.Background())
	var tuner sync.WaitGroup
	tuner.Go(func() { tuneGarbage(tuning) })
	defer tuner.Wait()
	defer tuned()
	closed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		cfg.Logger.Info("stopping: handing over and ending in order")
		closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		closed <- n.Close(closing)
	})
	defer stop()
	select {
	case err = <-closed:
		return err
	case what := <-f.hangs: // which a server that was asked to stop may meet, too
		n.Abandon()
		return &codedError{exitDiskHangs, fmt.Errorf("the disk of %s hangs: %s; the others go on without this node. Look at the disk, then start the node again",
			f.dataDir, what)}
	}
}

// config makes a node's configuration from the flags, naming the one that is wrong.
func (f *serverFlags) config(log io.Writer) (node.Config, error) {
	peers, err := parsePeers(f.peers)
	if err != nil {
		return node.Config{}, err
	}
	own := ""
	for _, p := range peers {
		if p.Name == f.node {
			own = p.Address
		}
	}
	if len(peers) > 0 && own == "" {
		return node.Config{}, usagef("--node %s is not in --peers %s: list all nodes, this one too", f.node, f.peers)
	}
	if f.listen == "" {
		if f.listen = own; f.listen == "" {
			f.listen = defaultServer
		}
	}
	if f.advertise == "" {
		if f.advertise = own; f.advertise == "" {
			f.advertise = f.listen
		}
	}
	if err := checkExposure(f.listen, f.insecure); err != nil {
		return node.Config{}, err
	}
	if f.logStore != raftnode.Bolt && f.logStore != raftnode.WAL {
		return node.Config{}, usagef("--log-store %q: give %s or %s", f.logStore, raftnode.Bolt, raftnode.WAL)
	}
	if f.dataDir == "" {
		f.dataDir = f.node + ".muster"
	}
	if f.dataDir, err = filepath.Abs(f.dataDir); err != nil {
		return node.Config{}, fmt.Errorf("--data-dir: %w", err)
	}
	logger, err := newLogger(f.node, f.logLevel, log)
	if err != nil {
		return node.Config{}, err
	}
	settings, err := f.settings.settings()
	if err != nil {
		return node.Config{}, err
	}
	profile, err := profileNamed(f.profile)
	if err != nil {
		return node.Config{}, err
	}
	if f.timeout == 0 {
		f.timeout = profile.Timeout
	}
	return node.Config{
		Name: f.node, Advertise: f.advertise, Peers: peers, Dial: dialTCP, Settings: settings, Version: version, Timeout: f.timeout,
		SnapshotBytes: f.snapshotBytes, MinFree: f.minFree, DiskHangs: func(what string) { f.hangs <- what }, Logger: logger,
	}, nil
}

func profileNamed(name string) (raftnode.Profile, error) {
	var names []string
	for _, p := range raftnode.Profiles {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return raftnode.Profile{}, usagef("--profile %q: choose one of %s", name, strings.Join(names, ", "))
}

func parsePeers(list string) ([]raftnode.Peer, error) {
	var peers []raftnode.Peer
	for _, entry := range strings.Split(list, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, address, ok := strings.Cut(entry, "=")
		if _, _, err := net.SplitHostPort(address); !ok || name == "" || err != nil {
			return nil, usagef("--peers: %q: each peer is name=host:port", entry)
		}
		peers = append(peers, raftnode.Peer{Name: name, Address: address})
	}
	return peers, nil
}

// checkExposure keeps a server without TLS on this machine unless the operator insists.
func checkExposure(listen string, insecure bool) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return usagef("--listen %q: give host:port: %w", listen, err)
	}
	if insecure || host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return nil
	}
	return usagef("--listen %s can be reached from other machines, and Muster has no TLS yet: whoever reaches the port may stop all jobs. "+
		"Listen at 127.0.0.1, or say --insecure where the network itself is trusted", listen)
}

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}
