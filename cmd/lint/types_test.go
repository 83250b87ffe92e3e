package lint

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A loader finds the types of expressions. What is imported comes from the compiler's export data, which is there once the
// package was built; what is looked at is checked from its source, errors and all.
type loader struct {
	t       *testing.T
	fset    *token.FileSet
	exports map[string]string         // import path -> file of export data
	checked map[string]*types.Package // pure packages, checked from source
	gc      types.Importer
}

func newLoader(t *testing.T) *loader {
	l := &loader{t: t, fset: token.NewFileSet(), exports: map[string]string{}, checked: map[string]*types.Package{}}
	l.gc = importer.ForCompiler(l.fset, "gc", func(path string) (io.ReadCloser, error) {
		if l.exports[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(l.exports[path])
	})
	return l
}

// check returns the types of the files of one package, as far as they can be told.
func (l *loader) check(pkg string, files []*ast.File) *types.Info {
	l.export(files)
	info := &types.Info{
		Types:      map[ast.Expr]types.TypeAndValue{},
		Uses:       map[*ast.Ident]types.Object{},
		Defs:       map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	config := types.Config{Importer: l, Error: func(err error) { l.t.Logf("does not compile yet: %v", err) }}
	checked, _ := config.Check(module+"/"+pkg, l.fset, files, info)
	l.checked[module+"/"+pkg] = checked
	return info
}

// export asks the go tool for the export data of all that files import, which builds it if it must.
func (l *loader) export(files []*ast.File) {
	args := []string{"list", "-e", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}"}
	for _, file := range files {
		for _, spec := range file.Imports {
			path := strings.Trim(spec.Path.Value, "\"`")
			if _, known := l.exports[path]; !known && l.checked[path] == nil && path != "unsafe" {
				l.exports[path] = ""
				args = append(args, path)
			}
		}
	}
	if args[len(args)-1] == "{{.ImportPath}}\t{{.Export}}" {
		return // without arguments the go tool would list this directory
	}
	command := exec.Command("go", args...)
	command.Dir = root
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		l.t.Logf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "\t")
		l.exports[path] = file
	}
}

// Import serves the type checker. A package that cannot be had is empty rather than an error: types that need it stay unknown.
func (l *loader) Import(path string) (*types.Package, error) {
	if checked := l.checked[path]; checked != nil {
		return checked, nil
	}
	if path == "unsafe" {
		return types.Unsafe, nil
	}
	imported, err := l.gc.Import(path)
	if err != nil {
		l.t.Logf("import of %s: %v", path, err)
		imported = types.NewPackage(path, path[strings.LastIndex(path, "/")+1:])
		imported.MarkComplete()
	}
	return imported, nil
}
