package id

import (
	"cmp"
	"strings"
)

// Ref is any identifier of something inside the system: a WorldID, ProcID, HostID, ActorID or PortID.
type Ref interface {
	String() string
	Validate() error
	key() refKey
}

// depth says how far down from the world a Ref reaches. Its order breaks ties: absent sorts first.
type depth int

const (
	depthWorld depth = iota
	depthHost
	depthProc
	depthActor
	depthPort
)

// refKey holds every part of a Ref, the parts below its depth zero.
type refKey struct {
	port  PortID
	depth depth
}

func (w WorldID) key() refKey {
	return refKey{PortID{Actor: ActorID{Proc: ProcID{World: w}}}, depthWorld}
}
func (h HostID) key() refKey  { return refKey{PortID{Actor: ActorID{Proc: ProcID(h)}}, depthHost} }
func (p ProcID) key() refKey  { return refKey{PortID{Actor: ActorID{Proc: p}}, depthProc} }
func (a ActorID) key() refKey { return refKey{PortID{Actor: a}, depthActor} }
func (p PortID) key() refKey  { return refKey{p, depthPort} }

// ParseRef reads any of the printed forms and returns the identifier as its own type.
func ParseRef(text string) (Ref, error) {
	switch brackets := strings.Count(text, "["); {
	case strings.HasPrefix(text, hostPrefix):
		return refOrError(ParseHostID(text))
	case strings.Contains(text, ".") && brackets > 2:
		return refOrError(ParsePortID(text))
	case strings.Contains(text, "."):
		return refOrError(ParseActorID(text))
	case brackets > 0:
		return refOrError(ParseProcID(text))
	default:
		return refOrError(ParseWorldID(text))
	}
}

// refOrError keeps a half-read value from leaking out beside an error.
func refOrError[R Ref](ref R, err error) (Ref, error) {
	if err != nil {
		return nil, err
	}
	return ref, nil
}

// Compare orders identifiers of any kind by world, rank, actor, pid and port, an absent part first: -1, 0 or +1. So everything
// in a world follows the world, and everything in a proc follows the proc; a host stands before the proc of its rank.
func Compare(a, b Ref) int {
	ka, kb := a.key(), b.key()
	// A world goes before rank 0 by its depth, an actor before its port 0 likewise: zero stands for absent everywhere else.
	return cmp.Or(
		ka.port.Actor.Proc.World.Compare(kb.port.Actor.Proc.World),
		cmp.Compare(min(ka.depth, depthHost), min(kb.depth, depthHost)),
		cmp.Compare(ka.port.Actor.Proc.Rank, kb.port.Actor.Proc.Rank),
		cmp.Compare(min(ka.depth, depthActor), min(kb.depth, depthActor)),
		ka.port.Actor.Compare(kb.port.Actor),
		cmp.Compare(ka.depth, kb.depth),
		cmp.Compare(ka.port.Port, kb.port.Port),
	)
}

// IsPrefix says whether b is a or lies within it: a world contains all its hosts, procs, actors and ports, a proc its actors and
// ports; hosts, actors and ports contain themselves alone.
func IsPrefix(a, b Ref) bool {
	ka, kb := a.key(), b.key()
	switch ka.depth {
	case depthWorld:
		return ka.port.Actor.Proc.World == kb.port.Actor.Proc.World
	case depthProc:
		return kb.depth >= depthProc && ka.port.Actor.Proc == kb.port.Actor.Proc
	default:
		return ka == kb
	}
}
