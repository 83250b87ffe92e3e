package client

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/singleflight"
)

// Client talks to one cluster. It is made by New and ended by Close.
type Client struct {
	logger  hclog.Logger
	servers *servers
	leader  leader
	numbers numbers
	crowd   crowd
	began   time.Time
	asks    singleflight.Group // rounds of ask
	finds   singleflight.Group // rounds of findTogether

	// ctx ends with Close; the members' goroutines live in it.
	ctx    context.Context
	cancel context.CancelFunc

	// mu guards closed, and that no member is added behind it.
	mu      sync.Mutex
	closed  bool
	members sync.WaitGroup
}

// New makes a client. It opens no connection yet: the first call does.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	set, err := newServers(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Client{logger: cfg.Logger, servers: set, began: time.Now(), ctx: ctx, cancel: cancel}, nil
}

// Close ends all members of this client without leaving (they live on in the cluster until their lease ends), waits for their
// goroutines and closes all connections. Calls under way fail. Closing twice is harmless.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.members.Wait()
	return c.servers.close()
}

// Cluster is the operator's side of the client.
func (c *Client) Cluster() *Cluster {
	return &Cluster{client: c}
}

// Number is the greatest number of the state that the client has seen in any answer; 0 before the first.
func (c *Client) Number() uint64 {
	return c.numbers.greatest()
}

// addMember counts a member in, so that Close waits for it; false once the client is closed.
func (c *Client) addMember() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.members.Add(1)
	return true
}
