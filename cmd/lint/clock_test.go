package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wallClockReaders are the files that may turn a time into a date, or a date into a time: what they write is for people, or seeds the numbers
// of an empty cluster.
var wallClockReaders = []string{
	"system/seal.go", "system/restore.go", "cmd/muster/node/node.go", "raftnode/raftnodetest/cluster.go",
	"cmd/muster/explain_text.go", "cmd/muster/watch.go", "cmd/muster/world_get.go",
}

// TestWallClock: no decision of a server, a member or an agent rests on what day it is, so that a machine whose clock is an hour off is
// as good as any other. Everything is timed by differences of the monotonic clock.
func TestWallClock(t *testing.T) {
	for _, name := range goFiles(t) {
		reads, err := readsWallClock(filepath.Join(root, name), nil)
		if err != nil {
			t.Logf("%s cannot be read yet: %v", name, err)
			continue
		}
		allowed := slices.Contains(wallClockReaders, name)
		switch {
		case reads && !allowed:
			t.Errorf("%s: turns a time into a date, or a date into a time", name)
		case allowed && !reads:
			t.Errorf("%s: is allowed to read the wall clock, and does not", name)
		}
	}
}

// readsWallClock finds calls such as t.UnixMilli() and t.Round(0), which drop the monotonic clock, and such as time.UnixMilli(x) and
// f.ModTime(), which give times that never had one, so that what has passed since then depends on the day.
func readsWallClock(name string, src any) (bool, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
	if err != nil {
		return false, err
	}
	reads := false
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if ok && (len(call.Args) == 0 && strings.HasPrefix(selector.Sel.Name, "Unix") || selector.Sel.Name == "AsTime" || roundsToNothing(selector, call) || makesTime(selector, call)) {
			reads = true
		}
		return true
	})
	return reads, nil
}

// makesTime: time.UnixMilli(x), but not time.Unix(1, 0), which is long ago whatever day it is.
func makesTime(selector *ast.SelectorExpr, call *ast.CallExpr) bool {
	if selector.Sel.Name == "ModTime" {
		return true
	}
	from, ok := selector.X.(*ast.Ident)
	return ok && from.Name == "time" &&
		slices.Contains([]string{"Unix", "UnixMilli", "UnixMicro", "Date", "Parse", "ParseInLocation"}, selector.Sel.Name) &&
		slices.ContainsFunc(call.Args, func(e ast.Expr) bool { _, literal := e.(*ast.BasicLit); return !literal })
}

// roundsToNothing: t.Round(0) keeps the date only.
func roundsToNothing(selector *ast.SelectorExpr, call *ast.CallExpr) bool {
	if selector.Sel.Name != "Round" || len(call.Args) != 1 {
		return false
	}
	arg, ok := call.Args[0].(*ast.BasicLit)
	return ok && arg.Value == "0"
}

func TestWallClock_Snippet(t *testing.T) {
	for src, want := range map[string]bool{
		`package a; var x = time.Now().UnixNano()`:   true,
		`package a; var x = t.Unix()`:                true,
		`package a; var x = p.AsTime()`:              true,
		`package a; var x = time.Now().Round(0)`:     true,
		`package a; var x = d.Round(time.Second)`:    false,
		`package a; var x = time.UnixMilli(7)`:       false,
		`package a; var x = time.Unix(1, 0)`:         false,
		`package a; var x = time.UnixMilli(y)`:       true,
		`package a; var x = time.Unix(s, 0)`:         true,
		`package a; var x, _ = time.Parse(f, s)`:     true,
		`package a; var x = info.ModTime()`:          true,
		`package a; var x = time.Since(t)`:           false,
		`package a; var x = unix.Kill(1, 2)`:         false,
		`package a; func UnixMilli() { f.Unix = 3 }`: false,
	} {
		got, err := readsWallClock("a.go", src)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", src, got, err, want)
		}
	}
}
