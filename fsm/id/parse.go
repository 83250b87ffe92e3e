package id

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parser reads one identifier from left to right and keeps the first error. It cuts its input and copies nothing, so hostile text
// costs one walk through it and a message of bounded length.
type parser struct {
	what string // what is read, for messages
	form string // how that is written, for messages
	text string
	rest string
	err  error
}

// parse lets read take all of text. The value is zero unless the error is nil.
func parse[T any](what, form, text string, read func(*parser) T) (T, error) {
	p := &parser{what: what, form: form, text: text, rest: text}
	value := read(p)
	if p.rest != "" {
		p.failf("%s is too much at the end", quote(p.rest))
	}
	if p.err != nil {
		var zero T
		return zero, p.err
	}
	return value, nil
}

func (p *parser) failf(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%s %s: %w; write %s", p.what, quote(p.text), fmt.Errorf(format, args...), p.form)
	}
}

func (p *parser) expect(token string) {
	rest, found := strings.CutPrefix(p.rest, token)
	if !found {
		p.failf("%q is missing", token)
	}
	p.rest = rest
}

// piece cuts off what stands before the next delimiter.
func (p *parser) piece() string {
	i := strings.IndexAny(p.rest, "[].:/")
	if i < 0 {
		i = len(p.rest)
	}
	piece := p.rest[:i]
	p.rest = p.rest[i:]
	return piece
}

// name reads a world's or an actor's name.
func (p *parser) name(field string) string {
	name := p.piece()
	if err := validateName(name); err != nil {
		p.failf("%s %s: %w", field, quote(name), err)
	}
	return name
}

// number reads a canonical decimal: one that prints back as it was written.
func (p *parser) number(field string, limit uint64) uint64 {
	digits := p.piece()
	n, err := strconv.ParseUint(digits, 10, 64)
	if digits != "" && strings.Trim(digits, "0123456789") == "" && (err != nil || n > limit) {
		p.failf("%s %s is above %d", field, quote(digits), limit)
	} else if err != nil || strconv.FormatUint(n, 10) != digits {
		p.failf("%s %s is not a decimal number without sign or leading zeros", field, quote(digits))
	}
	return n
}

// index reads a number in brackets.
func (p *parser) index(field string, limit uint64) uint64 {
	p.expect("[")
	n := p.number(field, limit)
	p.expect("]")
	return n
}

func (p *parser) proc() ProcID {
	return ProcID{World: WorldID(p.name("world")), Rank: uint32(p.index("rank", MaxRank))}
}

// procArg reads world[rank] or world/rank.
func (p *parser) procArg() ProcID {
	id := ProcID{World: WorldID(p.name("world"))}
	rest, slash := strings.CutPrefix(p.rest, "/")
	if !slash {
		id.Rank = uint32(p.index("rank", MaxRank))
		return id
	}
	p.rest = rest
	id.Rank = uint32(p.number("rank", MaxRank))
	return id
}

func (p *parser) host() HostID {
	p.expect(hostPrefix)
	return HostID(p.proc())
}

// actorName reads world[rank].actor, what comes before the pid.
func (p *parser) actorName() ActorID {
	proc := p.proc()
	p.expect(".")
	return ActorID{Proc: proc, Actor: p.name("actor")}
}

func (p *parser) actor() ActorID {
	id := p.actorName()
	if p.rest != "" {
		id.PID = p.index("pid", math.MaxUint64)
	}
	return id
}

func (p *parser) port() PortID {
	id := PortID{Actor: p.actorName()}
	id.Actor.PID = p.index("pid", math.MaxUint64)
	id.Port = p.index("port", math.MaxUint64)
	return id
}
