package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// linked is the target of a link to another page, without the heading on it. built is a package that is built or run.
var (
	linked = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	built  = regexp.MustCompile(`go (?:build|run)[^\n]*? (\./[a-z][a-z/]*)`)
)

// missing lists the paths that the text of a page names and that are not there, seen from the top of the tree. Links are relative
// to the page, commands are typed at the top.
func missing(top, page, text string) []string {
	var named []string
	for _, m := range linked.FindAllStringSubmatch(text, -1) {
		named = append(named, filepath.Join(filepath.Dir(page), m[1]))
	}
	for _, m := range built.FindAllStringSubmatch(text, -1) {
		named = append(named, filepath.Clean(m[1]))
	}
	var out []string
	for _, path := range named {
		if _, err := os.Stat(filepath.Join(top, path)); err != nil || !filepath.IsLocal(path) {
			out = append(out, path)
		}
	}
	return out
}

// TestPages_PathsExist: no page sends anybody to what is not in the tree.
func TestPages_PathsExist(t *testing.T) {
	pages := 0
	for name, text := range textFiles(t) {
		if strings.HasSuffix(name, ".md") {
			pages++
			require.Empty(t, missing(root, name, text), name)
		}
	}
	require.Greater(t, pages, 1, "the walk misses pages")
	readme := textFiles(t)["README.md"]
	require.Regexp(t, linked, readme)
	require.Regexp(t, built, readme)
}

func TestPages_PathsExist_Snippets(t *testing.T) {
	top := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(top, "there", "below"), 0o755))
	require.Empty(t, missing(top, "README.md", "[x](there), and\n    go build -o y ./there\n[z](#heading) [y](there#heading)"))
	require.Empty(t, missing(top, "there/page.md", "[x](below) [y](../there/below)\n    go build -o y ./there"))
	require.Equal(t, []string{"gone", "lost/one"}, missing(top, "README.md", "[x](gone)\n    go build -o y ./lost/one"))
	require.Equal(t, []string{"there/gone"}, missing(top, "there/page.md", "[x](gone#heading)"))
	require.Equal(t, []string{"../" + filepath.Base(top)}, missing(top, "README.md", "[x](../"+filepath.Base(top)+")"))
}
