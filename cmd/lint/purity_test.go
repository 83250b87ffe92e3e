package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// purePackages hold the replicated state: same entries in, same bytes out, on every node.
var purePackages = []string{"fsm/id", "fsm", "proto/wire"}

// sortedWalker is the one file that may range over maps, because it sorts the keys first.
const sortedWalker = "fsm/sorted.go"

// timeNames is what may be used of package time: durations and their units, data without a clock or a time zone behind it.
var timeNames = []string{"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}

// mapsNames is what may not be used of package maps: what shows the order of a map to its caller.
var mapsNames = []string{"All", "Keys", "Values", "DeleteFunc", "EqualFunc"}

// protoreflect is a package whose Range methods walk in no order, as maps do.
const protoreflect = "google.golang.org/protobuf/reflect/protoreflect"

// TestPurity holds the pure packages against purity.
func TestPurity(t *testing.T) {
	load := newLoader(t)
	for _, pkg := range purePackages {
		files := map[string]any{}
		for _, name := range goFiles(t) {
			if path.Dir(name) == pkg {
				files[name] = nil
			}
		}
		if len(files) == 0 {
			t.Logf("package %s does not exist yet", pkg)
		}
		for _, complaint := range load.purity(pkg, files) {
			t.Error(complaint)
		}
	}
}

// purity says where the files of one package are impure. They are read from the tree where their source is nil. Files that cannot
// be parsed, and expressions without a type, are passed over: such a tree does not compile.
func (l *loader) purity(pkg string, sources map[string]any) []string {
	var files []*ast.File
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		source := sources[name]
		filename := name
		if source == nil {
			filename = filepath.Join(root, name)
		}
		file, err := parser.ParseFile(l.fset, filename, source, parser.SkipObjectResolution)
		if err != nil {
			l.t.Logf("%s cannot be read yet: %v", name, err)
			continue
		}
		files = append(files, file)
	}
	info := l.check(pkg, files)
	var complaints []string
	for _, file := range files {
		p := &purity{fset: l.fset, info: info}
		p.mayRange = strings.HasSuffix(filepath.ToSlash(l.fset.Position(file.Pos()).Filename), sortedWalker)
		ast.Inspect(file, p.visit)
		complaints = append(complaints, p.complaints...)
	}
	return complaints
}

// purity walks one file.
type purity struct {
	fset       *token.FileSet
	info       *types.Info
	mayRange   bool
	complaints []string
}

func (p *purity) complain(node ast.Node, format string, args ...any) {
	p.complaints = append(p.complaints, fmt.Sprintf("%s: %s", p.fset.Position(node.Pos()), fmt.Sprintf(format, args...)))
}

func (p *purity) visit(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.GoStmt:
		p.complain(node, "go statement: the state machine has one goroutine, its caller's")
	case *ast.ChanType:
		p.complain(node, "channel: the state machine has one goroutine, its caller's")
	case *ast.SendStmt:
		p.complain(node, "send: the state machine has one goroutine, its caller's")
	case *ast.SelectStmt:
		p.complain(node, "select: which case is taken is up to chance")
	case *ast.UnaryExpr:
		if node.Op == token.ARROW {
			p.complain(node, "receive: the state machine has one goroutine, its caller's")
		}
	case *ast.ImportSpec:
		p.visitImport(node)
	case *ast.SelectorExpr:
		p.visitSelector(node)
	case *ast.RangeStmt:
		p.visitRange(node)
	}
	return true
}

func (p *purity) visitImport(spec *ast.ImportSpec) {
	imported := strings.Trim(spec.Path.Value, "\"`")
	if matchAny(impure, imported) {
		p.complain(spec, "import of %s: it reaches outside the state", imported)
	}
	if spec.Name != nil && spec.Name.Name == "." {
		p.complain(spec, "dot import of %s: it hides where a name comes from", imported)
	}
}

func (p *purity) visitSelector(selector *ast.SelectorExpr) {
	if method := p.info.Selections[selector]; method != nil {
		if owner := method.Obj().Pkg(); owner != nil && owner.Path() == protoreflect && selector.Sel.Name == "Range" {
			p.complain(selector, "Range of protoreflect: it walks fields in no order; name them")
		}
		return
	}
	ident, isIdent := selector.X.(*ast.Ident)
	if !isIdent {
		return
	}
	imported, isPackage := p.info.Uses[ident].(*types.PkgName)
	if !isPackage {
		return
	}
	switch name := selector.Sel.Name; imported.Imported().Path() {
	case "time":
		if !slices.Contains(timeNames, name) {
			p.complain(selector, "time.%s: time comes with the entries; of package time only Duration and its units are used", name)
		}
	case "maps":
		if slices.Contains(mapsNames, name) && !p.mayRange {
			p.complain(selector, "maps.%s: maps have no order; walk with sorted of %s", name, sortedWalker)
		}
	}
}

func (p *purity) visitRange(statement *ast.RangeStmt) {
	switch typ := p.info.TypeOf(statement.X); {
	case typ == nil:
	case holds[*types.Chan](typ):
		p.complain(statement, "range over a channel: the state machine has one goroutine, its caller's")
	case holds[*types.Map](typ) && !p.mayRange:
		p.complain(statement, "range over %s: maps have no order; walk with sorted of %s", typ, sortedWalker)
	}
}

// holds says whether a T lies beneath typ, or beneath one of the types that a type parameter stands for.
func holds[T types.Type](typ types.Type) bool {
	if _, direct := typ.Underlying().(T); direct {
		return true
	}
	union, isUnion := typ.(*types.Union)
	if isUnion {
		for term := range union.Terms() {
			if holds[T](term.Type()) {
				return true
			}
		}
	}
	_, isParameter := types.Unalias(typ).(*types.TypeParam)
	constraint, isInterface := typ.Underlying().(*types.Interface)
	if isInterface && (isParameter || !constraint.IsMethodSet()) {
		for embedded := range constraint.EmbeddedTypes() {
			if holds[T](embedded) {
				return true
			}
		}
	}
	return false
}
