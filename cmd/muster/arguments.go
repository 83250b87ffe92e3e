package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

// worlds checks world ids given as arguments.
func worlds(args []string) error {
	for _, arg := range args {
		if _, err := id.ParseWorldID(arg); err != nil {
			return &usageError{err}
		}
	}
	return nil
}

// parseLabels reads key=value pairs, sorted by key.
func parseLabels(what string, pairs []string) ([]*musterv1.Label, error) {
	var labels []*musterv1.Label
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usagef("%s %q: give key=value", what, pair)
		}
		if err := id.ValidateLabel(key, value); err != nil {
			return nil, usagef("%s: %w", what, err)
		}
		labels = append(labels, &musterv1.Label{Key: key, Value: value})
	}
	slices.SortStableFunc(labels, func(a, b *musterv1.Label) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	for i := 1; i < len(labels); i++ {
		if labels[i].GetKey() == labels[i-1].GetKey() {
			return nil, usagef("%s: the key %q is given twice", what, labels[i].GetKey())
		}
	}
	return labels, nil
}

// parseShape reads dimensions: "2,3".
func parseShape(text string) (*musterv1.Shape, error) {
	shape := &musterv1.Shape{}
	for _, part := range strings.Split(text, ",") {
		dim, err := strconv.ParseUint(strings.TrimSpace(part), 10, 32)
		if err != nil || dim == 0 {
			return nil, usagef("--shape %q: give dimensions of at least 1, separated by commas, such as 2,3", text)
		}
		shape.Dims = append(shape.Dims, uint32(dim))
	}
	return shape, nil
}

// timeout is a flag for a timeout of a world in nanoseconds: not given is 0, which takes the cluster's setting.
type timeout struct {
	ns    int64
	never bool // "never" may be given
}

func (t *timeout) String() string {
	if t.ns == 0 {
		return ""
	}
	return timeoutText(t.ns)
}

func (t *timeout) Type() string { return "duration" }

func (t *timeout) Set(text string) error {
	if t.never && text == "never" {
		t.ns = -1
		return nil
	}
	duration, err := time.ParseDuration(text)
	if err != nil || duration <= 0 {
		form := "a duration above 0, such as 3s"
		if t.never {
			form += ", or never"
		}
		return fmt.Errorf("give %s", form)
	}
	t.ns = int64(duration)
	return nil
}

// exactly is cobra.ExactArgs with a message that says what is wanted.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return fmt.Errorf("give %s (got %d arguments)", strings.Join(names, " and "), len(args))
		}
		return nil
	}
}
