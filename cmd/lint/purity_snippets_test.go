package lint

import (
	"strings"
	"testing"
)

// TestPurity_Snippets shows that each ban bites, and that what is allowed passes. Every snippet is a file of its own.
func TestPurity_Snippets(t *testing.T) {
	load := newLoader(t) // one for all: what it must ask the go tool, it asks once
	for _, test := range []struct {
		name, source, want string // want is a part of the only complaint; none is expected where it is empty
	}{
		{"go", `func f() { go f() }`, "go statement"},
		{"channel type", `var c chan int`, "channel"},
		{"make channel", `func f() { _ = make(chan struct{}) }`, "channel"},
		{"send", `type t struct{ c interface{ C() } }; func f() { c <- 1 }`, "send"},
		{"receive", `func f() { <-c }`, "receive"},
		{"select", `func f() { select {} }`, "select"},
		{"now", `import "time"; func f() { _ = time.Now() }`, "time.Now"},
		{"now, renamed", `import clock "time"; func f() { _ = clock.Now() }`, "time.Now"},
		{"now, as a value", `import "time"; var now = time.Now`, "time.Now"},
		{"since", `import "time"; var f = time.Since`, "time.Since"},
		{"until", `import "time"; var f = time.Until`, "time.Until"},
		{"after", `import "time"; var f = time.After`, "time.After"},
		{"after func", `import "time"; var f = time.AfterFunc`, "time.AfterFunc"},
		{"sleep", `import "time"; func f() { time.Sleep(1) }`, "time.Sleep"},
		{"timer", `import "time"; func f() { time.NewTimer(1) }`, "time.NewTimer"},
		{"ticker", `import "time"; func f() { time.NewTicker(1) }`, "time.NewTicker"},
		{"tick", `import "time"; var f = time.Tick`, "time.Tick"},
		{"time zone", `import "time"; var f = time.Unix`, "time.Unix"},
		{"dot import", `import . "time"; var d Duration`, "dot import"},
		{"sync", `import "sync"; var m sync.Mutex`, "import of sync"},
		{"atomic", `import "sync/atomic"; var n atomic.Int64`, "import of sync/atomic"},
		{"unsafe", `import "unsafe"; var p unsafe.Pointer`, "import of unsafe"},
		{"rand", `import "math/rand/v2"; var n = rand.Int()`, "import of math/rand/v2"},
		{"crypto rand", `import "crypto/rand"; var n = rand.Text()`, "import of crypto/rand"},
		{"map variable", `func f(m map[int]int) { for range m {} }`, "range over map[int]int"},
		{"map local", `func f() { m := map[int]int{}; for k := range m { _ = k } }`, "range over map[int]int"},
		{"map field", `type s struct{ in struct{ m map[string]int } }; func f(x *s) { for range x.in.m {} }`, "range over map[string]int"},
		{"named map", `type set map[int]bool; func f(s set) { for range s {} }`, "range over muster/snippet.set"},
		{"alias of map", `type set = map[int]bool; func f(s set) { for range s {} }`, "range over"},
		{"map of a call", `func m() map[int]int { return nil }; func f() { for range m() {} }`, "range over map[int]int"},
		{"map of an import", `import "net/http/httptrace"; func f(x httptrace.WroteRequestInfo) {}`, "import of net/http/httptrace"},
		{"map type of an import", `import "go/build/constraint"; import "text/template"; func f() { for range (template.FuncMap{}) {} }; var _ constraint.Expr`,
			"range over text/template.FuncMap"},
		{"generic map", `func f[M ~map[K]V, K comparable, V any](m M) { for range m {} }`, "range over M"},
		{"map of a constraint", `type c interface{ ~map[int]int | map[int]int }; func f[M c](m M) { for range m {} }`, "range over M"},
		{"keys", `import "maps"; func f(m map[int]int) { for range maps.Keys(m) {} }`, "maps.Keys"},
		{"keys, renamed", `import mm "maps"; var f = mm.Values[map[int]int]`, "maps.Values"},
		{"fields of a message", `import musterv1 "muster/proto/muster/v1"; func f(m *musterv1.WorldSpec) { m.ProtoReflect().Range(nil) }`,
			"Range of protoreflect"},
		{"type errors elsewhere", `var x nonsense = undefined(); func f(m map[int]int) { for range m {} }`, "range over map[int]int"},

		{"durations", `import "time"; const d = 2 * time.Second; func f(d time.Duration) int64 { return d.Nanoseconds() }`, ""},
		{"slice of a map", `func f(m map[int][]int) { for range m[3] {} }`, ""},
		{"slice of a message", `import musterv1 "muster/proto/muster/v1"; func f(m *musterv1.WorldSpec) { for range m.GetShape().GetDims() {} }`, ""},
		{"slice of an import", `import "slices"; func f(s []int) { for range slices.Sorted(slices.Values(s)) {} }`, ""},
		{"range over a function", `import "iter"; func f(s iter.Seq[int]) { for range s {} }`, ""},
		{"range over a number", `func f() { for range 3 {} }`, ""},
		{"generic slice", `func f[S ~[]E, E any](s S) { for range s {} }`, ""},
		{"clone", `import "maps"; func f(m map[int]int) { _ = maps.Clone(m) }`, ""},
		{"own Range", `type l struct{}; func (l) Range() {}; func f(x l) { x.Range() }`, ""},
		{"own Now", `type clock struct{}; func (clock) Now() int { return 0 }; func f(time clock) { time.Now() }`, ""},
		{"unknown type", `func f() { for range undefined {} }`, ""},
		{"unknown import", `import "muster/does/not/exist"; func f() { for range exist.M {} }`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := load.purity("snippet", map[string]any{"snippet.go": "package snippet; " + test.source})
			if test.want == "" && len(got) != 0 {
				t.Errorf("complaints %q, want none", got)
			}
			if test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)) {
				t.Errorf("complaints %q, want one about %q", got, test.want)
			}
		})
	}
}

// TestPurity_SortedWalker: only the one file may range over a map, and only over a map.
func TestPurity_SortedWalker(t *testing.T) {
	load := newLoader(t)
	source := `package fsm; import "maps"; func %s(m map[int]int) { for range m {}; for range maps.Keys(m) {} }`
	got := load.purity("fsm", map[string]any{
		"fsm/sorted.go":   strings.Replace(source, "%s", "a", 1),
		"fsm/unsorted.go": strings.Replace(source, "%s", "b", 1),
	})
	if len(got) != 2 || !strings.Contains(got[0], "unsorted.go") || !strings.Contains(got[1], "unsorted.go") {
		t.Errorf("complaints %q, want two about unsorted.go", got)
	}
}
