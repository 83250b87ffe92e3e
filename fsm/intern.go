package fsm

import musterv1 "muster/proto/muster/v1"

// maxInterned bounds the strings that are kept to be shared. When there are more, it begins anew: that costs memory, never a result.
const maxInterned = 1 << 16

// interner keeps one copy of strings that many members have in common, such as the names of their machines: each comes with a message of
// its own, and there may be a million.
type interner struct {
	known map[string]string
}

func (i *interner) string(s string) string {
	if s == "" {
		return ""
	}
	if shared, ok := i.known[s]; ok {
		return shared
	}
	if i.known == nil || len(i.known) >= maxInterned {
		i.known = make(map[string]string)
	}
	i.known[s] = s
	return s
}

func (i *interner) labels(labels []*musterv1.Label) {
	for _, l := range labels {
		l.Key, l.Value = i.string(l.Key), i.string(l.Value)
	}
}

// record shares what a new record has in common with others, which nobody else has seen yet.
func (i *interner) record(rec *musterv1.ProcRecord) {
	rec.Proc.World, rec.Machine = i.string(rec.Proc.World), i.string(rec.Machine)
	i.labels(rec.Labels)
}
