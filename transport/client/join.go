package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
)

// MemberConfig says who joins. In a program that a host has started World may be left empty: world, rank and incarnation are then taken
// from MUSTER_WORLD, RANK and MUSTER_INCARNATION.
type MemberConfig struct {
	// World id. Required.
	World string
	// Role; unspecified = worker.
	Role musterv1.Role
	// Rank in the world.
	Rank uint32
	// AssignRank asks for a rank instead; hosts only.
	AssignRank bool
	// Key says who may hold the rank while its lease runs; empty = the machine's name.
	Key string
	// Machine, for people; empty = the machine's name.
	Machine string
	// Address where the member listens, "scheme:rest"; may be empty.
	Address string
	// Labels, at most 64 and 4 KiB each.
	Labels map[string]string
	// Mode says how closely the member is tied to the system; unspecified = managed by the system.
	Mode musterv1.Mode
	// TakeOver takes the rank even though another holder's lease still runs. It counts for the first join only.
	TakeOver bool
	// Handler does what the cluster orders; nil = a stop order ends the member with *Stopped.
	Handler Handler
	// Host runs the ranks that a host is given; hosts need one, others have none.
	Host HostHandler
	// Incarnation that the calling program's host started it with, as MUSTER_INCARNATION says: it claims its rank with it.
	Incarnation uint64
	// OnRejoin hears that the member has joined again, under its new incarnation. It must return soon and must not call Leave
	// or Close.
	OnRejoin func(proc *musterv1.ProcRef)
	// Actors are handlers for what others post to this member, by name as in Handle. They are there before the first message can come.
	Actors map[string]MessageHandler
	// OnAddress hears where a proc is that the member has posted to or resolved: the first time, and when that changes. It must return
	// soon and must not call Leave or Close.
	OnAddress func(at Location)
}

// handlers are Actors by where they listen.
func (cfg MemberConfig) handlers() (map[listening]MessageHandler, error) {
	out := map[listening]MessageHandler{}
	for name, handler := range cfg.Actors {
		ref, err := id.ParsePartOf(id.ProcID{World: id.WorldID(cfg.World), Rank: cfg.Rank}, name)
		if err != nil {
			return nil, fmt.Errorf("client: join: Actors: %w", err)
		}
		at := listeningAt(endpointOf(ref))
		if out[at] != nil {
			return nil, fmt.Errorf("client: join: Actors: %s is there twice", name)
		}
		out[at] = handler
	}
	return out, nil
}

// Handler does what the cluster orders.
type Handler interface {
	// Stop ends what the member runs. ctx ends with the time the proc is given, and with the member. It is called at most
	// once in a member's life, on a goroutine of its own; the member goes on reporting meanwhile, and until the cluster says
	// that the world has ended.
	Stop(ctx context.Context, order *musterv1.StopOrder) StopOutcome
}

// StopOutcome is what came of a stop order.
type StopOutcome struct {
	// ActorsStopped by themselves.
	ActorsStopped uint32
	// ActorsAborted because they did not.
	ActorsAborted uint32
}

// StopFunc is a Handler that is only a function.
type StopFunc func(ctx context.Context, order *musterv1.StopOrder) StopOutcome

// Stop calls the function.
func (f StopFunc) Stop(ctx context.Context, order *musterv1.StopOrder) StopOutcome {
	return f(ctx, order)
}

func (cfg MemberConfig) withDefaults() (MemberConfig, error) {
	if cfg.World == "" {
		var err error
		if cfg, err = cfg.fromEnvironment(); err != nil {
			return cfg, err
		}
	}
	if (cfg.Role == musterv1.Role_ROLE_HOST) != (cfg.Host != nil) {
		return cfg, errors.New("client: join: a host needs a Host to run its ranks, and nobody else has one")
	}
	if cfg.Host != nil {
		cfg.Handler = StopFunc(cfg.Host.Stop)
	}
	if cfg.Role == musterv1.Role_ROLE_UNSPECIFIED {
		cfg.Role = musterv1.Role_ROLE_WORKER
	}
	if cfg.Mode == musterv1.Mode_MODE_UNSPECIFIED {
		cfg.Mode = musterv1.Mode_MODE_MANAGED_BY_SYSTEM
	}
	if cfg.Key != "" && cfg.Machine != "" {
		return cfg, nil
	}
	machine, err := os.Hostname()
	if err != nil {
		return cfg, fmt.Errorf("client: join: the machine has no name, give Key and Machine: %w", err)
	}
	if cfg.Key == "" {
		cfg.Key = machine
	}
	if cfg.Machine == "" {
		cfg.Machine = machine
	}
	return cfg, nil
}

// fromEnvironment fills in what the host that started this program has said.
func (cfg MemberConfig) fromEnvironment() (MemberConfig, error) {
	cfg.World = os.Getenv("MUSTER_WORLD")
	if cfg.World == "" {
		return cfg, errors.New("client: join: World is empty; give the id of the world to join")
	}
	rank, err := strconv.ParseUint(os.Getenv("RANK"), 10, 32)
	if err != nil {
		return cfg, fmt.Errorf("client: join: MUSTER_WORLD is set and RANK is not a rank: %w", err)
	}
	cfg.Rank = uint32(rank)
	if text := os.Getenv("MUSTER_INCARNATION"); text != "" {
		if cfg.Incarnation, err = strconv.ParseUint(text, 10, 64); err != nil {
			return cfg, fmt.Errorf("client: join: MUSTER_INCARNATION: %w", err)
		}
	}
	return cfg, nil
}

func (cfg MemberConfig) request() *musterv1.JoinRequest {
	req := &musterv1.JoinRequest{
		World: cfg.World, Role: cfg.Role, Rank: cfg.Rank, AssignRank: cfg.AssignRank, Key: cfg.Key, Machine: cfg.Machine,
		Address: cfg.Address, Mode: cfg.Mode, TakeOver: cfg.TakeOver, Incarnation: cfg.Incarnation,
	}
	for key, value := range cfg.Labels {
		req.Labels = append(req.Labels, &musterv1.Label{Key: key, Value: value})
	}
	slices.SortFunc(req.Labels, func(a, b *musterv1.Label) int {
		if a.GetKey() < b.GetKey() {
			return -1
		}
		return 1
	})
	return req
}

// Join makes the calling program a member and keeps it one, until Leave, Close, or a verdict of the cluster. ctx bounds only
// the joining itself. An error is an *Error, or says what is wrong with cfg; where its outcome is unknown the cluster may hold
// a member that nobody reports for, until its lease ends.
func (c *Client) Join(ctx context.Context, cfg MemberConfig) (*Member, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	handlers, err := cfg.handlers()
	if err != nil {
		return nil, err
	}
	if !c.addMember() {
		return nil, fmt.Errorf("join: %w", ErrClosed)
	}
	first, err := c.join(ctx, verb{op: "join"}, cfg.request())
	if err != nil {
		c.members.Done()
		return nil, err
	}
	cfg.TakeOver, cfg.AssignRank, cfg.Rank = false, false, first.GetProc().GetRank()
	m := newMember(c, cfg, handlers, first)
	go m.run()
	return m, nil
}

// membership is a join's answer and from when its lease counts.
type membership struct {
	*musterv1.JoinResponse
	// When the request was first sent. The state counts from when it applied one of its copies, which cannot be earlier.
	sent time.Time
}

// join sends one join under a nonce of its own until it is answered.
func (c *Client) join(ctx context.Context, v verb, req *musterv1.JoinRequest) (membership, error) {
	r := c.newRequest(nil)
	sent := time.Now()
	answer, err := do(ctx, c, v, r,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.JoinResponse, error) {
			copied := proto.CloneOf(req)
			copied.Nonce, copied.Issued = r.id, r.issued
			return musterv1grpc.NewMemberServiceClient(conn).Join(ctx, copied)
		})
	return membership{answer, sent}, err
}

// leave ends the membership of one incarnation.
func (c *Client) leave(ctx context.Context, proc *musterv1.ProcRef) error {
	r := c.newRequest(nil)
	_, err := do(ctx, c, verb{op: "leave"}, r,
		func(ctx context.Context, conn grpc.ClientConnInterface) (*musterv1.LeaveResponse, error) {
			return musterv1grpc.NewMemberServiceClient(conn).Leave(ctx, &musterv1.LeaveRequest{Proc: proc, Issued: r.issued})
		})
	return err
}
