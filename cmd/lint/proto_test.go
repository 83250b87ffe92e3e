package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var (
	protoComment = regexp.MustCompile(`//.*|(?s:/\*.*?\*/)`)
	protoMap     = regexp.MustCompile(`\bmap\s*<[^>]*>\s*\w+`)
)

// protoMaps lists the map fields of a proto file. Maps have no order, so two nodes could write one message as different bytes.
func protoMaps(source []byte) []string {
	return protoMap.FindAllString(protoComment.ReplaceAllString(string(source), " "), -1)
}

func TestProto_NoMaps(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "proto/muster/v1/*.proto"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no proto files found: %v", err)
	}
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range protoMaps(source) {
			t.Errorf("%s: field %q; use a repeated message sorted by key", name, field)
		}
	}
}

func TestProto_NoMaps_Snippet(t *testing.T) {
	bad := "message M { map<string, Label> labels = 1;\n map <\n uint32,uint32 > x = 2; }"
	if got := protoMaps([]byte(bad)); len(got) != 2 {
		t.Errorf("found %q, want two", got)
	}
	good := "// a map<string, string> would be wrong\n/* map<a,\nb> c */ message M { repeated Label map = 1; }"
	if got := protoMaps([]byte(good)); len(got) != 0 {
		t.Errorf("found %q, want none", got)
	}
}
