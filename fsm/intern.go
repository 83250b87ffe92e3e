package fsm

import musterv1 "muster/proto/muster/v1"

// maxInterned bounds the strings that are kept to be shared. When there are more, it begins anew: that costs memory, never a result.
const maxInterned = 1 << 16

// interner keeps one copy of strings that many members have in common, such as the names of their machines: each comes with a message of
// its own, and there may be a million.
type interner struct {
	known map[string]*string
}

// pointer to the copy that is kept; nil for the empty string.
func (i *interner) pointer(s string) *string {
	if s == "" {
		return nil
	}
	if shared, ok := i.known[s]; ok {
		return shared
	}
	if i.known == nil || len(i.known) >= maxInterned {
		i.known = make(map[string]*string)
	}
	kept := s // not s itself, or each call would allocate
	i.known[s] = &kept
	return &kept
}

// pointerTo is pointer of text that may change, and is copied if it is new.
func (i *interner) pointerTo(text []byte) *string {
	if shared, ok := i.known[string(text)]; ok {
		return shared
	}
	return i.pointer(string(text))
}

func (i *interner) string(s string) string { return pointedAt(i.pointer(s)) }

// pointedAt is the string that pointer was asked for.
func pointedAt(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// labels that nobody else has seen yet.
func (i *interner) labels(labels []*musterv1.Label) {
	for _, l := range labels {
		l.Key, l.Value = i.string(l.Key), i.string(l.Value)
	}
}
