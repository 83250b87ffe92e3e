package id

import (
	"cmp"
	"fmt"
	"strconv"
)

// MaxProcs is how many ranks a world has at most; MaxRank is the greatest rank.
const (
	MaxProcs = 1 << 24
	MaxRank  = MaxProcs - 1
)

// ProcID is one rank of a world, printed world[rank].
type ProcID struct {
	World WorldID
	// Rank is 0 to MaxRank.
	Rank uint32
}

// ParseProcID reads world[rank].
func ParseProcID(text string) (ProcID, error) {
	return parse("proc id", "world[rank]", text, (*parser).proc)
}

// ParseProcArg reads world[rank] or world/rank, which no shell takes for a pattern. For command lines only; nothing prints it.
func ParseProcArg(text string) (ProcID, error) {
	return parse("proc", "world[rank] or world/rank", text, (*parser).procArg)
}

// Validate says which rule p breaks, nil if none.
func (p ProcID) Validate() error {
	if err := p.World.Validate(); err != nil {
		return err
	}
	if p.Rank > MaxRank {
		return fmt.Errorf("rank %d of world %s: the greatest rank is %d", p.Rank, p.World, MaxRank)
	}
	return nil
}

// String is world[rank].
func (p ProcID) String() string {
	return string(p.World) + "[" + strconv.FormatUint(uint64(p.Rank), 10) + "]"
}

// Compare orders by world, then rank: -1, 0 or +1.
func (p ProcID) Compare(other ProcID) int {
	return cmp.Or(p.World.Compare(other.World), cmp.Compare(p.Rank, other.Rank))
}

// HostID is the membership of a machine agent in one world, printed host:world[rank]. Hosts of a world have ranks of their own.
type HostID struct {
	World WorldID
	// Rank is 0 to MaxRank.
	Rank uint32
}

const hostPrefix = "host:"

// ParseHostID reads host:world[rank].
func ParseHostID(text string) (HostID, error) {
	return parse("host id", "host:world[rank]", text, (*parser).host)
}

// Validate says which rule h breaks, nil if none.
func (h HostID) Validate() error { return ProcID(h).Validate() }

// String is host:world[rank].
func (h HostID) String() string { return hostPrefix + ProcID(h).String() }

// Compare orders by world, then rank: -1, 0 or +1.
func (h HostID) Compare(other HostID) int { return ProcID(h).Compare(ProcID(other)) }
