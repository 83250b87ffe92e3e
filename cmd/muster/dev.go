package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"muster/cmd/muster/node"
	"muster/raftnode"
	"muster/transport/client"
)

const (
	devNodes = 3
	// devReady is how long three nodes in one process may take to find a leader.
	devReady = 20 * time.Second
)

// devFlags is what `muster dev` is told.
type devFlags struct {
	port     int
	dataDir  string
	logLevel string
	settings settingsFlags
}

func newDev(*cli) *cobra.Command {
	f := &devFlags{}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster of three nodes in this process, to try things out",
		Long: `Run a cluster of three nodes in this process, on loopback, to try things out.

Its data is in a temporary directory that goes with it, unless --data-dir says where to keep it.`,
		Example: "  muster dev",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.port, "port", 7380, "port of the first node; the others take the next two; 0 = any")
	flags.StringVar(&f.dataDir, "data-dir", "", "where to keep the data (default: a temporary directory, removed at the end)")
	flags.StringVar(&f.logLevel, "log-level", "error", "trace, debug, info, warn or error")
	f.settings.register(flags)
	return cmd
}

func (f *devFlags) run(ctx context.Context, out, log io.Writer) error {
	settings, err := f.settings.settings()
	if err != nil {
		return err
	}
	if _, err := newLogger("", f.logLevel, log); err != nil {
		return err
	}
	if f.dataDir == "" {
		dir, err := os.MkdirTemp("", "muster-dev-")
		if err != nil {
			return fmt.Errorf("temporary directory: %w", err)
		}
		defer os.RemoveAll(dir)
		f.dataDir = dir
	}
	listeners, peers, err := f.listen()
	if err != nil {
		return err
	}
	start := time.Now()
	var nodes []*node.Node
	defer func() { closeAll(nodes) }()
	for i, p := range peers {
		logger, err := newLogger(p.Name, f.logLevel, log)
		if err != nil {
			return err
		}
		storage, err := raftnode.OpenStorage(filepath.Join(f.dataDir, p.Name), p.Name)
		if err != nil {
			return err
		}
		n, err := node.Start(node.Config{
			Name: p.Name, Advertise: p.Address, Peers: peers, Storage: storage, Listener: listeners[i], Dial: dialTCP,
			Settings: settings, Version: version, Logger: logger,
		})
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
	}
	return f.serve(ctx, out, peers, start)
}

// serve waits for the cluster, says what to type next, and waits for the end.
func (f *devFlags) serve(ctx context.Context, out io.Writer, peers []raftnode.Peer, start time.Time) error {
	var addresses []string
	for _, p := range peers {
		addresses = append(addresses, p.Address)
	}
	c, err := client.New(client.Config{Servers: addresses})
	if err != nil {
		return err
	}
	defer c.Close()
	waiting, cancel := context.WithTimeout(ctx, devReady)
	defer cancel()
	leader, err := c.Cluster().FindLeader(waiting)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	fmt.Fprintf(out, "A cluster of %d nodes is ready after %v; node %s leads. Ctrl-C ends it. In another terminal:\n\n  export MUSTER_SERVERS=%s\n  muster status\n",
		len(peers), time.Since(start).Round(time.Millisecond), leader.GetNode(), strings.Join(addresses, ","))
	<-ctx.Done()
	return nil
}

// listen takes the ports before anything else is begun.
func (f *devFlags) listen() ([]net.Listener, []raftnode.Peer, error) {
	var listeners []net.Listener
	var peers []raftnode.Peer
	for i := range devNodes {
		port := f.port
		if port != 0 {
			port += i
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
			return nil, nil, fmt.Errorf("%w: is a cluster running there already? Choose others with --port", err)
		}
		listeners = append(listeners, l)
		peers = append(peers, raftnode.Peer{Name: fmt.Sprintf("n%d", i+1), Address: l.Addr().String()})
	}
	return listeners, peers, nil
}

// closeAll ends nodes one after the other.
func closeAll(nodes []*node.Node) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for _, n := range nodes {
		_ = n.Kill(ctx) // the whole cluster ends: there is nobody to hand over to
	}
}
