package id

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ActorID is one actor of a proc, printed world[rank].actor[pid]. When read, [pid] may be missing and means 0, the root actor
// of that name.
type ActorID struct {
	Proc ProcID
	// Actor is a name of the same alphabet and length as a world's.
	Actor string
	PID   uint64
}

// ParseActorID reads world[rank].actor[pid] or world[rank].actor.
func ParseActorID(text string) (ActorID, error) {
	return parse("actor id", "world[rank].actor[pid]", text, (*parser).actor)
}

// ParseActorOf reads an actor as it is named within its proc: actor[pid] or actor.
func ParseActorOf(proc ProcID, text string) (ActorID, error) {
	return parse("actor", "actor[pid]", text, func(p *parser) ActorID {
		a := ActorID{Proc: proc, Actor: p.name("actor")}
		if p.rest != "" {
			a.PID = p.index("pid", math.MaxUint64)
		}
		return a
	})
}

// ParsePartOf reads an actor, or a port of one, as they are named within their proc: actor[pid], actor, or actor[pid][port].
func ParsePartOf(proc ProcID, text string) (Ref, error) {
	if strings.Count(text, "[") < 2 {
		return refOrError(ParseActorOf(proc, text))
	}
	return refOrError(parse("port", "actor[pid][port]", text, func(p *parser) PortID {
		a := ActorID{Proc: proc, Actor: p.name("actor"), PID: p.index("pid", math.MaxUint64)}
		return PortID{Actor: a, Port: p.index("port", math.MaxUint64)}
	}))
}

// Validate says which rule a breaks, nil if none.
func (a ActorID) Validate() error {
	if err := a.Proc.Validate(); err != nil {
		return err
	}
	if err := validateName(a.Actor); err != nil {
		return fmt.Errorf("actor %s: %w", quote(a.Actor), err)
	}
	return nil
}

// String is world[rank].actor[pid], the pid always written.
func (a ActorID) String() string {
	return a.Proc.String() + "." + a.Actor + "[" + strconv.FormatUint(a.PID, 10) + "]"
}

// Compare orders by proc, then name, then pid: -1, 0 or +1.
func (a ActorID) Compare(other ActorID) int {
	return cmp.Or(a.Proc.Compare(other.Proc), strings.Compare(a.Actor, other.Actor), cmp.Compare(a.PID, other.PID))
}

// PortID is one port of an actor, printed world[rank].actor[pid][port].
type PortID struct {
	Actor ActorID
	Port  uint64
}

// ParsePortID reads world[rank].actor[pid][port]. The pid must be there, else port and pid could not be told apart.
func ParsePortID(text string) (PortID, error) {
	return parse("port id", "world[rank].actor[pid][port]", text, (*parser).port)
}

// Validate says which rule p breaks, nil if none.
func (p PortID) Validate() error { return p.Actor.Validate() }

// String is world[rank].actor[pid][port].
func (p PortID) String() string {
	return p.Actor.String() + "[" + strconv.FormatUint(p.Port, 10) + "]"
}

// Compare orders by actor, then port: -1, 0 or +1.
func (p PortID) Compare(other PortID) int {
	return cmp.Or(p.Actor.Compare(other.Actor), cmp.Compare(p.Port, other.Port))
}
