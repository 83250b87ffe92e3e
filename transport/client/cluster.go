package client

import (
	"context"
	"encoding/hex"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
)

// Cluster has the operator's verbs. Every call is tried, at one server after another, until it is answered, refused by a rule
// or its context ends: give each a deadline. Requests are not changed; the library puts id and issued into a copy. An error
// is an *Error.
type Cluster struct {
	client *Client
}

// request is newRequest for a call that the cluster remembers. One that is sent before any number of the state was seen cannot be told from one that
// was applied long ago and is forgotten by now; whoever has yet to see a number asks for it first, so that an attempt of unknown outcome can be
// repeated. Only if the time ends in that, it is an error: nothing was sent.
func (c *Cluster) request(ctx context.Context, op string, meta *musterv1.RequestMeta) (*request, error) {
	if meta.GetIssued() == 0 && c.client.numbers.greatest() == 0 {
		_, err := c.View(ctx, &musterv1.ViewRequest{PageSize: 1})
		if failed := new(Error); errors.As(err, &failed) && (ctx.Err() != nil || errors.Is(err, ErrClosed)) {
			failed.Op = op
			return nil, failed
		}
	}
	return c.client.newRequest(meta), nil
}

// UpsertWorld creates a world or confirms that it is as asked.
func (c *Cluster) UpsertWorld(ctx context.Context, req *musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
	r, err := c.request(ctx, "upsert world", req.GetMeta())
	if err != nil {
		return nil, err
	}
	return do(ctx, c.client, verb{op: "upsert world"}, r,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.UpsertWorldResponse, error) {
			sent := proto.CloneOf(req)
			sent.Meta = r.meta()
			return musterv1grpc.NewSystemServiceClient(conn).UpsertWorld(ctx, sent)
		})
}

// Stop begins to stop worlds or everything. The answer means that stopping has begun.
func (c *Cluster) Stop(ctx context.Context, req *musterv1.StopRequest) (*musterv1.StopResponse, error) {
	r, err := c.request(ctx, "stop", req.GetMeta())
	if err != nil {
		return nil, err
	}
	return do(ctx, c.client, verb{op: "stop"}, r,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.StopResponse, error) {
			sent := proto.CloneOf(req)
			sent.Meta = r.meta()
			return musterv1grpc.NewSystemServiceClient(conn).Stop(ctx, sent)
		})
}

// Restart has hosts run ranks again, under new incarnations. The answer means that they have been ordered to.
func (c *Cluster) Restart(ctx context.Context, req *musterv1.RestartRequest) (*musterv1.RestartResponse, error) {
	r, err := c.request(ctx, "restart", req.GetMeta())
	if err != nil {
		return nil, err
	}
	return do(ctx, c.client, verb{op: "restart"}, r,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.RestartResponse, error) {
			sent := proto.CloneOf(req)
			sent.Meta = r.meta()
			return musterv1grpc.NewSystemServiceClient(conn).Restart(ctx, sent)
		})
}

// DeleteWorld forgets an ended world, every generation of it, before its retention is over.
func (c *Cluster) DeleteWorld(ctx context.Context, req *musterv1.DeleteWorldRequest) (*musterv1.DeleteWorldResponse, error) {
	r, err := c.request(ctx, "delete world", req.GetMeta())
	if err != nil {
		return nil, err
	}
	return do(ctx, c.client, verb{op: "delete world"}, r,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.DeleteWorldResponse, error) {
			sent := proto.CloneOf(req)
			sent.Meta = r.meta()
			return musterv1grpc.NewSystemServiceClient(conn).DeleteWorld(ctx, sent)
		})
}

// Start makes a stopped system run again. The execution id is drawn here, once for all attempts, unless the caller gives one.
func (c *Cluster) Start(ctx context.Context, req *musterv1.StartRequest) (*musterv1.StartResponse, error) {
	r, err := c.request(ctx, "start", req.GetMeta())
	if err != nil {
		return nil, err
	}
	execution := req.GetExecutionId()
	if execution == "" {
		execution = hex.EncodeToString(newID()[:8])
	}
	return do(ctx, c.client, verb{op: "start"}, r,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.StartResponse, error) {
			return musterv1grpc.NewSystemServiceClient(conn).Start(ctx, &musterv1.StartRequest{Meta: r.meta(), ExecutionId: execution})
		})
}

// Set changes settings of the cluster, all that are given or none. Who is there keeps the timeouts he has.
func (c *Cluster) Set(ctx context.Context, req *musterv1.SetRequest) (*musterv1.SetResponse, error) {
	r, err := c.request(ctx, "set", req.GetMeta())
	if err != nil {
		return nil, err
	}
	return do(ctx, c.client, verb{op: "set"}, r,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.SetResponse, error) {
			return musterv1grpc.NewClusterServiceClient(conn).Set(ctx, &musterv1.SetRequest{Meta: r.meta(), Changes: req.GetChanges()})
		})
}

// ReleaseAlarm has the mass-expiry brake let go: whoever is silent expires.
func (c *Cluster) ReleaseAlarm(ctx context.Context, req *musterv1.ReleaseAlarmRequest) (*musterv1.ReleaseAlarmResponse, error) {
	r, err := c.request(ctx, "release alarm", req.GetMeta())
	if err != nil {
		return nil, err
	}
	return do(ctx, c.client, verb{op: "release alarm"}, r,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.ReleaseAlarmResponse, error) {
			return musterv1grpc.NewClusterServiceClient(conn).ReleaseAlarm(ctx, &musterv1.ReleaseAlarmRequest{Meta: r.meta()})
		})
}

// View reads one page of the state.
func (c *Cluster) View(ctx context.Context, req *musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
	return do(ctx, c.client, verb{op: "view", read: true}, nil,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.ViewResponse, error) {
			return musterv1grpc.NewSystemServiceClient(conn).View(ctx, req)
		})
}

// ViewAll reads all pages and gives them as one, a world that spans pages once. Number and clock are the first page's; what is
// on later pages may be newer.
func (c *Cluster) ViewAll(ctx context.Context, req *musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
	var all *musterv1.ViewResponse
	err := c.pages(ctx, req, func(page *musterv1.ViewResponse) bool {
		if all == nil {
			all = page
			return true
		}
		for _, world := range page.GetWorlds() {
			last := len(all.Worlds) - 1
			if last >= 0 && all.Worlds[last].GetGeneration() == world.GetGeneration() {
				all.Worlds[last].Procs = append(all.Worlds[last].Procs, world.GetProcs()...)
				continue
			}
			all.Worlds = append(all.Worlds, world)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	all.NextPageToken = ""
	return all, nil
}

// pages reads page after page until the last one or until more says no.
func (c *Cluster) pages(ctx context.Context, req *musterv1.ViewRequest, more func(*musterv1.ViewResponse) bool) error {
	next := proto.CloneOf(req)
	for {
		page, err := c.View(ctx, next)
		if err != nil {
			return err
		}
		if !more(page) || page.GetNextPageToken() == "" {
			return nil
		}
		next.PageToken = page.GetNextPageToken()
	}
}

// WorldSupervision tells who of a world is not healthy.
func (c *Cluster) WorldSupervision(ctx context.Context, req *musterv1.WorldSupervisionRequest) (*musterv1.WorldSupervisionResponse, error) {
	return do(ctx, c.client, verb{op: "world supervision", read: true}, nil,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.WorldSupervisionResponse, error) {
			return musterv1grpc.NewSystemServiceClient(conn).WorldSupervision(ctx, req)
		})
}

// Explain tells why a world, or one member of it, is what it is, and what happens next.
func (c *Cluster) Explain(ctx context.Context, req *musterv1.ExplainRequest) (*musterv1.ExplainResponse, error) {
	return do(ctx, c.client, verb{op: "explain", read: true}, nil,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.ExplainResponse, error) {
			return musterv1grpc.NewSystemServiceClient(conn).Explain(ctx, req)
		})
}

// ViewStop reads a stop operation with all its targets. Whether it is done is the first page's; what is on later pages may be newer.
func (c *Cluster) ViewStop(ctx context.Context, operation uint64) (*musterv1.ViewStopResponse, error) {
	var all *musterv1.ViewStopResponse
	for {
		page, err := c.viewStopPage(ctx, operation, uint32(len(all.GetTargets())))
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = page
		} else {
			all.Targets = append(all.Targets, page.GetTargets()...)
		}
		if len(page.GetTargets()) == 0 || len(all.GetTargets()) >= int(page.GetTotal()) {
			return all, nil
		}
	}
}

func (c *Cluster) viewStopPage(ctx context.Context, operation uint64, skip uint32) (*musterv1.ViewStopResponse, error) {
	return do(ctx, c.client, verb{op: "view stop", read: true}, nil,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.ViewStopResponse, error) {
			return musterv1grpc.NewSystemServiceClient(conn).ViewStop(ctx, &musterv1.ViewStopRequest{Operation: operation, Skip: skip})
		})
}

// Status tells how the cluster is. Any server answers, with or without a leader.
func (c *Cluster) Status(ctx context.Context, req *musterv1.StatusRequest) (*musterv1.StatusResponse, error) {
	status, err := do(ctx, c.client, verb{op: "status", read: true}, nil,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.StatusResponse, error) {
			return musterv1grpc.NewClusterServiceClient(conn).Status(ctx, req)
		})
	if err != nil {
		return nil, err
	}
	c.client.follow(status.GetLeader())
	c.client.numbers.observe(status.GetState().GetNumber())
	return status, nil
}

// errNoLeader: nobody who answered knows of a leader.
var errNoLeader = errors.New("no server knows of a leader")

// FindLeader asks all servers who leads until one is found or ctx ends.
func (c *Cluster) FindLeader(ctx context.Context) (*musterv1.LeaderHint, error) {
	ctx, cancel := c.client.untilClosed(ctx)
	defer cancel()
	pause := newDelay(firstPause, longestPause)
	for rounds := 1; ; rounds++ {
		if hint, _ := c.client.findLeader(ctx, false); hint != nil {
			return hint, nil
		}
		if pause.wait(ctx) != nil {
			return nil, &Error{Op: "find leader", Attempts: rounds, causes: []error{errNoLeader, outOfTime(ctx)}}
		}
	}
}

// RejoinNode brings a wiped node back as a new server. It has no request id: when its outcome is unknown it is not sent again;
// Status shows what became of it.
func (c *Cluster) RejoinNode(ctx context.Context, req *musterv1.RejoinNodeRequest) (*musterv1.RejoinNodeResponse, error) {
	return do(ctx, c.client, verb{op: "rejoin node", once: true, stream: true}, nil,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.RejoinNodeResponse, error) {
			return musterv1grpc.NewClusterServiceClient(conn).RejoinNode(ctx, req)
		})
}

// TransferLeader hands leadership over, to the node that the request names or to any other one. It has no request id: when its outcome
// is unknown it is not sent again; FindLeader tells what became of it.
func (c *Cluster) TransferLeader(ctx context.Context, req *musterv1.TransferLeaderRequest) (*musterv1.TransferLeaderResponse, error) {
	return do(ctx, c.client, verb{op: "transfer leader", once: true, stream: true}, nil,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.TransferLeaderResponse, error) {
			return musterv1grpc.NewClusterServiceClient(conn).TransferLeader(ctx, req)
		})
}
