package id

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of labels.
const (
	// MaxLabels is how many labels a world or proc holds at most.
	MaxLabels = 64
	// MaxLabelKeyBytes is the length limit of a key.
	MaxLabelKeyBytes = 256
	// MaxLabelBytes is the length limit of a key and its value together.
	MaxLabelBytes = 4096
)

// ValidateLabel checks one label: the key has 1 to MaxLabelKeyBytes bytes, all printable, no "="; the value is any valid UTF-8; both
// together have at most MaxLabelBytes bytes. How many labels there are (MaxLabels), their order and that keys are there once is for
// the caller to check.
func ValidateLabel(key, value string) error {
	switch {
	case key == "":
		return fmt.Errorf("a label has an empty key; it takes 1 to %d bytes", MaxLabelKeyBytes)
	case len(key) > MaxLabelKeyBytes:
		return fmt.Errorf("label %s: the key is longer than %d bytes; shorten it", quote(key), MaxLabelKeyBytes)
	case len(key)+len(value) > MaxLabelBytes:
		return fmt.Errorf("label %s: key and value together are longer than %d bytes; shorten the value", quote(key), MaxLabelBytes)
	case strings.Contains(key, "="):
		return fmt.Errorf("label %s: the key holds \"=\"; remove it", quote(key))
	case !printable(key):
		return fmt.Errorf("label %s: the key holds a character that cannot be printed; remove it", quote(key))
	case !utf8.ValidString(value):
		return fmt.Errorf("label %s: the value is not valid UTF-8", quote(key))
	}
	return nil
}
