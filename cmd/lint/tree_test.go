package lint

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// root is the top of the module, seen from this package's directory, where tests run.
const root = "../.."

// module is the path of the module, and of everything in it with a slash behind.
const module = "muster"

// goFiles lists the module's Go files, tests and testdata apart, as slash-separated paths from the top.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != "." && (skipped(path.Base(name)) || isModule(name)) {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && !skipped(path.Base(name)) {
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// skipped is what the go tool does not look at either.
func skipped(base string) bool {
	return base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(root, dir, "go.mod"))
	return err == nil
}

func TestGoFiles(t *testing.T) {
	found := map[string]bool{}
	for _, name := range goFiles(t) {
		found[name] = true
	}
	if !found["cmd/lint/doc.go"] || !found["fsm/id/doc.go"] {
		t.Errorf("the walk misses files: %v", found)
	}
	if found["cmd/lint/tree_test.go"] {
		t.Error("the walk takes tests for code")
	}
}
