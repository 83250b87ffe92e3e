package id

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNameRunes is the length limit of world and actor names, in runes.
const MaxNameRunes = 63

// WorldID names a world: a letter or "_", then letters, digits, "_" and "-" (letters and digits of any script), at most
// MaxNameRunes runes.
type WorldID string

// ParseWorldID reads a world id. The error names the limit that text breaks.
func ParseWorldID(text string) (WorldID, error) {
	if err := WorldID(text).Validate(); err != nil {
		return "", err
	}
	return WorldID(text), nil
}

// Validate says which rule w breaks, nil if none.
func (w WorldID) Validate() error {
	if err := validateName(string(w)); err != nil {
		return fmt.Errorf("world id %s: %w", quote(string(w)), err)
	}
	return nil
}

// String is w as text.
func (w WorldID) String() string { return string(w) }

// Compare is -1, 0 or +1 as w sorts before, with or after other.
func (w WorldID) Compare(other WorldID) int { return strings.Compare(string(w), string(other)) }

// validateName checks the alphabet that worlds and actors share.
func validateName(name string) error {
	if name == "" {
		return fmt.Errorf("the name is empty; it takes 1 to %d runes", MaxNameRunes)
	}
	// Asked of the bytes first, so that a name of megabytes is refused without a walk through it.
	if len(name) > MaxNameRunes*utf8.UTFMax || utf8.RuneCountInString(name) > MaxNameRunes {
		return fmt.Errorf("the name is longer than %d runes; shorten it", MaxNameRunes)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("the name is not valid UTF-8")
	}
	for i, r := range name {
		if r == '_' || unicode.IsLetter(r) {
			continue
		}
		if i == 0 {
			return fmt.Errorf("the name begins with %q; begin it with a letter or \"_\"", r)
		}
		if r != '-' && !unicode.IsDigit(r) {
			return fmt.Errorf("the name holds %q; use letters, digits, \"_\" and \"-\"", r)
		}
	}
	return nil
}

// quote prints hostile text for a message: escaped, and cut so that a message stays a line.
func quote(text string) string {
	const limit = 80
	if len(text) <= limit {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%q… (%d bytes)", text[:limit], len(text))
}
