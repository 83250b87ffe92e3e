package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// Config is what a Client needs to know.
type Config struct {
	// Servers are addresses (host:port) of some or all servers, at least one. Others are learnt from what these say. Empty: those
	// that MUSTER_SERVERS lists, separated by commas.
	Servers []string
	// Dial opens a connection to an address; nil = TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Logger hears about leaders found and lost, and about retries at debug level; nil = nothing.
	Logger hclog.Logger
}

func (cfg Config) withDefaults() (Config, error) {
	if len(cfg.Servers) == 0 {
		for _, address := range strings.Split(os.Getenv("MUSTER_SERVERS"), ",") {
			if address = strings.TrimSpace(address); address != "" {
				cfg.Servers = append(cfg.Servers, address)
			}
		}
	}
	if len(cfg.Servers) == 0 {
		return cfg, errors.New("client: Servers is empty; give at least one host:port")
	}
	for i, address := range cfg.Servers {
		if address == "" {
			return cfg, fmt.Errorf("client: Servers[%d] is empty; give host:port", i)
		}
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return cfg, nil
}
