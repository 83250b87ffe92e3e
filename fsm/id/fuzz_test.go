package id

import "testing"

// roundTrip holds what every identifier promises: what parses prints as it was, or, where canonical is false, as something that
// parses to the same value; and what parses is valid.
func roundTrip[R interface {
	comparable
	Ref
}](t *testing.T, text string, parse func(string) (R, error), canonical bool) {
	t.Helper()
	ref, err := parse(text)
	if err != nil {
		var zero R
		if ref != zero {
			t.Fatalf("%q: %#v beside the error %v", text, ref, err)
		}
		return
	}
	if err := ref.Validate(); err != nil {
		t.Fatalf("%q parses as %#v, which is not valid: %v", text, ref, err)
	}
	printed := ref.String()
	if canonical && printed != text {
		t.Fatalf("%q prints back as %q", text, printed)
	}
	if again, err := parse(printed); err != nil || again != ref {
		t.Fatalf("%q parses as %#v, its print %q as %#v, %v", text, ref, printed, again, err)
	}
	if Compare(ref, ref) != 0 || !IsPrefix(ref, ref) {
		t.Fatalf("%v is not itself", ref)
	}
	if any, err := ParseRef(printed); err != nil || any != Ref(ref) {
		t.Fatalf("ParseRef(%q) = %#v, %v", printed, any, err)
	}
}

// FuzzParse has every parser read the same text.
func FuzzParse(f *testing.F) {
	for _, ref := range sorted {
		f.Add(ref.String())
	}
	for _, text := range []string{
		"", "a/1", "a[01]", "a[1].b", "a[1].b[2][3]", "host:a[0]", "東京[5]", "a[18446744073709551616]", "\xff",
		"tcp:127.0.0.1:1", "unix:@a", "sim:tcp:a,tcp:b", ":", "tcp:", "tcp:\x7f",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		roundTrip(t, text, ParseWorldID, true)
		roundTrip(t, text, ParseProcID, true)
		roundTrip(t, text, ParseProcArg, false)
		roundTrip(t, text, ParseHostID, true)
		roundTrip(t, text, ParseActorID, false)
		roundTrip(t, text, ParsePortID, true)
		checkAddress(t, text)
	})
}

func checkAddress(t *testing.T, text string) {
	t.Helper()
	address, err := ParseAddress(text)
	if err != nil {
		return
	}
	for _, other := range []Address{address, "sim:tcp:a:1", "tcp:a:1"} {
		if seen := address.SeenFrom(other); seen.Validate() != nil || seen.Scheme() != address.Scheme() {
			t.Fatalf("%q seen from %q is %q", address, other, seen)
		}
	}
	if address.String() != text || address.Scheme()+":"+address.Rest() != text || len(text) > MaxAddressBytes {
		t.Fatalf("%q: %q + %q", text, address.Scheme(), address.Rest())
	}
}

// Any valid value put together by hand prints as a text that parses back to it, also through the parser of all kinds.
func FuzzParsePrinted(f *testing.F) {
	f.Add("a", uint32(1), "b", uint64(2), uint64(3))
	f.Add("host", uint32(MaxRank), "_", uint64(1<<63), uint64(1<<64-1))
	f.Fuzz(func(t *testing.T, world string, rank uint32, actor string, pid, port uint64) {
		id := PortID{ActorID{ProcID{WorldID(world), rank}, actor, pid}, port}
		for _, ref := range []Ref{id.Actor.Proc.World, HostID(id.Actor.Proc), id.Actor.Proc, id.Actor, id} {
			got, err := ParseRef(ref.String())
			if valid := ref.Validate() == nil; valid && (err != nil || got != ref) {
				t.Fatalf("%#v prints as %q, which parses as %#v, %v", ref, ref, got, err)
			}
		}
	})
}
