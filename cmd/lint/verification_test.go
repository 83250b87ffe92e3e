package lint

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// verification is the table of promises, each with the tests that hold it.
const verification = "deploy/verification.md"

// holder matches what may hold a promise: package.TestName, where the package is the last part of its path and the name may end with *; or
// a story or script by its path.
var holder = regexp.MustCompile("`([^`]+)`")

// stories are where what a path names is played.
var stories = []string{"fsm/testdata", "cmd/muster/testdata/script"}

// evidence is what a table may name.
type evidence struct {
	tests  map[string][]string // names by package
	script func(path string) bool
}

// holds tells whether a name stands for something that is there.
func (e evidence) holds(name string) bool {
	if strings.Contains(name, "/") {
		return slices.Contains(stories, path.Dir(name)) && path.Ext(name) == ".txt" && e.script(name)
	}
	pkg, test, found := strings.Cut(name, ".")
	prefix, many := strings.CutSuffix(test, "*")
	return found && slices.ContainsFunc(e.tests[pkg], func(have string) bool {
		return have == test || many && prefix != "" && strings.HasPrefix(have, prefix)
	})
}

// checkVerification says what is wrong with a table: rows whose tests are not there, or that have none, and tests of the system before that no
// row names. A row is a line that begins with |; its last cell names the tests.
func checkVerification(text string, e evidence) []error {
	var errs []error
	var named []string
	rows := 0
	for i, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|--") || strings.HasPrefix(line, "| promise ") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "| "), "|")
		holders := holder.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(cells) < 2 || len(holders) == 0 {
			errs = append(errs, fmt.Errorf("line %d: no test holds this: %s", i+1, line))
		}
		for _, h := range holders {
			if named = append(named, h[1]); !e.holds(h[1]) {
				errs = append(errs, fmt.Errorf("line %d: there is no %s", i+1, h[1]))
			}
		}
	}
	if rows == 0 {
		errs = append(errs, errors.New("no row at all"))
	}
	for pkg, tests := range e.tests {
		for _, test := range tests {
			if (strings.HasPrefix(test, "TestScenario_") || strings.HasPrefix(test, "TestDefect_")) && !names(named, pkg+"."+test) {
				errs = append(errs, fmt.Errorf("no row names %s.%s", pkg, test))
			}
		}
	}
	return errs
}

// names tells whether one of the names, which may end with *, is that of a test.
func names(named []string, test string) bool {
	return slices.ContainsFunc(named, func(name string) bool {
		prefix, many := strings.CutSuffix(name, "*")
		return name == test || many && strings.HasPrefix(test, prefix)
	})
}

// testsOf lists the tests and fuzz tests of the tree by the last part of their package's path.
func testsOf(t *testing.T) map[string][]string {
	t.Helper()
	tests, dirs := map[string][]string{}, map[string]string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (skipped(path.Base(name)) || isModule(name)):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, pkg := path.Dir(name), path.Base(path.Dir(name))
		if other, taken := dirs[pkg]; taken && other != dir {
			return fmt.Errorf("%s and %s end alike: the table could mean either", other, dir)
		}
		dirs[pkg] = dir
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) && f.Name.Name != "TestMain" {
				tests[pkg] = append(tests[pkg], f.Name.Name)
			}
		}
		return nil
	})
	require.NoError(t, err)
	return tests
}

// TestVerification: every promise of the table is held by tests that are there.
func TestVerification(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, verification))
	require.NoError(t, err)
	e := evidence{tests: testsOf(t), script: func(name string) bool {
		_, err := os.Stat(filepath.Join(root, name))
		return err == nil
	}}
	require.Contains(t, e.tests["lint"], "TestVerification")
	for _, err := range checkVerification(string(text), e) {
		t.Errorf("%s: %v", verification, err)
	}
}

func TestVerification_Snippets(t *testing.T) {
	e := evidence{
		tests:  map[string][]string{"fsm": {"TestA", "TestAB"}, "id": {"FuzzX"}, "old": {"TestScenario_T1_Join", "TestDefect_D2_Spin"}},
		script: func(name string) bool { return name == "fsm/testdata/a.txt" || name == "fsm/a.txt" },
	}
	const all = "| all | `old.TestScenario_*`, `old.TestDefect_D2_Spin` |\n"
	for row, problem := range map[string]string{
		"| it is so | `fsm.TestA` |":                                   "",
		"| it is so | `fsm.TestA`, `id.FuzzX`, `fsm/testdata/a.txt` |": "",
		"| it is `so` | `fsm.Test*` |":                                 "",
		"| it is so | |":                                               "no test holds this",
		"| it is `fsm.TestA` | |":                                      "no test holds this",
		"| it is so |":                                                 "no test holds this",
		"| it is so | `fsm.TestC` |":                                   "there is no fsm.TestC",
		"| it is so | `fsm.TestA`, `id.TestA` |":                       "there is no id.TestA",
		"| it is so | `fsm.*` |":                                       "there is no fsm.*",
		"| it is so | `TestA` |":                                       "there is no TestA",
		"| it is so | `fsm/testdata/b.txt` |":                          "there is no fsm/testdata/b.txt",
		"| it is so | `fsm/a.txt` |":                                   "there is no fsm/a.txt",
	} {
		errs := checkVerification("# Promises\n\n| promise | held by |\n|---|---|\n"+all+row, e)
		if problem == "" {
			require.Empty(t, errs, row)
			continue
		}
		require.Len(t, errs, 1, row)
		require.ErrorContains(t, errs[0], problem)
	}
	require.Len(t, checkVerification("| promise | held by |\n|---|---|\n", e), 3, "no row, and two tests that none names")
}
