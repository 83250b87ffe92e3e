package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// readmePath matches what a reader is sent to: the target of a link, and a package that is built or run.
var readmePath = regexp.MustCompile(`\]\(([^)#:]+)\)|go (?:build|run)[^\n]*? (\./[a-z][a-z/]*)`)

// missing lists the paths below root that text names and that are not there.
func missing(root, text string) []string {
	var out []string
	for _, m := range readmePath.FindAllStringSubmatch(text, -1) {
		path := m[1] + m[2]
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			out = append(out, path)
		}
	}
	return out
}

// TestReadme_PathsExist: the README sends nobody to what is not in the tree.
func TestReadme_PathsExist(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	require.Regexp(t, readmePath, string(text))
	require.Empty(t, missing(root, string(text)))
}

func TestReadme_PathsExist_Snippets(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "there"), 0o755))
	require.Empty(t, missing(root, "[x](there), and\n    go build -o y ./there\n[z](https://example.org)"))
	require.Equal(t, []string{"gone", "./lost/one"}, missing(root, "[x](gone)\n    go build -o y ./lost/one"))
}
