package main

import (
	"errors"
	"io"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// startPatience is how long a node may take until it serves.
const startPatience = 30 * time.Second

// node is one etcd node in this process.
type node struct{ name, dir, client, peer, cluster string }

// run runs the node until it fails, or standard input ends, or the process is ended.
func (n node) run() error {
	client, err := url.Parse(n.client)
	if err != nil {
		return err
	}
	peer, err := url.Parse(n.peer)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	cfg := embed.NewConfig() // its timers and its synchronous writes are etcd's defaults
	cfg.Name, cfg.Dir, cfg.InitialCluster, cfg.LogLevel = n.name, n.dir, n.cluster, "error"
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(startPatience):
		return errors.New("the node is not ready")
	case err := <-e.Err():
		return err
	}
	return <-e.Err()
}
