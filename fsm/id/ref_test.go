package id

import (
	"slices"
	"testing"
)

// sorted is one of each kind and more, in the order of Compare.
var sorted = []Ref{
	WorldID("a"),
	HostID{"a", 0},
	ProcID{"a", 0},
	ActorID{ProcID{"a", 0}, "x", 0},
	PortID{ActorID{ProcID{"a", 0}, "x", 0}, 0},
	PortID{ActorID{ProcID{"a", 0}, "x", 0}, 9},
	ActorID{ProcID{"a", 0}, "x", 1},
	PortID{ActorID{ProcID{"a", 0}, "x", 1}, 0},
	ActorID{ProcID{"a", 0}, "y", 0},
	HostID{"a", 1},
	ProcID{"a", 1},
	ProcID{"a", 2},
	ActorID{ProcID{"a", 2}, "x", 0},
	ProcID{"a", 10},
	WorldID("a-b"),
	WorldID("b"),
	HostID{"b", 0},
	ProcID{"b", 0},
}

func TestCompare(t *testing.T) {
	for i, a := range sorted {
		for j, b := range sorted {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := Compare(a, b); got != want {
				t.Errorf("Compare(%v, %v) = %d, want %d", a, b, got, want)
			}
		}
	}
	shuffled := slices.Clone(sorted)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, Compare)
	if !slices.Equal(shuffled, sorted) {
		t.Errorf("sorted as %v", shuffled)
	}
}

// The methods of one kind and the order of all kinds are one order.
func TestCompare_Typed(t *testing.T) {
	for _, a := range sorted {
		for _, b := range sorted {
			var got int
			switch a := a.(type) {
			case WorldID:
				b, same := b.(WorldID)
				if !same {
					continue
				}
				got = a.Compare(b)
			case HostID:
				b, same := b.(HostID)
				if !same {
					continue
				}
				got = a.Compare(b)
			case ProcID:
				b, same := b.(ProcID)
				if !same {
					continue
				}
				got = a.Compare(b)
			case ActorID:
				b, same := b.(ActorID)
				if !same {
					continue
				}
				got = a.Compare(b)
			case PortID:
				b, same := b.(PortID)
				if !same {
					continue
				}
				got = a.Compare(b)
			}
			if want := Compare(a, b); got != want {
				t.Errorf("%v.Compare(%v) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestIsPrefix(t *testing.T) {
	proc := ProcID{"a", 1}
	actor := ActorID{proc, "x", 2}
	port := PortID{actor, 3}
	for _, test := range []struct {
		a, b Ref
		want bool
	}{
		{WorldID("a"), WorldID("a"), true},
		{WorldID("a"), HostID{"a", 1}, true},
		{WorldID("a"), proc, true},
		{WorldID("a"), actor, true},
		{WorldID("a"), port, true},
		{WorldID("a"), WorldID("ab"), false}, // of the text, but not of the thing
		{WorldID("b"), port, false},
		{proc, WorldID("a"), false},
		{proc, proc, true},
		{proc, actor, true},
		{proc, port, true},
		{proc, HostID{"a", 1}, false},
		{proc, ProcID{"a", 10}, false},
		{ProcID{"a", 0}, WorldID("a"), false},
		{HostID{"a", 1}, HostID{"a", 1}, true},
		{HostID{"a", 1}, proc, false},
		{actor, actor, true},
		{actor, port, false},
		{port, port, true},
	} {
		if got := IsPrefix(test.a, test.b); got != test.want {
			t.Errorf("IsPrefix(%v, %v) = %v, want %v", test.a, test.b, got, test.want)
		}
	}
}
