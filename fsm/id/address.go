package id

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxAddressBytes is the length limit of an address, scheme and colon included.
const MaxAddressBytes = 256

// Address says where something listens: scheme:rest, as in tcp:10.0.0.7:4000, unix:/run/a.sock or sim:tcp:a:1,tcp:b:2. The scheme is
// a lower-case letter, then lower-case letters, digits, "+", "-" and "."; the rest is printable and opaque to Muster, which stores
// it and hands it on unchanged.
type Address string

// ParseAddress reads an address. An empty one is an error here; where none is allowed, the caller asks first.
func ParseAddress(text string) (Address, error) {
	if err := Address(text).Validate(); err != nil {
		return "", err
	}
	return Address(text), nil
}

// ValidateAddress is Address.Validate for text that stays text.
func ValidateAddress(text string) error { return Address(text).Validate() }

// Validate says which rule a breaks, nil if none.
func (a Address) Validate() error {
	text := string(a)
	scheme, rest, colon := strings.Cut(text, ":")
	switch {
	case text == "":
		return fmt.Errorf("the address is empty; write scheme:rest, like tcp:10.0.0.7:4000")
	case len(text) > MaxAddressBytes:
		return fmt.Errorf("address %s is longer than %d bytes; shorten it", quote(text), MaxAddressBytes)
	case !colon || !validScheme(scheme):
		return fmt.Errorf("address %s does not begin with a scheme, a lower-case letter, then lower-case letters, digits, \"+\", \"-\" "+
			"or \".\", and a colon; write scheme:rest, like tcp:10.0.0.7:4000", quote(text))
	case rest == "":
		return fmt.Errorf("address %s has nothing behind its scheme; write scheme:rest, like tcp:10.0.0.7:4000", quote(text))
	case !printable(rest):
		return fmt.Errorf("address %s holds a character that cannot be printed; remove it", quote(text))
	}
	return nil
}

// String is a as text.
func (a Address) String() string { return string(a) }

// Scheme is what stands before the first colon of a valid address, like "tcp".
func (a Address) Scheme() string {
	scheme, _, _ := strings.Cut(string(a), ":")
	return scheme
}

// Rest is what stands behind the first colon of a valid address.
func (a Address) Rest() string {
	_, rest, _ := strings.Cut(string(a), ":")
	return rest
}

// simScheme is that of simulated networks: sim:plain is where something listens, sim:src,dst is the way from src to dst.
const simScheme = "sim"

// SeenFrom is what somebody who listens at from, which may be empty, is told of a. Between two simulated addresses that is the way from the
// one's plain address to the other's; whatever cannot be written like that is told as it is.
func (a Address) SeenFrom(from Address) Address {
	if a.Scheme() != simScheme || from.Scheme() != simScheme {
		return a
	}
	source, _, _ := strings.Cut(from.Rest(), ",")
	target := a.Rest()[strings.LastIndex(a.Rest(), ",")+1:]
	for _, plain := range []Address{Address(source), Address(target)} {
		if plain.Validate() != nil || plain.Scheme() == simScheme {
			return a
		}
	}
	way := Address(simScheme + ":" + source + "," + target)
	if way.Validate() != nil {
		return a
	}
	return way
}

// Compare is -1, 0 or +1 as a sorts before, with or after other.
func (a Address) Compare(other Address) int { return strings.Compare(string(a), string(other)) }

func validScheme(scheme string) bool {
	for i, r := range scheme {
		letter := r >= 'a' && r <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", r)) {
			return false
		}
	}
	return scheme != ""
}

// printable is false for control characters and for bytes that are no UTF-8.
func printable(text string) bool {
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(text)
}
