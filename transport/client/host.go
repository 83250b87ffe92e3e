package client

import (
	"context"
	"time"

	musterv1 "muster/proto/muster/v1"
)

// HostHandler runs the ranks that a host is given. Spawn, StopRank and Kill are called one after the other, in the order in which
// the cluster ordered them, and must not block; Stop is called on a goroutine of its own.
type HostHandler interface {
	// Port chooses the port that rank 0 of a world listens at for its peers. It is asked by the host of rank 0 when the world does not
	// say, before Spawn, and answers the same port for every rank of one world and generation. An error becomes the failure of the rank.
	Port(order *musterv1.SpawnOrder) (uint32, error)
	// Spawn runs the rank's program. What ran of that rank before has ended. It is called once per rank and order; rank.Started
	// and rank.Exited, once each, or rank.Exited alone, tell what came of it.
	Spawn(rank *Rank)
	// StopRank asks the program to end, and ends it when timeout has passed. rank.Exited tells when it has.
	StopRank(rank *Rank, timeout time.Duration, reason string)
	// Kill ends the program at once, as it must not run any more. It may come more than once. rank.Exited tells when it has ended.
	Kill(rank *Rank, reason string)
	// Stop ends what is left of the world, every program, and answers when all have ended. ctx ends with the time they are given.
	Stop(ctx context.Context, order *musterv1.StopOrder) StopOutcome
}

// Rank is one run of a rank's program on this host. Safe for concurrent use.
type Rank struct {
	// Number is the spawn order's: it names this run for ever.
	Number uint64
	// Order says what to run. Not to be changed. MasterPort is filled in.
	Order *musterv1.SpawnOrder

	started func(*Rank)
	exited  func(*Rank, *musterv1.Exit)
}

// Started tells the cluster that the program runs. It does not block.
func (r *Rank) Started() { r.started(r) }

// Exited tells the cluster how the program ended, or that it could not be started. Only the first call counts. It does not block.
func (r *Rank) Exited(exit *musterv1.Exit) { r.exited(r, exit) }
