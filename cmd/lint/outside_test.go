package lint

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// textFiles are all files of the tree that people read, by their paths from the top: everything but what git ignores and what is no text.
func textFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == ".git" || name == ".build" || name == ".muster"):
			return fs.SkipDir
		case !entry.Type().IsRegular() || name == "muster" || name == "member" || strings.HasSuffix(name, ".test"):
			return nil
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		if err == nil && utf8.Valid(content) && !bytes.ContainsRune(content, 0) {
			files[name] = string(content)
		}
		return err
	})
	require.NoError(t, err)
	return files
}

var (
	// address is a page of somebody else, whose host has a domain name; a namespace only looks like one.
	address   = regexp.MustCompile(`https?:/` + `/(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}[^\s"'<>)]*`)
	namespace = regexp.MustCompile(`^http:/` + `/www\.w3\.org/`)
	// upward is a path that climbs and then names something.
	upward = regexp.MustCompile(`(?:\.\./)+[A-Za-z0-9_][A-Za-z0-9_./-]*`)
	// sections are those of a text that is numbered, which no page of this tree is.
	sections = regexp.MustCompile("\u00a7 ?[0-9]+")
)

// placeholder is the path that the README has readers replace by their own.
const placeholder = "../path/to/muster"

// pointers lists what a file sends its reader to outside the tree.
func pointers(name, text string) []string {
	var out []string
	for _, found := range address.FindAllString(text, -1) {
		if !namespace.MatchString(found) {
			out = append(out, found)
		}
	}
	for _, found := range upward.FindAllString(text, -1) {
		if target := path.Join(path.Dir(name), found); strings.HasPrefix(target, "../") && found != placeholder {
			out = append(out, found)
		}
	}
	return append(out, sections.FindAllString(text, -1)...)
}

// exempt are files whose words are not ours: the license, and what generators of Go files write.
func exempt(name string) bool { return name == "LICENSE" || strings.HasSuffix(name, ".pb.go") }

// TestTree_PointsAtNothingOutside: whoever has the tree has all that it speaks of. An issue of a library is named as raft#697.
func TestTree_PointsAtNothingOutside(t *testing.T) {
	files := textFiles(t)
	for _, name := range []string{"README.md", "Makefile", ".ci/run", "proto/muster/v1/world.proto", "cmd/lint/outside_test.go"} {
		require.Contains(t, files, name, "the walk misses files")
	}
	for name, text := range files {
		if exempt(name) {
			continue
		}
		for _, found := range pointers(name, text) {
			t.Errorf("%s points outside the tree, to %s: say here what is to be known", name, found)
		}
	}
}

func TestTree_PointsAtNothingOutside_Snippets(t *testing.T) {
	scheme := "https:/" + "/"
	up := ".." + "/"
	for text, want := range map[string]string{
		"see " + scheme + "example.org/page, and so on":                        "[" + scheme + "example.org/page,]",
		`xmlns="http:/` + `/www.w3.org/2000/svg"`:                              "[]",
		"http:/" + "/127.0.0.1:7380/metrics, http:/" + "/NODE-ADDRESS/metrics": "[]",
		"http_requests and raft#697":                                           "[]",
		"as " + up + "shared/notes.md says":                                    "[]",
		"as " + up + up + "shared/notes.md says":                               "[" + up + up + "shared/notes.md]",
		"filepath.Join(\"" + up + "..\")":                                      "[]",
		"replace muster => " + placeholder:                                     "[]",
		"as \u00a79 says":                                                      "[\u00a79]",
	} {
		require.Equal(t, want, fmt.Sprint(pointers("deploy/page.md", text)), text)
	}
}
