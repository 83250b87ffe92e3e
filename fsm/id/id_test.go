package id

import (
	"strings"
	"testing"
)

// long is a name of n runes, each of two bytes.
func long(n int) string { return strings.Repeat("é", n) }

func TestParseRef(t *testing.T) {
	proc := ProcID{"train", 3}
	actor := ActorID{proc, "loader", 7}
	for _, test := range []struct {
		text string
		want Ref
	}{
		{"train", WorldID("train")},
		{"_", WorldID("_")},
		{"hostile", WorldID("hostile")},
		{"host", WorldID("host")},
		{"a-b_c-9", WorldID("a-b_c-9")},
		{"東京", WorldID("東京")},
		{"k\u0663", WorldID("k\u0663")}, // a digit of another script
		{long(63), WorldID(long(63))},
		{"train[0]", ProcID{"train", 0}},
		{"train[3]", proc},
		{"train[16777215]", ProcID{"train", MaxRank}},
		{"host[0]", ProcID{"host", 0}},
		{"host:train[3]", HostID{"train", 3}},
		{"host:host[0]", HostID{"host", 0}},
		{"train[3].loader[7]", actor},
		{"train[3].loader[0]", ActorID{proc, "loader", 0}},
		{"train[3].loader[18446744073709551615]", ActorID{proc, "loader", 1<<64 - 1}},
		{"train[3].loader[7][1024]", PortID{actor, 1024}},
		{"train[3].loader[0][18446744073709551615]", PortID{ActorID{proc, "loader", 0}, 1<<64 - 1}},
	} {
		got, err := ParseRef(test.text)
		if err != nil || got != test.want {
			t.Errorf("ParseRef(%q) = %#v, %v; want %#v", test.text, got, err, test.want)
			continue
		}
		if got.String() != test.text {
			t.Errorf("%#v prints as %q, want %q", got, got.String(), test.text)
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%#v parses but is not valid: %v", got, err)
		}
	}
}

func TestParseActorID_PIDMayBeLeftOut(t *testing.T) {
	got, err := ParseActorID("train[3].loader")
	if want := (ActorID{ProcID{"train", 3}, "loader", 0}); err != nil || got != want {
		t.Fatalf("got %#v, %v", got, err)
	}
	if got.String() != "train[3].loader[0]" {
		t.Errorf("prints as %q", got)
	}
}

func TestParseProcArg(t *testing.T) {
	for _, text := range []string{"train[3]", "train/3"} {
		got, err := ParseProcArg(text)
		if err != nil || got != (ProcID{"train", 3}) {
			t.Errorf("ParseProcArg(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"train", "train/", "/3", "train/03", "train/+3", "train/16777216",
		"train/3/4", "train/3[1]", "train[3]/1", "train/[3]", "tr/ain[3]"} {
		if got, err := ParseProcArg(text); err == nil {
			t.Errorf("ParseProcArg(%q) = %v, want an error", text, got)
		}
	}
}

// Every refused text, and the words that its message must have so that the reader can mend it.
func TestParse_Errors(t *testing.T) {
	world := func(s string) error { _, err := ParseWorldID(s); return err }
	proc := func(s string) error { _, err := ParseProcID(s); return err }
	host := func(s string) error { _, err := ParseHostID(s); return err }
	actor := func(s string) error { _, err := ParseActorID(s); return err }
	port := func(s string) error { _, err := ParsePortID(s); return err }
	address := func(s string) error { _, err := ParseAddress(s); return err }
	for _, test := range []struct {
		name  string
		parse func(string) error
		text  string
		want  string
	}{
		{"empty world", world, "", "1 to 63 runes"},
		{"64 runes", world, long(64), "longer than 63 runes"},
		{"megabytes", world, strings.Repeat("a", 4<<20), "longer than 63 runes"},
		{"not utf-8", world, "a\xff", "not valid UTF-8"},
		{"replacement rune", world, "a\uFFFD", "holds '\uFFFD'"},
		{"begins with digit", world, "9a", `begins with '9'`},
		{"begins with dash", world, "-a", `begins with '-'`},
		{"space", world, "a b", `holds ' '`},
		{"mark", world, "e\u0301", "holds"},
		{"bracket in world", world, "a[0]", `holds '['`},
		{"no rank", proc, "train", `"[" is missing`},
		{"open end", proc, "train[3", `"]" is missing`},
		{"empty rank", proc, "train[]", "not a decimal number"},
		{"leading zero", proc, "train[03]", "without sign or leading zeros"},
		{"plus", proc, "train[+3]", "without sign or leading zeros"},
		{"minus", proc, "train[-3]", "without sign or leading zeros"},
		{"underscore", proc, "train[1_0]", "not a decimal number"},
		{"space in rank", proc, "train[ 3]", "not a decimal number"},
		{"other digits", proc, "train[\u0663]", "not a decimal number"},
		{"rank of 2^24", proc, "train[16777216]", "rank \"16777216\" is above 16777215"},
		{"rank of many digits", proc, "train[" + strings.Repeat("9", 1<<20) + "]", "is above 16777215"},
		{"too much", proc, "train[3]x", "too much"},
		{"actor for proc", proc, "train[3].a[0]", "too much"},
		{"slash", proc, "train/3", `"[" is missing`},
		{"empty world of proc", proc, "[3]", "the name is empty"},
		{"host without prefix", host, "train[3]", `"host:" is missing`},
		{"host in capitals", host, "Host:train[3]", `"host:" is missing`},
		{"host twice", host, "host:host:train[3]", `"[" is missing`},
		{"actor without name", actor, "train[3].", "the name is empty"},
		{"actor with open pid", actor, "train[3].a[1", `"]" is missing`},
		{"actor of 64 runes", actor, "train[3]." + long(64), "longer than 63 runes"},
		{"pid of 2^64", actor, "train[3].a[18446744073709551616]", "above 18446744073709551615"},
		{"pid with zero", actor, "train[3].a[00]", "leading zeros"},
		{"port for actor", actor, "train[3].a[0][1]", "too much"},
		{"port without pid", port, "train[3].a[1]", `"[" is missing`},
		{"port of 2^64", port, "train[3].a[1][18446744073709551616]", "above 18446744073709551615"},
		{"empty address", address, "", "the address is empty"},
		{"no colon", address, "localhost", "begin with a scheme"},
		{"no scheme", address, ":1234", "begin with a scheme"},
		{"host and port", address, "10.0.0.7:4000", "begin with a scheme"},
		{"capital scheme", address, "TCP:a", "begin with a scheme"},
		{"no rest", address, "tcp:", "nothing behind its scheme"},
		{"control character", address, "tcp:a\nb", "cannot be printed"},
		{"address not utf-8", address, "tcp:a\xff", "cannot be printed"},
		{"257 bytes", address, "tcp:" + strings.Repeat("a", 253), "longer than 256 bytes"},
	} {
		err := test.parse(test.text)
		if err == nil {
			t.Errorf("%s: accepted", test.name)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q does not say %q", test.name, err, test.want)
		}
		if len(err.Error()) > 1024 {
			t.Errorf("%s: a message of %d bytes", test.name, len(err.Error()))
		}
	}
}

func TestValidate_ByHand(t *testing.T) {
	bad := ProcID{"train", MaxRank + 1}
	for _, ref := range []Ref{
		WorldID("a b"), bad, HostID(bad), ProcID{}, ActorID{bad, "a", 0}, ActorID{ProcID{"train", 0}, "a.b", 0},
		ActorID{ProcID{"train", 0}, "", 0}, PortID{ActorID{bad, "a", 0}, 0},
	} {
		if ref.Validate() == nil {
			t.Errorf("%#v is valid", ref)
		}
	}
}

// TestAddress_SeenFrom: between two simulated addresses the way is told; whatever cannot be written like that stays as it is.
func TestAddress_SeenFrom(t *testing.T) {
	long := Address("sim:unix:" + strings.Repeat("x", 240))
	for _, test := range []struct{ from, to, seen Address }{
		{"sim:unix:@src", "sim:unix:@dst", "sim:unix:@src,unix:@dst"},
		{"sim:unix:@src,tcp:x", "sim:tcp:y,unix:@dst", "sim:unix:@src,unix:@dst"},
		{"tcp:a:1", "tcp:b:1", "tcp:b:1"},
		{"tcp:a:1", "sim:tcp:b:1", "sim:tcp:b:1"},
		{"sim:tcp:a:1", "tcp:b:1", "tcp:b:1"},
		{"", "sim:tcp:b:1", "sim:tcp:b:1"},
		{"sim:tcp:a:1", "", ""},
		{"sim:sim:tcp:a:1", "sim:tcp:b:1", "sim:tcp:b:1"},
		{"sim:tcp:a:1", "sim:sim:tcp:b:1", "sim:sim:tcp:b:1"},
		{"sim:,", "sim:tcp:b:1", "sim:tcp:b:1"},
		{"sim:tcp:a:1", "sim:tcp:b:1,", "sim:tcp:b:1,"},
		{long, long, long},
	} {
		if seen := test.to.SeenFrom(test.from); seen != test.seen {
			t.Errorf("%s from %s: %s, want %s", test.to, test.from, seen, test.seen)
		}
	}
}

// TestParsePartOf: actors and ports as they are named within their proc.
func TestParsePartOf(t *testing.T) {
	proc := ProcID{World: "w", Rank: 3}
	for text, want := range map[string]string{
		"a": "w[3].a[0]", "a[2]": "w[3].a[2]", "a[2][7]": "w[3].a[2][7]", "a[0][18446744073709551615]": "w[3].a[0][18446744073709551615]",
	} {
		ref, err := ParsePartOf(proc, text)
		if err != nil || ref.String() != want {
			t.Errorf("%s: %v, %v, want %s", text, ref, err, want)
		}
	}
	for _, text := range []string{"", "a[", "a[]", "a[1", "a[1]x", "a[1][", "a[1][2]x", "a[1][2][3]", "9", "a b", "w[0].a", "a[01]", "[1]"} {
		if ref, err := ParsePartOf(proc, text); err == nil || ref != nil {
			t.Errorf("%q: %v, %v", text, ref, err)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, test := range []struct{ text, scheme, rest string }{
		{"tcp:127.0.0.1:8080", "tcp", "127.0.0.1:8080"},
		{"tcp:[::1]:1234", "tcp", "[::1]:1234"},
		{"unix:/run/my agent.sock", "unix", "/run/my agent.sock"},
		{"unix:@abstract", "unix", "@abstract"},
		{"sim:tcp:a:1,tcp:b:2", "sim", "tcp:a:1,tcp:b:2"},
		{"x+y-z.1:é", "x+y-z.1", "é"},
		{"tcp:" + strings.Repeat("a", 252), "tcp", strings.Repeat("a", 252)},
	} {
		address, err := ParseAddress(test.text)
		if err != nil || address.Scheme() != test.scheme || address.Rest() != test.rest || address.String() != test.text {
			t.Errorf("%q: %q, %q, %v", test.text, address.Scheme(), address.Rest(), err)
		}
	}
}

func TestValidateLabel(t *testing.T) {
	for _, test := range []struct {
		name, key, value, want string
	}{
		{"plain", "zone", "eu-1", ""},
		{"empty value", "zone", "", ""},
		{"lines in value", "note", "a\nb=c", ""},
		{"longest key", strings.Repeat("k", 256), "", ""},
		{"longest", "k", strings.Repeat("v", 4095), ""},
		{"no key", "", "v", "1 to 256 bytes"},
		{"long key", strings.Repeat("k", 257), "", "longer than 256 bytes"},
		{"too long", "k", strings.Repeat("v", 4096), "longer than 4096 bytes"},
		{"equals sign", "a=b", "v", `holds "="`},
		{"control", "a\x00", "v", "cannot be printed"},
		{"key not utf-8", "a\xff", "v", "cannot be printed"},
		{"value not utf-8", "a", "\xff", "not valid UTF-8"},
	} {
		err := ValidateLabel(test.key, test.value)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}
