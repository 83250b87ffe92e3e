package lint

import (
	"fmt"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A rule says what packages may import. Paths that begin with a word and no dot are Muster's own. "x/**" is x and all below it;
// "std" is the whole standard library, "*" is anything.
type rule struct {
	packages []string
	may      []string
	mayNot   []string // out of what may allows
}

const (
	grpc      = "google.golang.org/grpc/**"
	genproto  = "google.golang.org/genproto/googleapis/rpc/**"
	protobuf  = "google.golang.org/protobuf/**"
	s2        = "github.com/klauspost/compress/s2"
	xsync     = "golang.org/x/sync/**"
	hclog     = "github.com/hashicorp/go-hclog"
	testify   = "github.com/stretchr/testify/**"
	hashicorp = "github.com/hashicorp/**"
)

// impure is what the state machine must not reach: the machine it runs on, other goroutines, chance, and texts whose form may
// differ between two processes (the protobuf text and JSON printers vary their white space on purpose).
var impure = []string{
	"C", "context", "crypto/rand", "hash/maphash", "io/ioutil", "log/**", "math/rand/**", "net/**", "os/**", "plugin", "reflect", "runtime/**",
	"sync/**", "syscall/**", "testing/**", "unique", "unsafe", "weak",
	"google.golang.org/protobuf/encoding/prototext", "google.golang.org/protobuf/encoding/protojson",
}

// rules is the table of architecture: the first rule that names a package binds it, and a package that no rule names is an
// error. Whoever adds a line moves a wall.
var rules = []rule{
	{packages: []string{"cmd/**", "deploy/**"}, may: []string{"*"}},

	{packages: []string{"proto/muster/v1"}, may: []string{protobuf, "std"}}, // no gRPC: the state machine imports it
	{packages: []string{"proto/muster/v1/musterv1grpc"}, may: []string{"proto/muster/v1", grpc, protobuf, "std"}},

	{packages: []string{"proto/wire"}, may: []string{"proto/muster/v1", protobuf, "std"}, mayNot: impure}, // the state machine reads and writes with it
	{packages: []string{"proto/wire/wiretest"}, may: []string{protobuf, testify, "std"}},

	{packages: []string{"fsm/id"}, may: []string{"std"}, mayNot: impure},
	// Of s2 only the functions for single blocks, which are pure.
	{packages: []string{"fsm"}, may: []string{"fsm/id", "proto/muster/v1", "proto/wire", protobuf, "github.com/tidwall/btree", s2, "std"}, mayNot: impure},
	{packages: []string{"fsm/fsmtest"}, may: []string{"fsm", "fsm/id", "proto/muster/v1", protobuf, testify, "std"}},

	// It takes a state machine by interface and knows nothing of worlds.
	{packages: []string{"raftnode/raftnodetest"}, may: []string{"raftnode", "proto/**", hashicorp, grpc, testify, "std"}},
	{packages: []string{"raftnode/**"}, may: []string{"raftnode/**", "proto/muster/v1", "proto/wire", hashicorp, "go.etcd.io/bbolt/**", protobuf, xsync, "std"}},

	// Never raftnode, never transport: what it needs of them it declares as interfaces.
	{packages: []string{"system/**"}, may: []string{"system/**", "fsm", "fsm/id", "proto/muster/v1", "github.com/google/btree", xsync, hclog, protobuf, "std"}},

	{
		packages: []string{"transport/server/**", "transport/session/**"},
		may:      []string{"system/**", "fsm", "fsm/id", "proto/**", "transport/rpcstatus", "transport/codec", grpc, genproto, protobuf, xsync, hclog, "std"},
	},
	// No server code in a client's binary.
	{packages: []string{"transport/client/**"}, may: []string{"proto/**", "fsm/id", "transport/rpcstatus", "transport/codec", grpc, protobuf, xsync, hclog, "std"}},
	{packages: []string{"transport/codec"}, may: []string{"proto/**", grpc, protobuf, "std"}},
	{packages: []string{"transport/rpcstatus"}, may: []string{"proto/muster/v1", grpc, genproto, protobuf, "std"}},
	{packages: []string{"transport/mux", "transport/tlsconf"}, may: []string{"std"}},
}

// TestImports holds every file of the tree against rules.
func TestImports(t *testing.T) {
	for _, name := range goFiles(t) {
		imports, err := importsOf(filepath.Join(root, name), nil)
		if err != nil {
			t.Logf("%s cannot be read yet: %v", name, err) // the compiler will say so, louder
			continue
		}
		for _, complaint := range checkImports(path.Dir(name), imports) {
			t.Errorf("%s: %s", name, complaint)
		}
	}
}

// importsOf reads the import paths of a file, or of src if that is not nil.
func importsOf(name string, src any) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var imports []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		imports = append(imports, imported)
	}
	return imports, nil
}

// checkImports says what is wrong with a file of package pkg, a path from the top of the module, that has these imports.
func checkImports(pkg string, imports []string) []string {
	i := slices.IndexFunc(rules, func(r rule) bool { return matchAny(r.packages, pkg) })
	if i < 0 {
		return []string{fmt.Sprintf("no rule says what package %s may import; add one to rules in cmd/lint/imports_test.go", pkg)}
	}
	var complaints []string
	for _, imported := range imports {
		local := strings.TrimPrefix(imported, module+"/")
		if !matchAny(rules[i].may, local) || matchAny(rules[i].mayNot, local) {
			complaints = append(complaints, fmt.Sprintf("package %s must not import %s; the rules are in cmd/lint/imports_test.go", pkg, imported))
		}
	}
	return complaints
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, name) })
}

func match(pattern, name string) bool {
	if dir, below := strings.CutSuffix(pattern, "/**"); below {
		return name == dir || strings.HasPrefix(name, dir+"/")
	}
	return pattern == "*" || pattern == name || pattern == "std" && isStandard(name)
}

// isStandard is true for the standard library: no dot in the first part, and not one of this module's directories.
func isStandard(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return !strings.Contains(first, ".") && !slices.Contains([]string{"cmd", "deploy", "fsm", "proto", "raftnode", "system", "transport", "C"}, first)
}

// TestImports_Rules shows that each wall stands, and where its doors are.
func TestImports_Rules(t *testing.T) {
	for _, test := range []struct {
		pkg, imported string
		allowed       bool
	}{
		{"cmd/muster", "muster/raftnode", true},
		{"cmd/muster/node", "github.com/any/thing", true},
		{"deploy/demo", "muster/transport/client", true},
		{"proto/muster/v1", "google.golang.org/protobuf/proto", true},
		{"proto/muster/v1", "google.golang.org/grpc", false},
		{"proto/muster/v1", "muster/proto/muster/v1/musterv1grpc", false},
		{"proto/muster/v1/musterv1grpc", "google.golang.org/grpc", true},
		{"proto/muster/v1/musterv1grpc", "muster/fsm", false},
		{"proto/wire", "muster/proto/muster/v1", true},
		{"proto/wire", "time", true},
		{"proto/wire", "os", false},
		{"proto/wire", "google.golang.org/grpc/encoding", false},
		{"transport/codec", "muster/proto/wire", true},
		{"transport/codec", "muster/transport/client", false},
		{"fsm", "muster/proto/wire", true},
		{"fsm/id", "strings", true},
		{"fsm/id", "os", false},
		{"fsm/id", "muster/proto/muster/v1", false},
		{"fsm/id", "github.com/tidwall/btree", false},
		{"fsm", "muster/fsm/id", true},
		{"fsm", "muster/proto/muster/v1", true},
		{"fsm", "google.golang.org/protobuf/proto", true},
		{"fsm", "google.golang.org/protobuf/encoding/prototext", false},
		{"fsm", "github.com/tidwall/btree", true},
		{"fsm", "github.com/klauspost/compress/s2", true},
		{"fsm", "github.com/klauspost/compress/zstd", false},
		{"fsm", "time", true},
		{"fsm", "os", false},
		{"fsm", "net/netip", false},
		{"fsm", "sync/atomic", false},
		{"fsm", "log", false},
		{"fsm", "log/slog", false},
		{"fsm", "math", true},
		{"fsm", "math/rand", false},
		{"fsm", "math/rand/v2", false},
		{"fsm", "crypto/rand", false},
		{"fsm", "crypto/sha256", true},
		{"fsm", "hash/maphash", false},
		{"fsm", "unsafe", false},
		{"fsm", "C", false},
		{"fsm", "muster/proto/muster/v1/musterv1grpc", false},
		{"fsm", "muster/fsm/fsmtest", false},
		{"fsm", "muster/system", false},
		{"fsm", "github.com/hashicorp/go-hclog", false},
		{"fsm", "google.golang.org/grpc/codes", false},
		{"fsm/fsmtest", "muster/fsm", true},
		{"fsm/fsmtest", "math/rand/v2", true},
		{"fsm/fsmtest", "muster/raftnode", false},
		{"raftnode", "github.com/hashicorp/raft", true},
		{"raftnode", "github.com/hashicorp/raft-boltdb/v2", true},
		{"raftnode", "go.etcd.io/bbolt", true},
		{"raftnode", "net", true},
		{"raftnode", "muster/proto/muster/v1", true},
		{"raftnode", "muster/fsm", false},
		{"raftnode", "muster/fsm/id", false},
		{"raftnode", "google.golang.org/grpc", false},
		{"raftnode", "muster/transport/mux", false},
		{"raftnode/raftnodetest", "google.golang.org/grpc/test/bufconn", true},
		{"raftnode/raftnodetest", "muster/fsm", false},
		{"system", "muster/system/health", true},
		{"system/health", "github.com/google/btree", true},
		{"system/deliver", "muster/raftnode", false},
		{"system", "muster/transport/session", false},
		{"system", "github.com/hashicorp/raft", false},
		{"system", "github.com/hashicorp/go-hclog", true},
		{"system", "google.golang.org/grpc", false},
		{"transport/server", "muster/system", true},
		{"transport/server", "muster/raftnode", false},
		{"transport/server", "muster/transport/client", false},
		{"transport/session", "google.golang.org/grpc/codes", true},
		{"transport/session", "github.com/hashicorp/raft", false},
		{"transport/client", "muster/fsm/id", true},
		{"transport/client", "muster/fsm", false},
		{"transport/client", "muster/system", false},
		{"transport/rpcstatus", "muster/proto/muster/v1", true},
		{"transport/rpcstatus", "muster/fsm", false},
		{"transport/mux", "net", true},
		{"transport/mux", "google.golang.org/grpc", false},
		{"newpackage", "fmt", false},
	} {
		complaints := checkImports(test.pkg, []string{test.imported})
		if allowed := len(complaints) == 0; allowed != test.allowed {
			t.Errorf("%s imports %s: allowed %v, want %v", test.pkg, test.imported, allowed, test.allowed)
		}
	}
}

// TestImports_Snippet runs the whole check on a file.
func TestImports_Snippet(t *testing.T) {
	imports, err := importsOf("a.go", "package fsm\nimport (\n\tclock \"time\"\n\t. \"os\"\n\t_ \"muster/system\"\n)\nthis is not Go")
	if err != nil {
		t.Fatal(err)
	}
	if got := checkImports("fsm", imports); len(got) != 2 {
		t.Errorf("complaints %q, want two", got)
	}
}
