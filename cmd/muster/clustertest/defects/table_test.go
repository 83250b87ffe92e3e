package defects

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lastDefect is the number of the last one.
const lastDefect = 83

// reasons are the defects that no test can give an input for, and why.
var reasons = map[int]string{
	33: "Two messages of its log were in each other's place. Here the state says how a stop ended, in the outcome of each target, and no log line does.",
	44: "A Join named its world twice, and the two were never compared. Here a member is named once: its id is its world, role and rank.",
	77: "It knew no users, rights or quotas, and neither does this one yet: a server listens on loopback only unless it is told --insecure, " +
		"and who reaches its port may do everything. README says so under its limits.",
	80: "A test showed nothing of what it was named after. What it meant is held by D18, D19 and D53: what cannot be delivered, and to whom.",
	81: "Comments and inputs of its tests contradicted each other. Ranks outside the shape, which two of them joined, are decided by D9.",
	82: "Marks of unfinished work in its source. What they ask for is D21, D45, D18, D53, D5 and D65.",
}

// root is the top of the module.
const root = "../../../.."

var testName = regexp.MustCompile(`^TestDefect_D([1-9][0-9]*)_[A-Z]`)

// testsOfDefects are the names of the tests of each number, wherever they are. Each must say the defect right above.
func testsOfDefects(t *testing.T) map[int][]string {
	t.Helper()
	found := map[int][]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != root:
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "TestDefect_") {
				continue
			}
			m := testName.FindStringSubmatch(f.Name.Name)
			require.NotNil(t, m, "%s: name it TestDefect_D<number>_<What>", f.Name.Name)
			require.NotEmpty(t, f.Doc.Text(), "%s: say the defect, and what is done here, in a comment above it", f.Name.Name)
			number, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			found[number] = append(found[number], f.Name.Name)
		}
		return nil
	}))
	return found
}

// Each defect has a test, or a reason why it has none, and not both.
func TestDefects_EachHasATestOrAReason(t *testing.T) {
	tests := testsOfDefects(t)
	for number := 1; number <= lastDefect; number++ {
		_, excused := reasons[number]
		switch n := len(tests[number]); {
		case n == 0 && !excused:
			t.Errorf("D%d has neither a test nor a reason", number)
		case n > 0 && excused:
			t.Errorf("D%d has a test, %v, and a reason why it has none", number, tests[number])
		}
	}
	for number := range maps.Keys(tests) {
		require.LessOrEqual(t, number, lastDefect, "%v", tests[number])
	}
	for number := range maps.Keys(reasons) {
		require.LessOrEqual(t, number, lastDefect)
	}
}
